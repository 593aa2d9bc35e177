"""What another policy would have earned, from a record of what one policy did.

Each step of the record has the chance with which its action was taken (the propensity), the chance
with which the other policy takes it, and the reward. All estimators weigh rewards by the ratio
``w`` of the two. Sources: Horvitz & Thompson, JASA 1952 (inverse propensity); Swaminathan &
Joachims, NeurIPS 2015 (self-normalised); Gupta, Jeunen, Oosterhuis & de Rijke, RecSys 2024,
arXiv 2405.05736 and Jeunen & Gupta, arXiv 2602.14914 (the additive baseline, and that the best one
is at least as good as self-normalising); Dudik, Langford & Li, ICML 2011 (doubly robust); Kish,
Survey Sampling, 1965, and Owen, Monte Carlo theory, methods and examples, ch. 9 (effective sample).

Nothing here knows what an action is, or where the chances come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum, sqrt

from arbiter.stats.estimators import normal_quantile


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One action of the record, seen from the other policy.

    propensity: the chance of the action under the policy that took it. target: under the other
    one. reward: what it earned. foreseen: what a model of rewards expects of this action.
    expected: what it expects of the other policy, over all of that one's actions. The model must
    not have seen this step's reward, or doubly robust estimates are too good.

    Raises ValueError for chances that are none, a propensity of 0, or a reward outside [0, 1].
    """

    propensity: float
    target: float
    reward: float
    foreseen: float = 0.0
    expected: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what cannot be a chance."""
        if not (0.0 < self.propensity <= 1.0 and 0.0 <= self.target <= 1.0):
            raise ValueError("a propensity lies in (0, 1], a target's chance in [0, 1]")
        if not 0.0 <= self.reward <= 1.0:
            raise ValueError("a reward lies in [0, 1]")

    @property
    def weight(self) -> float:
        """How many such steps the other policy would have made for this one."""
        return self.target / self.propensity


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its standard error; None where one step cannot tell it."""

    mean: float
    se: float | None

    def interval(self, level: float = 0.95) -> tuple[float, float] | None:
        """The interval that holds the truth so often, by the central limit theorem.

        >>> low, high = Estimate(0.5, 0.1).interval()
        >>> round(low, 3), round(high, 3)
        (0.304, 0.696)
        """
        if self.se is None:
            return None
        reach = normal_quantile(0.5 + level / 2.0) * self.se
        return self.mean - reach, self.mean + reach


def effective_sample(weights: Sequence[float]) -> float:
    """How many equal weights tell as much: ``(sum w)^2 / sum w^2``.

    >>> effective_sample([1.0, 1.0, 0.0, 0.0]), effective_sample([])
    (2.0, 0.0)
    """
    square = fsum(weight * weight for weight in weights)
    return fsum(weights) ** 2 / square if square > 0.0 else 0.0


def mean_of(values: Sequence[float]) -> Estimate:
    """The mean of independent values.

    >>> mean_of([1.0, 3.0])
    Estimate(mean=2.0, se=1.0)

    Raises:
        ValueError: there is none.
    """
    if not values:
        raise ValueError("a mean needs a value")
    count = len(values)
    mean = fsum(values) / count
    if count == 1:
        return Estimate(mean, None)
    square = fsum((value - mean) ** 2 for value in values) / (count - 1)
    return Estimate(mean, sqrt(square / count))


def inverse_propensity(steps: Sequence[Step]) -> Estimate:
    """The mean of ``w r``: unbiased, and noisy where weights are uneven.

    >>> inverse_propensity([Step(propensity=0.5, target=1.0, reward=r) for r in (1.0, 0.0)])
    Estimate(mean=1.0, se=1.0)
    """
    return mean_of([step.weight * step.reward for step in steps])


def baseline_terms(steps: Sequence[Step]) -> list[float]:
    """``w r - b (w - 1)`` of each step, with the baseline that makes their spread least.

    As ``w`` is 1 on average, the baseline costs no bias when it does not hang on the step itself:
    ``b = sum (w^2 - w) r / sum (w^2 - w)`` over the other steps, kept within the rewards' [0, 1].

    >>> [round(x, 9) for x in baseline_terms([Step(propensity=0.5, target=1.0, reward=0.7)] * 3)]
    [0.7, 0.7, 0.7]
    """
    spreads = [step.weight * (step.weight - 1.0) for step in steps]
    top = fsum(spread * step.reward for spread, step in zip(spreads, steps, strict=True))
    bottom = fsum(spreads)
    terms = []
    for spread, step in zip(spreads, steps, strict=True):
        below = bottom - spread
        # weights that are all about 1 leave nothing to correct
        base = (top - spread * step.reward) / below if below > _LEAST else 0.0
        base = max(0.0, min(1.0, base))
        terms.append(step.weight * step.reward - base * (step.weight - 1.0))
    return terms


def with_baseline(steps: Sequence[Step]) -> Estimate:
    """Inverse propensity less the best additive baseline: unbiased, and never much noisier.

    >>> with_baseline([Step(propensity=0.5, target=1.0, reward=1.0)] * 4).mean
    1.0
    """
    return mean_of(baseline_terms(steps))


def self_normalised(steps: Sequence[Step]) -> Estimate:
    """``sum w r / sum w``: a little biased in small samples, and never outside the rewards.

    The error is that of a ratio (Owen, 9.2): ``sqrt(sum w^2 (r - mean)^2) / sum w``.

    >>> two = [Step(propensity=0.5, target=t, reward=r) for t, r in ((1.0, 0.8), (0.0, 0.1))]
    >>> self_normalised(two).mean
    0.8

    Raises:
        ValueError: the other policy would have done nothing of what is recorded.
    """
    whole = fsum(step.weight for step in steps)
    if whole <= 0.0:
        raise ValueError("no step that the other policy would have made")
    mean = fsum(step.weight * step.reward for step in steps) / whole
    if len(steps) == 1:
        return Estimate(mean, None)
    square = fsum((step.weight * (step.reward - mean)) ** 2 for step in steps)
    return Estimate(mean, sqrt(square) / whole)


def robust_terms(steps: Sequence[Step]) -> list[float]:
    """What the model expects of the other policy, put right by what was really earned."""
    return [step.expected + step.weight * (step.reward - step.foreseen) for step in steps]


def doubly_robust(steps: Sequence[Step]) -> Estimate:
    """A model of rewards, corrected by inverse propensity: right if either of them is.

    With exact propensities it is unbiased whatever the model says; a good one makes it sharper.

    >>> doubly_robust([Step(propensity=0.5, target=1.0, reward=0.6, foreseen=0.6, expected=0.6),
    ...     Step(propensity=0.5, target=0.0, reward=0.2, foreseen=0.3, expected=0.6)])
    Estimate(mean=0.6, se=0.0)
    """
    return mean_of(robust_terms(steps))


_LEAST = 1e-9
