"""What is learned from, on its way from the record to the learner: as it comes, and all of it.

The record of graded cases, outcomes and feedback is what is kept; what a learner makes of it can
always be made again. So a restart folds the rows, with older ones fading by their place in the
order, and so does whatever changes the record behind the learner's back: a file that is taken in,
a reset, another grader for a task. What comes while the rows are read is told afterwards, once.

The one thing that rows do not tell is that a version fell (`Fall`): that is written down when it is
noticed, and rows from before it are left out from then on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from arbiter.clock import Clock
from arbiter.events import Announcer, Event
from arbiter.knowledge.agreement import Said, class_of
from arbiter.knowledge.profiles import Profiles
from arbiter.knowledge.scores import CARRIED, CASES, GRADES, Fall, Learner, Source
from arbiter.refs import TaskName, VersionId
from arbiter.storage.database import Database, Row, Statement

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
    ) -> None:
        self._database = database
        self._clock = clock
        self._learner = learner
        self.profiles = profiles
        """The sums of the same evidence."""
        self._announcer = announcer
        self._turn = asyncio.Lock()
        self._missed: list[_Told] | None = None
        self.lineage: Mapping[VersionId, VersionId] = {}
        """Which version came after which, also as other houses told it."""
        self._falls: list[Fall] = []
        self.changed: set[TaskName] = set()
        """Tasks at which something was learned since somebody last looked."""
        self.reading = 0
        """Which reading of the record the learner has, or will have shortly.

        Whoever writes a row takes it down before, and hands it in with what it then tells: a row
        that was written before the record was read again is in there already.
        """

    async def load(self) -> None:
        """Learn everything that is kept, instead of what was learned so far."""
        async with self._turn:
            self.reading += 1
            self._missed = []
            fading = (self._learner.keep,) * 2
            try:
                written = await self._database.write(
                    Statement(query="faded_grades", parameters=fading),
                    Statement(query="faded_feedback", parameters=fading),
                    Statement(query="standing_cases"),
                    Statement(query="standing_carried"),
                    Statement(query="all_lineage"),
                    Statement(query="list_falls"),
                )
                self._hold(written.rows)
            finally:
                missed, self._missed = self._missed, None
            for tell in missed:
                tell()

    def graded(self, version: VersionId, task: TaskName, score: float, *, at: str) -> None:
        """A rule graded an answer. at: as its row says."""
        self._now(lambda: self._update(version, task, score, source=GRADES, at=at))

    def ran(self, version: VersionId, task: TaskName, score: float, *, reading: int) -> None:
        """A graded case was run."""
        if reading == self.reading:
            self._now(
                lambda: self._learner.add(task, version, count=1.0, total=score, source=CASES)
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
        if reading == self.reading:
            self._now(lambda: self._judge(version, task, said, before=before, at=at))

    def falls_of(self, version: VersionId) -> tuple[Fall, ...]:
        """When a version was found to have silently got worse, the first one first."""
        return tuple(fall for fall in self._falls if fall.version == version)

    def believed(self) -> None:
        """How far sources are believed may have changed."""
        if self.profiles.judgements.drifted():
            self._now(self._learner.reweigh)

    def _now(self, tell: _Told) -> None:
        if self._missed is None:
            tell()
        else:
            self._missed.append(tell)

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
            self._note(fall)

    def _note(self, fall: Fall) -> None:
        now = self._clock.now()
        self._falls.append(fall)
        event = Event(
            kind="version.fell",
            at=now,
            detail={"version": fall.version, "task": fall.task, "since": fall.since},
        )
        self._database.enqueue(
            Statement(
                query="add_fall", parameters=(fall.version, fall.task, fall.since, now.isoformat())
            ),
            then=lambda kept: self._announcer.announce(event) if kept else None,
        )

    def _hold(self, rows: Sequence[Sequence[Row]]) -> None:
        grades, feedback, cases, carried, lineage, falls = rows
        self._learner.clear()
        for version, task, count, n, good in grades:
            self._put(version, task, GRADES, (count, n, good))
        for version, task, caller, kind, count, n, good in feedback:
            self._put(version, task, (str(caller), class_of(str(kind))), (count, n, good))
        for version, task, grading, count, good in cases:
            if grading == self.profiles.grading(TaskName(str(task))):
                self._put(version, task, CASES, (count, count, good))
        keep = self._learner.keep
        for version, task, count, good in carried:
            whole = max(1.0, _real(count))
            # as many as would be left of them if they had come here one after another
            n = whole if keep >= 1.0 else (1.0 - keep**whole) / (1.0 - keep)
            self._put(version, task, CARRIED, (count, n, n * _real(good) / whole))
        self._learner.settle()
        self.lineage = {
            VersionId(str(version)): VersionId(str(before)) for version, before in lineage
        }
        self._falls = [
            Fall(
                version=VersionId(str(version)),
                task=None if task is None else TaskName(str(task)),
                since=str(since),
            )
            for version, task, since in falls
        ]

    def _put(
        self, version: object, task: object, source: Source, sums: tuple[object, object, object]
    ) -> None:
        count, n, good = map(_real, sums)
        if count > 0.0:
            self._learner.put(
                TaskName(str(task)), VersionId(str(version)), source, count=count, n=n, good=good
            )


def _source(said: Said) -> Source:
    return said.caller, class_of(said.source)


def _real(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
