"""Profiles: what graded cases, outcomes and feedback add up to, for a version and a task.

A version is only a key here: measurements belong to the version that earned them and are never
copied to another. Everything is a sum, so what the database adds up on start is what was added up
in memory (but for the rounding of sums of fractions).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from arbiter.refs import GENERAL, TaskName, VersionId
from arbiter.storage.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Sums over samples. A mean of nothing is None, never 0.

    samples: graded cases and finished requests. graded, quality: how many scores and their sum.
    """

    samples: int = 0
    graded: int = 0
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


class Profiles:
    """Every profile, in memory; rebuilt from the append-only tables on start."""

    def __init__(self, database: Database, grading: Callable[[TaskName], str | None]) -> None:
        """grading: the digest of a task's grading now; cases graded otherwise do not count."""
        self._database = database
        self._grading = grading
        self._cells: dict[VersionId, dict[TaskName, Profile]] = {}

    async def load(self) -> None:
        """Add up what is kept."""
        for title, grading, subject, profile in await self._validations():
            if grading == self._grading(title):
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
        for version, task, count, score in await self._database.read("sum_feedback"):
            self._add(version, task, Profile(graded=_whole(count), quality=_real(score)))

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

    async def regrade(self, task: TaskName, *, before: str | None, after: str | None) -> None:
        """Let the cases of a task count as its new grading scored them, not as the old one did."""
        if before == after:
            return
        for name, grading, version, profile in await self._validations():
            if name == task and grading == after:
                self.add(version, task, profile)
            elif name == task and grading == before:
                self.add(version, task, profile.negative)

    def _add(self, version: object, task: object, profile: Profile) -> None:
        self.add(VersionId(str(version)), TaskName(str(task)), profile)

    def add(self, version: VersionId, task: TaskName, profile: Profile) -> None:
        """Add samples to a cell. Nothing added makes no cell."""
        if profile == NOTHING:
            return
        cells = self._cells.setdefault(version, {})
        cells[task] = cells.get(task, NOTHING).plus(profile)

    def get(self, version: VersionId, task: TaskName) -> Profile:
        """What is known of a version at a task; at `general`, of all its tasks together."""
        cells = self._cells.get(version)
        if cells is None:
            return NOTHING
        return total(cells.values()) if task == GENERAL else cells.get(task, NOTHING)

    def tasks_of(self, version: VersionId) -> dict[TaskName, Profile]:
        """Every cell of a version."""
        return dict(self._cells.get(version, {}))


def _whole(value: object) -> int:
    return int(value) if isinstance(value, int | float) else 0


def _real(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
