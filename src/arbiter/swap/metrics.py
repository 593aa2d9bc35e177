"""The metrics of a rollout beside its grades: does an answer come, and how long does it take?

Each metric is *critical*, a *dry run* or *off*. A critical one may roll back by itself and has to
be proved before a promotion: a promotion needs every critical metric, so its chance of being wrong
is that of the weakest test and needs no correction. A rollback needs one of them, so those chances
add up: the chance of ever rolling back a candidate that is not worse is at most the sum of
``alpha_rollback`` over the critical metrics. A dry run is shown and decides nothing.

The units are those of the grades, the first request of each conversation, whether it was graded or
not. `arbiter.stats.reliability` and `arbiter.stats.latency` have the tests.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from math import inf, isfinite

from msgspec.structs import replace

from arbiter.stats.bets import Side
from arbiter.stats.latency import LatencyE
from arbiter.stats.means import BalancedMeans
from arbiter.stats.quantiles import Sketch
from arbiter.stats.reliability import FAILS_MORE, reliability, reliable
from arbiter.swap.analysis import Evidence, Judgement, Verdict, verdict
from arbiter.swap.tripping import Failure

MEASURED_FIRST = 30
"""Answers of the stable version that fix what quick means, before any unit counts for latency."""

_QUICKEST_S = 1e-4
"""What answers sooner than this is taken to have taken as long."""


class Mode(StrEnum):
    """What a metric may do."""

    CRITICAL = "critical"
    DRY_RUN = "dry_run"
    """It is measured and shown, and decides nothing."""
    OFF = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """What one metric has to show.

    margin: how much worse is still called not worse: of reliability the share of answers that the
        candidate may give less often, relative to stable; of latency how much longer it may take.
    """

    mode: Mode = Mode.DRY_RUN
    margin: float
    alpha_rollback: float = 0.01
    alpha_promote: float = 0.05

    def __post_init__(self) -> None:
        if not (0.0 < self.alpha_rollback <= 0.5 and 0.0 < self.alpha_promote <= 0.5):
            raise ValueError("An alpha is a chance of a wrong verdict; give one in (0, 0.5].")
        if not 0.0 < self.margin <= 1.0:
            raise ValueError(f"The margin of a metric is in (0, 1], such as 0.02: {self.margin}")


RELIABILITY = Guard(margin=0.02)
LATENCY = Guard(margin=0.20)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How the version that a unit was drawn for answered it, whoever answered in the end.

    failure: None when an answer came. latency_ms: without the wait for a slot or a load; None is
    unknown. What is no version's doing (a hang-up, a server that is gone) has no ending at all.
    """

    failure: Failure | None = None
    latency_ms: float | None = None

    @property
    def seconds(self) -> float | None:
        """How long it took, ``inf`` when its time ran out; None when it tells nothing of speed."""
        if self.failure is Failure.TIMEOUT:
            return inf
        if self.failure is not None or self.latency_ms is None:
            return None
        return self.latency_ms / 1000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricEvidence:
    """One metric's evidence. stable, candidate: the share that was answered, or median seconds."""

    metric: str
    mode: Mode
    n_stable: int
    n_candidate: int
    stable: float | None
    candidate: float | None
    e_worse: float
    e_not_worse: float
    needed_worse: float
    needed_not_worse: float

    @property
    def verdict(self) -> Verdict:
        """Worse, not worse or inconclusive, by this metric alone."""
        if self.e_worse >= self.needed_worse:
            return Verdict.WORSE
        proved = self.e_not_worse >= self.needed_not_worse
        return Verdict.NOT_WORSE if proved else Verdict.INCONCLUSIVE

    @property
    def sentence(self) -> str:
        """What it shows, with the numbers."""
        words = {
            Verdict.WORSE: "worse",
            Verdict.NOT_WORSE: "not worse",
            Verdict.INCONCLUSIVE: "not decided",
        }
        unit = " s" if self.metric == "latency" else ""
        return (
            f"{self.metric} is {words[self.verdict]}: {_number(self.candidate)}{unit} against"
            f" {_number(self.stable)}{unit} of stable, after {self.n_candidate} and"
            f" {self.n_stable} conversations; evidence against {self.e_worse:.1f} of"
            f" {self.needed_worse:.0f}, for {self.e_not_worse:.1f} of {self.needed_not_worse:.0f}"
        )


class Reliability:
    """Whether an answer comes. Worse counts only while fewer come by more than the margin."""

    __slots__ = ("_fails", "_holds", "_means", "guard")

    def __init__(self, guard: Guard) -> None:
        self.guard = guard
        self._means = BalancedMeans()
        self._fails = reliability(FAILS_MORE)
        self._holds = reliability(reliable(guard.margin))

    def update(self, ending: Ending, is_new: bool, pi: float) -> None:
        """Take the next unit, in the order of assignment."""
        score = float(ending.failure is None)
        self._means.update(score, is_new, pi)
        self._fails.update(score, is_new, pi)
        self._holds.update(score, is_new, pi)

    @property
    def evidence(self) -> MetricEvidence:
        """What is known by now."""
        means, guard = self._means, self.guard
        is_low = means.ratio is not None and means.ratio < 1.0 - guard.margin
        return MetricEvidence(
            metric="reliability",
            mode=guard.mode,
            n_stable=means.n_old,
            n_candidate=means.n_new,
            stable=means.old,
            candidate=means.new,
            # a gate may only lower it, so it keeps the error rate
            e_worse=self._fails.e if is_low else min(1.0, self._fails.e),
            e_not_worse=self._holds.e,
            needed_worse=1.0 / guard.alpha_rollback,
            needed_not_worse=1.0 / guard.alpha_promote,
        )


