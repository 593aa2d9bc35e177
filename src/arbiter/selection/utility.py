"""What a contender is worth at a task as far as is known, and how sure that is.

The same four parts and weights as the static rule. Quality is what the learner believes,
reliability a Beta posterior, and each part's doubt is carried into the whole. A part that nobody
measured is taken at what the others have, with much doubt: what is unknown is worth trying.

Latency is the median, because one answer that took a minute says little of the next. A version
that was never timed at the task is taken at what its other tasks let expect.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, sqrt

from arbiter.inference import Limits
from arbiter.knowledge.speed import Expected, Speed
from arbiter.knowledge.tasks import Weights
from arbiter.selection.belief import Belief
from arbiter.selection.chances import Arm, worth_of
from arbiter.selection.contender import NEUTRAL, Contender, Scored, Seen, Situation
from arbiter.selection.energy import Scale, energy_part, energy_words, per_solved
from arbiter.selection.scorers import latency_part, memory_part
from arbiter.stats.estimators import Beta, beta_from

FIRST_RELIABILITY = Beta(1.9, 0.1)
"""Before anything was served, a version is believed to answer 95 of 100, worth two requests."""

NOT_ASKED = "reliability unknown"

UNKNOWN = 0.2
"""The standard deviation of a part that nobody measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """A contender at a task: what it is worth, and the parts that this comes from.

    latency: the part of what was timed here; None when nothing was. mwh: of a solved task; None
    when it is not known. scale: what that is measured against; energy is told of only with it or
    where `is_energy_weighed`.
    """

    seen: Seen
    belief: Belief
    reliability: Beta
    latency: float | None
    arm: Arm
    mwh: float | None = None
    scale: Scale | None = None
    is_energy_weighed: bool = False

    @property
    def quality(self) -> tuple[float, float]:
        """Where its quality is believed to lie with 90 %."""
        return self.belief.interval()

    def told(self, probability: float) -> str:
        """Its parts in words."""
        belief, profile = self.belief, self.seen.profile
        low, high = self.quality
        quality = f"quality {belief.mean:.2f} (90 % credible {low:.2f} to {high:.2f}, "
        energy = (energy_words(self.mwh, self.seen.spend, self.scale),)
        parts = (
            f"{quality}{belief.samples:.0f} graded here)",
            _latency_words(self.seen.speed),
            _memory_words(self.seen.contender),
            *(energy if self.is_energy_weighed else ()),
            f"reliability {self.reliability.mean:.2f}" if profile.samples else NOT_ASKED,
            f"picked {probability:.0%} of the time",
        )
        return ", ".join(parts)


def worth(seen: Seen, belief: Belief, *, limits: Limits, situation: Situation,
          weights: Weights, others: float, scale: Scale | None = None) -> Worth:  # fmt: skip
    """What the contender is worth; others: the latency part to take when it was never timed.

    scale: what energy is measured against, where it has a weight and is known of anybody.
    """
    profile = seen.profile
    failed = profile.samples - profile.successes
    reliability = FIRST_RELIABILITY.after(max(0, profile.successes), max(0, failed))
    speed = seen.speed
    latency = None if speed.median_ms is None else latency_part(speed.median_ms, limits)
    if latency is None:
        taken, doubt = _expected(speed.expected, limits, others)
    else:
        taken, doubt = latency, UNKNOWN / sqrt(1.0 + speed.timed)
    memory = memory_part(seen.contender.memory_bytes, limits, situation)
    whole, mwh = weights.whole, None
    energy = energy_doubt = answers = 0.0
    if weights.energy:
        mwh = per_solved(seen.spend, belief.mean)
        energy = energy_part(mwh, scale)
        answers = 0.0 if mwh is None or seen.spend is None else seen.spend.answers
        energy_doubt = UNKNOWN / sqrt(1.0 + answers)
    mean = (
        weights.quality * belief.mean
        + weights.latency * taken
        + weights.memory * memory
        + weights.reliability * reliability.mean
        + weights.energy * energy
    )
    square, scores = _doubted(
        (weights.quality, belief.variance, worth_of(belief.mean, belief.variance)),
        (weights.latency, doubt * doubt, 1.0 + speed.timed),
        (weights.reliability, reliability.variance, reliability.a + reliability.b),
        (weights.energy, energy_doubt * energy_doubt, 1.0 + answers),
    )
    return Worth(
        seen=seen,
        belief=belief,
        reliability=reliability,
        latency=latency,
        arm=Arm(mean / whole, sqrt(square) / whole, belief.neglect, belief.samples, scores),
        mwh=mwh,
        scale=scale,
        is_energy_weighed=weights.energy > 0.0,
    )


