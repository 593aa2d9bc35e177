"""Scores on their way to whoever learns from them: where they come from, and what learning tells.

The learner is handed in: what is learned here knows nothing of how anybody is picked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

from arbiter.refs import TaskName, VersionId

Source = tuple[str, str]
"""Who says it and what kind of word it is; nobody says what the house itself measured."""

GRADES: Source = ("", "grades")
"""Rules that graded live answers."""

CASES: Source = ("", "cases")
"""Graded cases that were run on the version."""

CARRIED: Source = ("", "carried")
"""Sums of another house."""

Weigh = Callable[[Mapping[Source, float], float], Mapping[Source, float]]
"""How much a score of each source counts, in [0, 1].

Given how many scores each caller's sources have in a cell, and how many the house itself has.
"""


def in_full(said: Mapping[Source, float], house: float) -> Mapping[Source, float]:  # noqa: ARG001  # the shape of a Weigh
    """Every source counts in full."""
    return dict.fromkeys(said, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fall:
    """A version got worse: at one task, or (task None) in general.

    since: when the loss began, as whoever told the scores knows it. What came before was dropped.
    """

    version: VersionId
    task: TaskName | None
    since: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """A version may have got worse: at one task, or (task None) in general.

    odds: how much likelier its latest scores are if it did. since: when the loss would have begun.
    scores: how many the version ever had.
    """

    version: VersionId
    task: TaskName | None
    odds: float
    since: str
    scores: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """A graded case that was run once more on a version.

    before, now: its scores in [0, 1]. is_counted: whether the earlier one still counts for the
    version; it does not when the version fell since.
    """

    before: float
    now: float
    is_counted: bool = True


class Recalling(Protocol):
    """Whoever can be told the record again."""

    @property
    def keep(self) -> float:
        """What one more score of a source leaves of its older ones."""
        ...

    def put(self, task: TaskName, version: VersionId, source: Source, *, count: float, n: float,
            good: float) -> None:  # fmt: skip
        """Hold more that a source said in a cell; `settling` follows the last of it."""
        ...

    def recall(self, task: TaskName, version: VersionId, score: float, *, source: Source,
               mark: str, fell: Fall | None = None) -> bool:  # fmt: skip
        """Take one score as it once came; whether it shows the fall that is known to have been."""
        ...

    def recall_shift(self, task: TaskName, version: VersionId, *, count: float, total: float,
                     source: Source) -> None:  # fmt: skip
        """Take scores as they were once added."""
        ...

    def recall_fall(self, fall: Fall) -> None:
        """Take a fall as known that no score shows any more."""
        ...

    def settling(self) -> Iterator[None]:
        """Work out what follows from everything that was put or recalled, in steps."""
        ...


class Learner(Recalling, Protocol):
    """Whoever learns from scores; one for a house."""

    def update(self, task: TaskName, version: VersionId, score: float, *,
               source: Source, mark: str) -> Fall | None:  # fmt: skip
        """Take one score as it comes; mark: when."""
        ...

    def add(self, task: TaskName, version: VersionId, *, count: float, total: float,
            source: Source) -> None:  # fmt: skip
        """Take scores in no order, or take some back."""
        ...

    def doubts(self, cleared: Mapping[VersionId, str]) -> tuple[Doubt, ...]:
        """Versions that may have got worse, the surest first.

        cleared: when a version's cases were last run again; a suspicion from before is no news.
        """
        ...

    def shown(self, version: VersionId, results: Mapping[TaskName, Sequence[Again]], *,
              began: str) -> Fall | None:  # fmt: skip
        """The fall that cases show which were run again from some moment on."""
        ...

    def examined(self, version: VersionId, results: Mapping[TaskName, Sequence[Again]], *,
                 fall: Fall | None) -> None:  # fmt: skip
        """Take cases that were run again, with the fall that they showed."""
        ...

    def fresh(self) -> Self:
        """One like this that has heard nothing: it is told the record, and this one becomes it."""
        ...

    def become(self, other: Self) -> None:
        """Believe what another one does, which is used up by it."""
        ...

    def reweigh(self) -> None:
        """Some source is believed otherwise now."""
        ...