class Latency:
    """How long an answer takes: no longer than ``1 + margin`` times what stable takes?

    What is quick is fixed by the stable version's first answers, and those count for nothing else:
    it has to be fixed before the units that are judged by it.
    """

    __slots__ = ("_candidate", "_counts", "_first", "_not_slower", "_slower", "_stable", "guard")

    def __init__(self, guard: Guard) -> None:
        self.guard = guard
        self._first: list[float] = []
        self._slower: LatencyE | None = None
        self._not_slower: LatencyE | None = None
        self._stable, self._candidate = Sketch(), Sketch()
        self._counts = [0, 0]

    def update(self, ending: Ending, is_new: bool, pi: float) -> None:
        """Take the next unit, in the order of assignment."""
        seconds = ending.seconds
        if seconds is None:
            return
        seconds = max(seconds, _QUICKEST_S)
        if isfinite(seconds):
            (self._candidate if is_new else self._stable).add(seconds)
        if self._slower is None or self._not_slower is None:
            self._measure(seconds, is_new=is_new)
            return
        self._counts[is_new] += 1
        self._slower.update(seconds, is_new, pi)
        self._not_slower.update(seconds, is_new, pi)

    def _measure(self, seconds: float, *, is_new: bool) -> None:
        if is_new or not isfinite(seconds):
            return
        self._first.append(seconds)
        if len(self._first) == MEASURED_FIRST:
            ordered = sorted(self._first)
            median, p90 = ordered[MEASURED_FIRST // 2], ordered[int(0.9 * MEASURED_FIRST)]
            self._slower, self._not_slower = (
                LatencyE(side=side, median_s=median, p90_s=p90, tolerance=self.guard.margin)
                for side in (Side.WORSE, Side.NOT_WORSE)
            )

    @property
    def evidence(self) -> MetricEvidence:
        """What is known by now."""
        guard = self.guard
        return MetricEvidence(
            metric="latency",
            mode=guard.mode,
            n_stable=self._counts[0],
            n_candidate=self._counts[1],
            stable=self._stable.quantile(0.5),
            candidate=self._candidate.quantile(0.5),
            e_worse=1.0 if self._slower is None else self._slower.e,
            e_not_worse=1.0 if self._not_slower is None else self._not_slower.e,
            needed_worse=1.0 / guard.alpha_rollback,
            needed_not_worse=1.0 / guard.alpha_promote,
        )


class Metrics:
    """Every metric of one rollout that is not off.

    >>> Metrics(reliability=RELIABILITY, latency=LATENCY).evidence[1].metric
    'latency'
    """

    __slots__ = ("_kept", "has_critical", "quality")

    def __init__(
        self, *, quality: Mode = Mode.CRITICAL, reliability: Guard, latency: Guard
    ) -> None:
        self.quality = quality
        kept = (Reliability(reliability), Latency(latency))
        self._kept = tuple(one for one in kept if one.guard.mode is not Mode.OFF)
        self.has_critical = any(one.guard.mode is Mode.CRITICAL for one in self._kept)
        """Whether some metric beside quality may decide."""

    def update(self, ending: Ending, is_new: bool, pi: float) -> None:
        """Take the next unit, in the order of assignment.

        Raises:
            ValueError: its latency is below 0, or its probability outside (0, 1).
        """
        for one in self._kept:
            one.update(ending, is_new, pi)

    @property
    def evidence(self) -> tuple[MetricEvidence, ...]:
        """What each metric shows by now."""
        return tuple(one.evidence for one in self._kept)


def judge(evidence: Evidence, metrics: Metrics, *, in_words: bool = True) -> Judgement:
    """What grades and metrics say together; may be asked after every unit.

    Worse by one critical metric is worse. Not worse takes every critical metric.
    """
    found = verdict(evidence, in_words=in_words)
    by_grade = metrics.quality is Mode.CRITICAL
    if by_grade and (found.verdict is Verdict.WORSE or not metrics.has_critical):
        return found
    critical = [one for one in metrics.evidence if one.mode is Mode.CRITICAL]
    worse = next((one for one in critical if one.verdict is Verdict.WORSE), None)
    if worse is not None:
        chance = f"{100.0 / worse.needed_worse:g}%"
        reason = (
            f"The candidate's {worse.sentence}. One that is not worse in this ever comes to that"
            f" with a chance of {chance} at most."
        )
        return replace(found, verdict=Verdict.WORSE, reason=reason)
    if found.verdict is Verdict.ERROR:
        return found
    hold = (by_grade and found.hold) or any(
        one.e_worse >= evidence.rule.hold_at for one in critical
    )
    proved = not hold and all(one.verdict is Verdict.NOT_WORSE for one in critical)
    if by_grade:
        proved = proved and found.verdict is Verdict.NOT_WORSE
    return replace(
        found,
        verdict=Verdict.NOT_WORSE if proved else Verdict.INCONCLUSIVE,
        hold=hold,
        reason=_reason(found, critical, by_grade=by_grade) if in_words else "",
    )


def _reason(found: Judgement, critical: Iterable[MetricEvidence], *, by_grade: bool) -> str:
    grades = found.reason if by_grade else f"Grades are a dry run: {found.reason}"
    return " ".join([grades, *(f"Its {one.sentence}." for one in critical)])


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3g}"