def _doubted(*parts: tuple[float, float, float]) -> tuple[float, float]:
    """The variance of the whole, and how many scores that is worth.

    One more score then leaves of it what one more answer leaves of the parts, judged and timed.
    parts: each with its weight, its variance and how many answers that is worth.
    """
    square = left = 0.0
    for weight, variance, answers in parts:
        own = weight * weight * variance
        square += own
        left += own / (1.0 + answers)
    return square, square / left - 1.0 if left > 0.0 else 0.0


def _expected(expected: Expected | None, limits: Limits, others: float) -> tuple[float, float]:
    """The latency part of what was never timed here, and its standard deviation."""
    if expected is None:
        return others, UNKNOWN
    # the interval holds 90 %: 1.645 standard deviations to either side
    wide = latency_part(expected.low_ms, limits) - latency_part(expected.high_ms, limits)
    return latency_part(expected.median_ms, limits), min(UNKNOWN, wide / 3.29)


def usual_latency(known: float | None) -> float:
    """The latency part of a version that was never timed: what the others have on average."""
    return NEUTRAL if known is None else known


def explained(one: Worth, probability: float) -> Scored:
    """The score, with reasons that can be told."""
    return Scored(
        contender=one.seen.contender,
        score=one.arm.mean,
        samples=round(one.belief.samples),
        reasons=one,
        probability=probability,
    )


def _memory_words(contender: Contender) -> str:
    need = contender.memory_bytes
    if need is None:
        return "memory unknown"
    return f"memory {need / 1e6:.0f} MB" + ("" if contender.memory_measured else " (estimate)")


def _latency_words(speed: Speed) -> str:
    if speed.median_ms is not None:
        return f"latency {speed.median_ms:,.0f} ms (median of {speed.timed})"
    if speed.expected is not None:
        found = speed.expected
        return (
            f"latency about {found.median_ms:,.0f} ms ({found.low_ms:,.0f} to "
            f"{found.high_ms:,.0f}, expected from {found.tasks} other "
            f"{'task' if found.tasks == 1 else 'tasks'})"
        )
    return "latency unknown"


def what_would_change(best: Worth, other: Worth, weights: Weights, task: str) -> str | None:
    """The least evidence after which ``other`` would be worth more than ``best``, in words.

    None when quality weighs nothing. What is told is what moves the expected worth; the
    probabilities follow it gradually.
    """
    if weights.quality <= 0.0:
        return None
    gap = (best.arm.mean - other.arm.mean) * weights.whole / weights.quality
    ahead, behind = best.seen.contender.name, other.seen.contender.name
    if gap < 0.0:
        return f"{behind} is worth more already; a share of conversations still tries {ahead}"
    ways = []
    rising = beta_from(other.belief.mean, other.belief.variance)
    target = other.belief.mean + gap
    if target < 0.999:
        right = max(1, ceil((target * (rising.a + rising.b) - rising.a) / (1.0 - target) + 1e-9))
        ways.append(f"{right} more right {_answers(right)} of {behind}")
    falling = beta_from(best.belief.mean, best.belief.variance)
    target = best.belief.mean - gap
    if target > 0.001:
        wrong = max(1, ceil(falling.a / target - falling.a - falling.b + 1e-9))
        ways.append(f"{wrong} wrong {_answers(wrong)} of {ahead}")
    if not ways:
        return f"no answers at {task} would: {ahead} is ahead in other parts by more than quality"
    return f"{', or '.join(ways)} at {task} would"


def _answers(count: int) -> str:
    return "answer" if count == 1 else "answers"
