"""How a rollout's evidence came about, unit by unit, to look at. No verdict reads any of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from arbiter.inference import Arm
from arbiter.stats.interval import GapInterval, Scale
from arbiter.swap.analysis import Evidence, Rule, Unit
from arbiter.swap.shadow import Pair

POINTS = 400
"""Points of a course at most: more than a plot can show."""


class Gap:
    """Where the candidate's mean minus the stable version's lies, folded when somebody looks.

    >>> gap = Gap()
    >>> gap.get() is None
    True
    """

    __slots__ = ("_interval", "_n", "_unfolded")

    def __init__(self) -> None:
        self._interval = GapInterval(Scale.DIFFERENCE)
        self._unfolded: list[Unit] = []
        self._n = 0

    def update(self, unit: Unit) -> None:
        """Take the next unit, in the order of assignment."""
        self._unfolded.append(unit)

    def get(self) -> tuple[float, float] | None:
        """Both ends, which hold at all times at once with a chance of 95 %; None before a unit."""
        for unit in self._unfolded:
            self._interval.update(unit.score, unit.arm is Arm.CANDIDATE, unit.probability)
        self._n += len(self._unfolded)
        self._unfolded.clear()
        return (self._interval.low, self._interval.high) if self._n else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """What was known after so many graded conversations.

    weight: the candidate's share when the last unit was assigned. log_worse, log_not_worse: natural
    logarithms of the evidence. low, high: the interval on the difference, by units alone.
    """

    units: int
    n_candidate: int
    weight: float
    mean_stable: float | None
    mean_candidate: float | None
    log_worse: float
    log_not_worse: float
    low: float
    high: float


def course(units: Sequence[Unit | Pair], rule: Rule) -> tuple[Point, ...]:
    """The evidence from the first unit to the last, at `POINTS` places at most.

    The last unit is always one of them. Empty while nothing is graded.
    """
    evidence, gap = Evidence(rule), Gap()
    every = -(-len(units) // POINTS)
    points = []
    weight = 0.0
    for number, unit in enumerate(units, start=1):
        if isinstance(unit, Pair):
            evidence.pair(unit)
        else:
            evidence.update(unit)
            gap.update(unit)
            weight = unit.probability
        if number % every and number != len(units):
            continue
        ends = gap.get()
        points.append(_point(number, weight, evidence, ends or (-1.0, 1.0)))
    return tuple(points)


def _point(number: int, weight: float, evidence: Evidence, ends: tuple[float, float]) -> Point:
    means = evidence.means
    return Point(
        units=number,
        n_candidate=means.n_new,
        weight=weight,
        mean_stable=means.old,
        mean_candidate=means.new,
        log_worse=evidence.log_worse,
        log_not_worse=evidence.log_not_worse,
        low=ends[0],
        high=ends[1],
    )
