"""What scores say of every version at every task: a hierarchical Bayesian table.

`update` takes one score, `get` tells what is believed of a cell. A cell borrows from the version's
other tasks, from the task's other versions, from the parent task and from the predecessor, and
each the less the more scores of its own it has. Old scores fade, and a version whose scores
suddenly fall is taken at what they have been since (`arbiter.stats.change`).

The table is deterministic: the same scores in the same order give the same beliefs. It knows no
clock, no engine and no request; lineage and the parents of tasks are told to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Self

from arbiter.knowledge.scores import (
    CARRIED,
    CASES,
    GRADES,
    Again,
    Doubt,
    Fall,
    Source,
    Weigh,
    in_full,
)
from arbiter.refs import TaskName, VersionId
from arbiter.selection.belief import Belief
from arbiter.selection.beliefs import Beliefs
from arbiter.selection.cells import Cell
from arbiter.selection.doubts import SUSPICION, doubt, is_suspicious, shown
from arbiter.selection.falls import dropped, note, suspect
from arbiter.selection.grid import Grid
from arbiter.selection.states import state_of, take_state

HALF_LIFE = 300.0
"""Scores of a cell after which an old one counts half."""

MUCH = 1e6
"""More scores than any caller is let say."""

_Known = Callable[[Fall], bool]


def _whichever(_: Fall) -> bool:
    return True


class Table:
    """The learner. One writer: whoever calls `update`.

    half_life: scores of a source in a cell after which an old one counts half; None: nothing fades.
    watchful: whether a version's fall is looked for. weigh: how much what callers say counts.
    """

    def __init__(
        self,
        *,
        half_life: float | None = HALF_LIFE,
        watchful: bool = True,
        weigh: Weigh = in_full,
    ) -> None:
        self.half_life = half_life
        self.watchful = watchful
        self._weigh = weigh
        self.keep = 1.0 if half_life is None else 0.5 ** (1.0 / half_life)
        self._grid = Grid()
        self._beliefs = Beliefs(self._grid)
        self._parents: dict[TaskName, TaskName] = {}
        self._doubted: set[VersionId] = set()
        """Versions that a change test has suspected; some of them no longer."""

    def relate(self, *, predecessors: Mapping[VersionId, VersionId],
               parents: Mapping[TaskName, TaskName]) -> None:  # fmt: skip
        """Tell which version each one succeeded, and which task each is a finer kind of."""
        self._beliefs.relate(predecessors)
        self._parents = dict(parents)
        for name, above in parents.items():
            if not self._is_above(name, above, parents):
                self._grid.row(name).parent = self._grid.row(above)
        for row in self._grid.rows.values():
            if row.task not in parents:
                row.parent = None
        self._grid.turn()

    @staticmethod
    def _is_above(name: TaskName, above: TaskName, parents: Mapping[TaskName, TaskName]) -> bool:
        """Whether a task is above its own parent: such a ring is no relation at all."""
        seen = {above}
        while above != name and above in parents and parents[above] not in seen:
            above = parents[above]
            seen.add(above)
        return above == name

    def update(self, task: TaskName, version: VersionId, score: float, *,
               source: Source = GRADES, mark: str = "") -> Fall | None:  # fmt: skip
        """Take one score in [0, 1]; the fall of the version that it shows, if it shows one.

        After a fall only the scores since it began are kept. mark: when the score came, as the
        caller knows it; a fall is told with the mark of its first score.

        Raises:
            ValueError: the score is outside [0, 1].
        """
        if not 0.0 <= score <= 1.0:
            raise ValueError(f"a score lies in [0, 1], not {score}")
        cell = self._grid.cell(task, version)
        row, column = cell.row, cell.column
        weight = self._counted_once_more(cell, source)
        fall, lost = self._suspected(cell, score, source=source, weight=weight, mark=mark)
        cell.stream(source).take(score, self.keep)
        cell.recount(self._weigh)
        row.clock += weight
        cell.count += weight
        column.count += weight
        if fall is not None or max(cell.alarm, column.alarm) > SUSPICION:
            self._doubted.add(version)
        self._grid.lost(column, lost, self._weigh)
        self._grid.touched(cell, weight)
        return fall

    def doubts(self, cleared: Mapping[VersionId, str]) -> tuple[Doubt, ...]:
        """Versions that may have got worse, the surest first: see `arbiter.selection.doubts`.

        cleared: when a version's cases were last run again; a suspicion from before is no news.
        """
        columns = [self._grid.columns[version] for version in sorted(self._doubted)]
        self._doubted = {one.version for one in columns if is_suspicious(one)}
        found = [doubt(column, cleared.get(column.version, "")) for column in columns]
        return tuple(sorted(filter(None, found), key=lambda one: -one.odds))

    def shown(self, version: VersionId, results: Mapping[TaskName, Sequence[Again]], *,
              began: str) -> Fall | None:  # fmt: skip
        """The fall that cases show which were run again, and nothing is taken in.

        began: when the first of them was run, as marks are told.
        """
        column = self._grid.columns.get(version)
        if column is None or not self.watchful:
            return None
        return shown(column, results, began=began)

    def examined(self, version: VersionId, results: Mapping[TaskName, Sequence[Again]], *,
                 fall: Fall | None, source: Source = CASES) -> None:  # fmt: skip
        """Take cases that were run again, each instead of its earlier result.

        fall: what they showed; nothing from before it counts. source: where earlier results are.
        """
        column = self._grid.columns.get(version)
        if column is not None and fall is not None:
            lost = dropped(next(iter(column.cells.values())), fall)
            self._grid.lost(column, lost, self._weigh)
            column.fell = None  # its cases have just been run
        for task, again in results.items():
            counted = [] if fall is not None else [one.before for one in again if one.is_counted]
            self.add(
                task,
                version,
                count=float(len(again) - len(counted)),
                total=sum(one.now for one in again) - sum(counted),
                source=source,
            )

    def _suspected(
        self, cell: Cell, score: float, *, source: Source, weight: float, mark: str,
        known: _Known = _whichever,
    ) -> tuple[Fall | None, tuple[Cell, ...]]:  # fmt: skip
        """Let the change tests see a score before it is counted; a fall, and the cells it concerns.

        known: which falls there may be.
        """
        if not self.watchful:
            return None, ()
        bounded = source[0] if source[0] and self._is_bounded(source) else None
        fall = suspect(cell, score, weight=weight, mark=mark, bounded=bounded)
        if fall is not None and not known(fall):
            fall = None
        lost = () if fall is None else dropped(cell, fall)
        note(cell, source, score, keep=self.keep)
        return fall, lost

    def recall(self, task: TaskName, version: VersionId, score: float, *, source: Source,
               mark: str, fell: Fall | None = None) -> bool:  # fmt: skip
        """Take a score as `update` once took it; `settle` follows the last of them.

        No fall is noticed but the one that is known to have been (fell); whether this score shows
        it. So whatever fell then has fallen now, and a suspicion stands where it stood.
        """
        cell = self._grid.cell(task, version)
        weight = self._counted_once_more(cell, source)
        fall, lost = self._suspected(
            cell, score, source=source, weight=weight, mark=mark,
            known=lambda fall: fell is not None and fall.task == fell.task,
        )  # fmt: skip
        cell.stream(source).take(score, self.keep)
        cell.recount(self._weigh)
        for other in lost:
            other.recount(self._weigh)
        return fall is not None

    def recall_shift(self, task: TaskName, version: VersionId, *, count: float, total: float,
                     source: Source) -> None:  # fmt: skip
        """Take scores as `add` once took them; `settle` follows the last of them."""
        cell = self._grid.cell(task, version)
        cell.stream(source).shift(count, total)
        cell.recount(self._weigh)

    def recall_fall(self, fall: Fall) -> None:
        """Take a fall as known that no score shows any more."""
        column = self._grid.columns.get(fall.version)
        cells = {} if column is None else column.cells
        cell = cells.get(fall.task) if fall.task is not None else next(iter(cells.values()), None)
        for other in () if cell is None else dropped(cell, fall):
            other.recount(self._weigh)

    def _is_bounded(self, source: Source) -> bool:
        """Whether what the caller says counts less, the more it says."""
        return self._weigh({source: 1.0}, 0.0)[source] > self._weigh({source: MUCH}, 0.0)[source]

    def _counted_once_more(self, cell: Cell, source: Source) -> float:
        """Count one more score of a source; how much more it counts now than before."""
        stream = cell.stream(source)
        if not source[0]:
            stream.count += 1.0
            return 1.0
        before = cell.worth(source, self._weigh)
        stream.count += 1.0
        return max(0.0, min(1.0, cell.worth(source, self._weigh) - before))

    def add(self, task: TaskName, version: VersionId, *, count: float, total: float,
            source: Source = CARRIED) -> None:  # fmt: skip
        """Add scores whose order is not known (or take some away): no fall is looked for in them.

        A changed score is ``count=0`` with the difference.
        """
        cell = self._grid.cell(task, version)
        before = cell.worth(source, self._weigh)
        cell.stream(source).shift(count, total)
        cell.recount(self._weigh)
        more = cell.worth(source, self._weigh) - before
        cell.count = max(0.0, cell.count + more)
        cell.row.clock += max(0.0, more)
        cell.column.count = max(0.0, cell.column.count + more)
        self._grid.touched(cell, abs(more), many=count != 0.0)

    def put(
        self, task: TaskName, version: VersionId, source: Source, *, count: float, n: float,
        good: float,
    ) -> None:  # fmt: skip
        """Hold more that a source has said in a cell; `settle` follows the last of it.

        count: scores ever. n, good: how many are left when older ones fade, and their sum.
        """
        cell = self._grid.cell(task, version)
        stream = cell.stream(source)
        stream.count += count
        stream.n += n
        stream.good += max(0.0, min(n, good))
        cell.recount(self._weigh)

    def fresh(self) -> Self:
        """A table that has heard nothing; the same settings, lineage and parents of tasks."""
        other = type(self)(half_life=self.half_life, watchful=self.watchful, weigh=self._weigh)
        other.relate(predecessors=self._beliefs.predecessors, parents=self._parents)
        return other

    def become(self, other: Self) -> None:
        """Believe what another table does, instead of what was learned here.

        What was told meanwhile of lineage and parents stays. The other one is used up by it.
        """
        self._grid.become(other._grid)
        self._doubted = other._doubted
        self._beliefs.forget()
        self.relate(predecessors=self._beliefs.predecessors, parents=self._parents)

    def reweigh(self) -> None:
        """Ask again how much what callers say counts: some are believed otherwise now."""
        for row in self._grid.rows.values():
            for cell in row.cells.values():
                if any(source[0] for source in cell.streams):
                    cell.recount(self._weigh)
                    cell.stamp += 1
        self._grid.turn()

    def get(self, task: TaskName, version: VersionId) -> Belief:
        """What is believed now, of unknown versions and tasks too."""
        return self._beliefs.get(task, version)

    def revision(self, task: TaskName) -> tuple[int, int]:
        """Another one when all beliefs at the task are worth another look.

        A cell's own scores are not in it: whoever adds one knows whose it is.
        """
        row = self._grid.rows.get(task)
        return self._grid.epoch, 0 if row is None else row.stamp

    def settle(self) -> None:
        """Count and fit everything until it rests: after many `put` or a merge."""
        for _ in self.settling():
            pass

    def settling(self) -> Iterator[None]:
        """`settle` in steps of a row or a column, for whoever has other things to do meanwhile."""
        columns = self._grid.columns.items()
        self._doubted = {version for version, one in columns if is_suspicious(one)}
        yield from self._grid.settling(self._weigh)

    def merge(self, other: Table) -> None:
        """Take over the evidence of another table, as if its scores had come here as well."""
        for row in other._grid.rows.values():
            for version, theirs in row.cells.items():
                cell = self._grid.cell(row.task, version)
                for source, stream in theirs.streams.items():
                    mine = cell.stream(source)
                    mine.count += stream.count
                    mine.n += stream.n
                    mine.good += stream.good
        self.settle()

    def to_state(self) -> dict[str, object]:
        """All evidence as plain JSON; the fit follows from it."""
        return state_of(self._grid.columns.values())

    @classmethod
    def from_state(cls, state: Mapping[str, object], *, half_life: float | None = HALF_LIFE,
                   watchful: bool = True) -> Table:  # fmt: skip
        """A table with this evidence. Raises ValueError for what `to_state` did not make."""
        table = cls(half_life=half_life, watchful=watchful)
        take_state(state, table._grid.cell)
        table.settle()
        return table
