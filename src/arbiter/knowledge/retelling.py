"""The record, told to a learner again in the order in which it came.

The latest scores are told one by one, with the falls that were noticed among them, so that the
learner stands afterwards where it stood: a suspicion that was half way to an alarm is half way
again. What is older comes as sums, in which older scores have faded by their place in the order.
A judgement that was changed is told as it was first and then as it was changed.

How far callers are believed is no part of it: they are believed as they are now.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter

from arbiter.knowledge.agreement import class_of
from arbiter.knowledge.scores import CARRIED, CASES, GRADES, Fall, Recalling, Source
from arbiter.refs import TaskName, VersionId
from arbiter.storage.database import Database, Row, Statement

RETOLD = 100_000
"""Scores that are told one by one.

A suspicion seldom lasts for more than a few dozen scores of its cell, and fifty thousand of others
between them would be a rare task indeed. Memory: 0.7 KB each, while they are told.
"""

STEP = 100
"""Scores that are told at a time, before others have their turn: about a millisecond."""


async def floor_of(database: Database, retold: int) -> str:
    """Since when scores are told one by one, if so many of them are."""
    rows = await database.read("score_floor", (retold,))
    return str(rows[0][0]) if rows else ""


def asked(keep: float, floor: str) -> tuple[Statement, ...]:
    """What gives the record. keep: what a score leaves of older ones. floor: as `floor_of` says."""
    return (
        Statement(query="faded_grades", parameters=(keep, keep, floor, floor)),
        Statement(query="faded_feedback", parameters=(keep, keep, floor, floor)),
        Statement(query="standing_cases", parameters=(floor, floor)),
        Statement(query="standing_carried"),
        Statement(query="list_falls"),
        Statement(query="scores_since", parameters=(floor,) * 4),
    )


class Retelling:
    """Tells one learner one reading of the record.

    rows: what `asked` found. grading: how a task is graded now; cases graded otherwise say nothing.
    """

    def __init__(
        self,
        rows: Sequence[Sequence[Row]],
        learner: Recalling,
        *,
        grading: Callable[[TaskName], str | None],
        floor: str,
    ) -> None:
        self._grades, self._feedback, self._cases, self._carried, falls, self._scores = rows
        self._learner = learner
        self._grading = grading
        own = [
            (str(row[-1]), _fall(row)) for row in falls if row[3] is None
        ]  # what fell at other houses is left out of what they measured
        self.falls = tuple(fall for _, fall in own)
        """Every fall that was noticed here, the first one first."""
        self._over = [one for one in own if one[0] < floor]
        self._due = sorted((one for one in own if one[0] >= floor), key=itemgetter(0), reverse=True)

    def tell(self) -> Iterator[None]:
        """Tell it, in steps."""
        for told in (self._tell_sums, self._tell_scores):
            yield from told()
        yield from self._learner.settling()

    def _tell_sums(self) -> Iterator[None]:
        for number, (source, row) in enumerate(self._sums()):
            version, task, *sums = row
            count, n, good = map(_real, sums)
            if count > 0.0:
                self._learner.put(
                    TaskName(str(task)), VersionId(str(version)), source,
                    count=count, n=n, good=good,
                )  # fmt: skip
            if number % STEP == 0:
                yield

    def _sums(self) -> Iterator[tuple[Source, Row]]:
        for row in self._grades:
            yield GRADES, row
        for version, task, caller, kind, *sums in self._feedback:
            yield (str(caller), class_of(str(kind))), (version, task, *sums)
        for version, task, grading, *sums in self._cases:
            if grading == self._grading(TaskName(str(task))):
                yield CASES, (version, task, *sums)

    def _tell_scores(self) -> Iterator[None]:
        carried = list(reversed(self._carried))
        for number, row in enumerate(self._scores):
            at = str(row[0])
            while carried and str(carried[-1][0]) < at:
                self._tell_carried(carried.pop())
            self._tell_falls(at)
            self._tell_score(at, row)
            if number % STEP == 0:
                yield
        while carried:
            self._tell_carried(carried.pop())
        self._tell_falls()

    def _tell_falls(self, before: str | None = None) -> None:
        """Tell the falls that are due and that no score showed."""
        while self._due and (before is None or self._due[-1][0] < before):
            self._learner.recall_fall(self._due.pop()[1])

    def _tell_carried(self, row: Row) -> None:
        """Tell sums of another house, as many as would be left of them had they come one by one."""
        until, version, task, count, good = row
        for at, fall in self._over:
            if at > str(until) and fall.version == version and fall.task in {None, task}:
                return
        self._tell_falls(str(until))
        keep, whole = self._learner.keep, max(1.0, _real(count))
        n = whole if keep >= 1.0 else (1.0 - keep**whole) / (1.0 - keep)
        self._learner.put(
            TaskName(str(task)), VersionId(str(version)), CARRIED,
            count=whole, n=n, good=n * _real(good) / whole,
        )  # fmt: skip

    def _tell_score(self, at: str, row: Row) -> None:
        _, subject, title, caller, kind, number, earlier, by, grading = row
        version, task, score = VersionId(str(subject)), TaskName(str(title)), _real(number)
        if grading is not None:
            if grading == self._grading(task):
                self._learner.recall_shift(task, version, count=1.0, total=score, source=CASES)
            return
        source = (str(caller), class_of(str(kind)) if caller else str(kind))
        if earlier is not None:
            before, change = (str(by), source[1]), score - _real(earlier)
            if before == source:
                self._learner.recall_shift(task, version, count=0.0, total=change, source=source)
                return
            self._learner.recall_shift(
                task, version, count=-1.0, total=-_real(earlier), source=before
            )
        fell = self._fell(at, version, task)
        if self._learner.recall(task, version, score, source=source, mark=at, fell=fell):
            self._due.pop()

    def _fell(self, at: str, version: VersionId, task: TaskName) -> Fall | None:
        """The fall that is due, if this score may be the one that shows it."""
        if not self._due or self._due[-1][0] != at:
            return None
        fall = self._due[-1][1]
        return fall if fall.version == version and fall.task in {None, task} else None


def _fall(row: Row) -> Fall:
    version, task, since, _, _ = row
    return Fall(
        version=VersionId(str(version)),
        task=None if task is None else TaskName(str(task)),
        since=str(since),
    )


def _real(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
