"""Graded cases that are run again in a replay, when the rules of a house say so.

What is suspected, when that is reason enough and what the cases show is decided by the production
code (`arbiter.selection.doubts`); here they are drawn. A house runs them in idle time; here there
always is some. The draws are new ones each time: a model that gives the same answers to the same
cases would make it easier.
"""

from __future__ import annotations

from random import Random

from arbiter.knowledge.scores import Again
from arbiter.refs import VersionId
from arbiter.selection.doubts import is_due
from arbiter.studies.pools import Pool
from arbiter.studies.world import Ran, World


class Rechecks:
    """Runs the cases of suspected versions again. One writer: whoever calls `look`.

    ran: the results so far. runs: how often a version's were run again; draws: cases of these runs;
    falls: how many of the runs showed one.
    """

    def __init__(self, world: World, ran: Ran, dice: Random) -> None:
        self._world = world
        self._ran = ran
        self._at = dict.fromkeys(ran, world.now)
        self._dice = dice
        self._cleared: dict[VersionId, str] = {}
        self._last: dict[VersionId, float] = {}
        self.runs = self.draws = self.falls = 0

    def look(self, pool: Pool) -> None:
        """Run the cases of whoever is suspected now. pool: the rates as they are now."""
        table = self._world.table
        if table is None or not any(self._ran.values()):
            return
        for doubt in table.doubts(self._cleared):
            if is_due(doubt, self._last.get(doubt.version)):
                self._last[doubt.version] = doubt.scores
                self._run(self._world.versions.index(doubt.version), pool)

    def _run(self, place: int, pool: Pool) -> None:
        world, now = self._world, self._world.now
        results: dict[int, list[Again]] = {}
        for task, row in enumerate(pool.rates):
            before = self._ran[task, place]
            again = [float(self._dice.random() < row[place]) for _ in before]
            counted = self._is_counted(task, place)
            results[task] = [
                Again(before=old, now=new, is_counted=counted)
                for old, new in zip(before, again, strict=True)
            ]
            self._ran[task, place], self._at[task, place] = again, now
            self.draws += len(again)
        self.runs += 1
        self.falls += world.examined(place, results)
        self._cleared[VersionId(world.versions[place])] = now

    def _is_counted(self, task: int, place: int) -> bool:
        """Whether the table still has the earlier results, or dropped them at a fall."""
        name, version = self._world.tasks[task], self._world.versions[place]
        return not any(
            fall.version == version
            and fall.task in {None, name}
            and fall.since > self._at[task, place]
            for fall in self._world.falls
        )
