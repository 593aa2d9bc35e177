"""What is learned from, on its way from the record to the learner: as it comes, and all of it.

The record of graded cases, outcomes and feedback is what is kept; what a learner makes of it can
always be made again. So a restart tells the rows again (`arbiter.knowledge.retelling`), and so does
whatever changes the record behind the learner's back: a file that is taken in, a reset, another
grader for a task. What comes while the rows are read is told afterwards, once.

The one thing that rows do not tell is that a version fell (`Fall`): that is written down when it is
noticed, because whoever knows sources better by now might not notice it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from arbiter.clock import Clock
from arbiter.events import Announcer, Event
from arbiter.knowledge.agreement import Said, class_of
from arbiter.knowledge.profiles import Profiles
from arbiter.knowledge.retelling import RETOLD, Retelling, asked, floor_of
from arbiter.knowledge.scores import CASES, GRADES, Again, Doubt, Fall, Learner, Source
from arbiter.refs import TaskName, VersionId
from arbiter.storage.database import Database, Statement

_Told = Callable[[], None]


class Learning:
    """Tells the learner. The only one who does, in one order."""

    def __init__(
        self,
        *,
        database: Database,
        clock: Clock,
        learner: Learner,
        profiles: Profiles,
        announcer: Announcer,
        retold: int = RETOLD,
    ) -> None:
        """retold: how many of the latest scores a reading tells one by one."""
        self._retold = retold
        self._database = database
        self._clock = clock
        self._learner = learner
        self.profiles = profiles
        """The sums of the same evidence."""
        self._announcer = announcer
        self._turn = asyncio.Lock()
        self._missed: list[tuple[int | None, _Told]] | None = None
        """What comes while the record is read."""
        self._read = 0
        """The reading that the learner has."""
        self.lineage: Mapping[VersionId, VersionId] = {}
        """Which version came after which, also as other houses told it."""
        self._falls: list[Fall] = []
        self.changed: set[TaskName] = set()
        """Tasks at which something was learned since somebody last looked."""
        self.reading = 0
        """Which reading of the record was begun last.

        Whoever writes a row takes it down before, and hands it in with what it then tells: a row
        that was written before the record was read again is in there already.
        """

    async def load(self) -> None:
        """Learn everything that is kept, instead of what was learned so far.

        Until it is read the learner believes what it did, also when the reading fails.
        """
        async with self._turn:
            learner = self._learner.fresh()
            floor = await floor_of(self._database, self._retold)
            # in one step, so that every row is either read now or told afterwards
            self.reading += 1
            reading, self._missed = self.reading, []
            try:
                written = await self._database.write(
                    Statement(query="all_lineage"), *asked(self._learner.keep, floor)
                )
                lineage, *rows = written.rows
                retelling = Retelling(rows, learner, grading=self.profiles.grading, floor=floor)
                for _ in retelling.tell():
                    await self._clock.sleep(0.0)
                self._learner.become(learner)
                self._read = reading
                self._falls = list(retelling.falls)
                self.lineage = {
                    VersionId(str(version)): VersionId(str(before)) for version, before in lineage
                }
            finally:
                missed, self._missed = self._missed, None
                for number, tell in missed:
                    self._now(tell, number)

    def graded(self, version: VersionId, task: TaskName, score: float, *, at: str) -> None:
        """A rule graded an answer. at: as its row says."""
        self._now(lambda: self._update(version, task, score, source=GRADES, at=at))

    def ran(self, version: VersionId, task: TaskName, score: float, *, reading: int) -> None:
        """A graded case was run."""
        self._now(
            lambda: self._learner.add(task, version, count=1.0, total=score, source=CASES), reading
        )

    def said(
        self,
        version: VersionId,
        task: TaskName,
        said: Said,
        *,
        before: Said | None,
        at: str,
        reading: int,
    ) -> None:
        """Somebody judged an answer. before: the judgement that this one replaces."""
        self._now(lambda: self._judge(version, task, said, before=before, at=at), reading)

    def doubts(self, cleared: Mapping[VersionId, str]) -> tuple[Doubt, ...]:
        """Versions that may have got worse since their cases were last run again."""
        return self._learner.doubts(cleared)

    def shown(
        self, version: VersionId, results: Mapping[TaskName, Sequence[Again]], *, began: str
    ) -> Fall | None:
        """The fall that cases show which were run again; nothing is learned yet."""
        return self._learner.shown(version, results, began=began)

    def examined(
        self,
        version: VersionId,
        results: Mapping[TaskName, Sequence[Again]],
        *,
        fall: Fall | None,
        reading: int,
    ) -> None:
        """Cases were run again, and what they showed is written down."""
        self.changed.update(results)
        if fall is not None and fall not in self._falls:
            self._falls.append(fall)
            self._announcer.announce(_fell(fall, self._clock.now()))
        self._now(lambda: self._learner.examined(version, results, fall=fall), reading)

    def falls_of(self, version: VersionId) -> tuple[Fall, ...]:
        """When a version was found to have silently got worse, the first one first."""
        return tuple(fall for fall in self._falls if fall.version == version)

    def believed(self) -> None:
        """How far sources are believed may have changed."""
        if self.profiles.judgements.drifted():
            self._now(self._learner.reweigh)

    def _now(self, tell: _Told, reading: int | None = None) -> None:
        """Tell it, if it was not read. reading: the one before which its row was written."""
        if self._missed is not None:
            self._missed.append((reading, tell))
        elif reading is None or reading >= self._read:
            tell()

    def _judge(
        self, version: VersionId, task: TaskName, said: Said, *, before: Said | None, at: str
    ) -> None:
        if before is not None and _source(before) == _source(said):
            # a changed mind is no further judgement: it moves no clock and feigns no loss
            self.changed.add(task)
            change = said.score - before.score
            self._learner.add(task, version, count=0.0, total=change, source=_source(said))
            return
        if before is not None:
            self._learner.add(
                task, version, count=-1.0, total=-before.score, source=_source(before)
            )
        self._update(version, task, said.score, source=_source(said), at=at)

    def _update(self, version: VersionId, task: TaskName, score: float, *,
                source: Source, at: str) -> None:  # fmt: skip
        self.changed.add(task)
        fall = self._learner.update(task, version, score, source=source, mark=at)
        if fall is not None:
            self._note(fall, at)

    def _note(self, fall: Fall, at: str) -> None:
        """Write a fall down. at: as the row of the score says that showed it."""
        self._falls.append(fall)
        event = _fell(fall, self._clock.now())
        self._database.enqueue(
            Statement(query="add_fall", parameters=(fall.version, fall.task, fall.since, None, at)),
            then=lambda kept: self._announcer.announce(event) if kept else None,
        )


def _fell(fall: Fall, now: datetime) -> Event:
    detail = {"version": fall.version, "task": fall.task, "since": fall.since}
    return Event(kind="version.fell", at=now, detail=detail)


def _source(said: Said) -> Source:
    return said.caller, class_of(said.source)
