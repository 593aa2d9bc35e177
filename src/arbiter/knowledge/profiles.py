"""Profiles: what graded cases, outcomes and feedback add up to, for a version and a task.

A version is only a key here: measurements belong to the version that earned them and are never
copied to another. Everything is a sum, so what the database adds up on start is what was added up
in memory (but for the rounding of sums of fractions).

Feedback is no plain sum: what a judgement counts depends on who gave it and on all that is known
besides (`arbiter.knowledge.judgements`). It is added to a cell when somebody looks.

How fast a version is is no sum either: `arbiter.knowledge.speeds` keeps it beside the cells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from arbiter.knowledge.agreement import Compared, Said, Table, class_of, compared
from arbiter.knowledge.judgements import OWNERS, Judgements, Trust
from arbiter.knowledge.scores import Source
from arbiter.knowledge.speed import SLOW_SHARE
from arbiter.knowledge.speeds import LATEST, READ_AT_MOST, Speeds
from arbiter.refs import GENERAL, TaskName, VersionId
from arbiter.storage.database import Database, Row, Statement


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """Sums over samples. A mean of nothing is None, never 0.

    samples: graded cases and finished requests. graded, quality: how many scores and their sum; a
    judgement of a source that is not fully believed is less than one score.
    """

    samples: int = 0
    graded: float = 0.0
    quality: float = 0.0
    successes: int = 0
    timed: int = 0
    latency_ms: float = 0.0

    @property
    def mean_quality(self) -> float | None:
        """Mean score in [0, 1]."""
        return self.quality / self.graded if self.graded else None

    @property
    def success_rate(self) -> float | None:
        """Share of samples that did not fail."""
        return self.successes / self.samples if self.samples else None

    @property
    def mean_latency_ms(self) -> float | None:
        """Mean over the successes that were timed, in milliseconds."""
        return self.latency_ms / self.timed if self.timed else None

    @property
    def negative(self) -> Profile:
        """What takes these samples away again when it is added."""
        return Profile(
            samples=-self.samples,
            graded=-self.graded,
            quality=-self.quality,
            successes=-self.successes,
            timed=-self.timed,
            latency_ms=-self.latency_ms,
        )

    def plus(self, other: Profile) -> Profile:
        """Both together.

        >>> (Profile(samples=1, graded=1, quality=1.0) .plus(
        ...  Profile(samples=1, graded=1, quality=0.0))).mean_quality
        0.5
        """
        return Profile(
            samples=self.samples + other.samples,
            graded=self.graded + other.graded,
            quality=self.quality + other.quality,
            successes=self.successes + other.successes,
            timed=self.timed + other.timed,
            latency_ms=self.latency_ms + other.latency_ms,
        )


NOTHING = Profile()


def total(profiles: Iterable[Profile]) -> Profile:
    """The sum of profiles."""
    result = NOTHING
    for profile in profiles:
        result = result.plus(profile)
    return result


FEEDBACK = (
    Statement(query="sum_feedback"),
    Statement(query="feedback_graded"),
    Statement(query="feedback_together"),
)
"""What gives all feedback, as counts."""


class Profiles:
    """Every profile, in memory; rebuilt from the append-only tables on start."""

    def __init__(
        self,
        database: Database,
        grading: Callable[[TaskName], str | None],
        *,
        owners: frozenset[str] = OWNERS,
        slow_share: float = SLOW_SHARE,
    ) -> None:
        """grading: the digest of a task's grading now; cases graded otherwise do not count.

        owners: callers whose feedback counts without a bound, because they run the house.
        slow_share: how many of a version's answers are to keep to a limit on latency.
        """
        self.speeds = Speeds(share=slow_share)
        self._database = database
        self.grading = grading
        self._cells: dict[VersionId, dict[TaskName, Profile]] = {}
        self._judgements = Judgements(owners)
        self._judged: dict[tuple[VersionId, TaskName], Profile] = {}
        """Cells with their feedback, as long as nothing changed that they depend on."""
        self._totals: dict[VersionId, Profile] = {}
        """The same of all tasks of a version."""

    async def load(self) -> None:
        """Add up what is kept."""
        for title, grading, subject, profile in await self._validations():
            if grading == self.grading(title):
                self.add(subject, title, profile)
        for row in await self._database.read("sum_outcomes"):
            version, task, count, graded, score, successes, latency, timed = row
            self._add(
                version,
                task,
                Profile(
                    samples=_whole(count),
                    graded=_whole(graded),
                    quality=_real(score),
                    successes=_whole(successes),
                    timed=_whole(timed),
                    latency_ms=_real(latency),
                ),
            )
        for version, task, count in await self._database.read("sum_attempts"):
            self._add(version, task, Profile(samples=_whole(count)))
        for row in await self._database.read("sum_carried"):
            version, task, count, graded, score, successes = row
            self._add(
                version,
                task,
                Profile(
                    samples=_whole(count),
                    graded=_whole(graded),
                    quality=_real(score),
                    successes=_whole(successes),
                ),
            )
        self.take_feedback(*[await self._database.read(one.query) for one in FEEDBACK])
        most = (READ_AT_MOST, LATEST)
        self.speeds.take(await self._database.read("latest_timed_cases", most))
        self.speeds.take(await self._database.read("latest_timed", most))

    def take_feedback(
        self, sums: Sequence[Row], graded: Sequence[Row], together: Sequence[Row]
    ) -> None:
        """Hold what the queries of `FEEDBACK` found, and nothing else that anybody said."""
        judgements = Judgements(self._judgements.owners)
        for version, task, caller, source, count, score in sums:
            judgements.add(
                VersionId(str(version)),
                TaskName(str(task)),
                caller=str(caller),
                source=str(source),
                count=_whole(count),
                total=_real(score),
            )
        for caller, source, score, grade, count in graded:
            table = Table.of(_real(score), _real(grade), _whole(count))
            judgements.compare(
                [Compared(source=class_of(str(source)), caller=str(caller), table=table)]
            )
        answers: dict[tuple[object, object], list[Said]] = {}
        for origin, decision, source, kind, score, caller in together:
            answers.setdefault((origin, decision), []).append(
                Said(source=str(source), kind=str(kind), score=_real(score), caller=str(caller))
            )
        for said in answers.values():
            judgements.compare(compared(said, None))
        self._judgements = judgements
        self._judged.clear()
        self._totals.clear()

    async def _validations(self) -> list[tuple[TaskName, str, VersionId, Profile]]:
        return [
            (
                TaskName(str(task)),
                str(grading),
                VersionId(str(version)),
                Profile(
                    samples=_whole(count),
                    graded=_whole(count),
                    quality=_real(score),
                    successes=_whole(successes),
                    timed=_whole(timed),
                    latency_ms=_real(latency),
                ),
            )
            for version, task, grading, count, score, successes, latency, timed in (
                await self._database.read("sum_validations")
            )
        ]

    async def regrade(self, task: TaskName, *, before: str | None, after: str | None) -> bool:
        """Let the cases of a task count as its new grading scored them, not as the old one did.

        Whether there are any: a task that is new has none.
        """
        if before == after:
            return False
        found = False
        for name, grading, version, profile in await self._validations():
            if name == task and grading in {before, after}:
                self.add(version, task, profile if grading == after else profile.negative)
                found = True
        return found

    def _add(self, version: object, task: object, profile: Profile) -> None:
        self.add(VersionId(str(version)), TaskName(str(task)), profile)

    def add(self, version: VersionId, task: TaskName, profile: Profile) -> None:
        """Add samples to a cell. Nothing added makes no cell, and nothing left is none."""
        if profile == NOTHING:
            return
        cells = self._cells.setdefault(version, {})
        cells[task] = cells.get(task, NOTHING).plus(profile)
        if cells[task].samples == 0 and cells[task].graded == 0:
            del cells[task]
        self._judged.pop((version, task), None)
        whole = self._totals.pop(version, None)
        if whole is not None and not self._judgements.knows(version):
            # adding it all up again would cost a request as much as the version has tasks
            self._totals[version] = whole.plus(profile)

    def judge(self, version: VersionId, task: TaskName, said: Said, *, times: int = 1) -> None:
        """Add a judgement to a cell; with ``times=-1`` take it away again."""
        self._judgements.add(
            version,
            task,
            caller=said.caller,
            source=said.source,
            count=times,
            total=times * said.score,
        )
        self._judged.pop((version, task), None)
        self._totals.pop(version, None)

    def compare(self, pairs: Iterable[Compared], *, times: int = 1) -> None:
        """Count how judgements agreed with a reference; all that their sources said is reweighed.

        With ``times=-1`` the pairs are taken away again.
        """
        if self._judgements.compare(pairs, times=times):
            self._judged.clear()
            self._totals.clear()

    def weights(self, said: Mapping[Source, float], house: float) -> Mapping[Source, float]:
        """What a judgement of each caller's sources counts: see `Judgements.weights`."""
        return self._judgements.weights(said, house)

    @property
    def judgements(self) -> Judgements:
        """All feedback."""
        return self._judgements

    @property
    def owners(self) -> frozenset[str]:
        """Callers whose feedback counts without a bound."""
        return self._judgements.owners

    def trust(self) -> tuple[Trust, ...]:
        """How far each source of feedback is believed, and why."""
        return self._judgements.trust()

    def get(self, version: VersionId, task: TaskName) -> Profile:
        """What is known of a version at a task; at `general`, of all its tasks together."""
        if task != GENERAL:
            return self._cell(version, task)
        whole = self._totals.get(version)
        if whole is None:
            whole = self._totals[version] = total(self.tasks_of(version).values())
        return whole

    def _cell(self, version: VersionId, task: TaskName) -> Profile:
        plain = self._cells.get(version, {}).get(task, NOTHING)
        if not self._judgements.touches(version, task):
            return plain
        known = self._judged.get((version, task))
        if known is None:
            weighed = self._judgements.weigh(version, task, house=plain.graded)
            known = plain.plus(Profile(graded=weighed.graded, quality=weighed.quality))
            self._judged[version, task] = known
        return known

    def tasks_of(self, version: VersionId) -> dict[TaskName, Profile]:
        """Every cell of a version."""
        tasks = [*self._cells.get(version, {}), *self._judgements.tasks_of(version)]
        return {task: self._cell(version, task) for task in dict.fromkeys(tasks)}


def _whole(value: object) -> int:
    return int(value) if isinstance(value, int | float) else 0


def _real(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
