"""Sequential tests that may be looked at after every unit: e-processes on a randomised stream.

A unit is one conversation. Before its outcome ``Y`` in [0, 1] is known it goes to the new model
with a known probability ``pi``. With ``c = 1 - margin`` and any ``f`` chosen beforehand ::

    Z = c 1{old} (Y - f) / (1 - pi)  -  1{new} (Y - c f) / pi,      E[Z | past] = c mu_old - mu_new

so ``E <- E (1 + k Z)`` is a non-negative supermartingale while ``mu_new >= c mu_old``, and
``E <- E (1 - k Z)`` is one while ``mu_new <= c mu_old``. By Ville's inequality such an ``E`` ever
reaches ``1/alpha`` with probability at most ``alpha``, whatever the bets ``(f, k)``, however the
traffic drifts, and however ``pi`` reacts to earlier outcomes. Bad bets cost power, never level.

Sources: Turner, Ly & Grünwald (arXiv 2106.02693) and Turner & Grünwald (2203.09785) for the bets;
Waudby-Smith & Ramdas (2010.09686) for betting; Vovk & Wang (1912.06116) for combining e-values.

Every sum is a left fold in the order of the units, so a replay is equal to the last bit. This
module knows neither tasks nor plans.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from math import exp, fsum, inf, log, log1p, sqrt
from operator import add

CLIP = 0.999
"""The share of the largest allowed bet that is ever staked, so that no factor reaches zero."""

_LARGEST = 700.0
"""Beyond this logarithm an e-value is shown as exp(700), about 1e304."""


class Side(StrEnum):
    """What a test sets out to prove about the new model."""

    WORSE = "worse"
    """Null: ``mu_new >= c mu_old``. Rejecting it rolls back."""
    NOT_WORSE = "not_worse"
    """Null: ``mu_new <= c mu_old``. Rejecting it promotes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Which alternatives a mixture bets on: ``theta_new = ratio theta_old``, by weight.

    ratios: each strictly below ``1 - margin`` for `Side.WORSE`, and not below it otherwise.
    weights: positive, summing to one.
    cap: the largest ``theta_new`` that is bet on; a certain success would stake everything.
    """

    side: Side
    margin: float
    ratios: tuple[float, ...]
    weights: tuple[float, ...]
    cap: float = 0.9975

    def __post_init__(self) -> None:
        if not 0.0 <= self.margin < 1.0:
            raise ValueError(f"a margin lies in [0, 1), not {self.margin}")
        if len(self.ratios) != len(self.weights) or abs(fsum(self.weights) - 1.0) > 1e-9:
            raise ValueError("every ratio needs a weight, and the weights sum to one")
        if min(self.weights) <= 0.0 or not 0.0 < self.cap < 1.0:
            raise ValueError("weights are positive and the cap lies in (0, 1)")
        c = 1.0 - self.margin
        if min(self.ratios) <= 0.0 or any(
            ratio >= c if self.side is Side.WORSE else ratio < c for ratio in self.ratios
        ):
            raise ValueError(f"a ratio of {self.ratios} lies on the wrong side of {c}")


HARM = Grid(side=Side.WORSE, margin=0.0, ratios=(0.90, 0.80, 0.50), weights=(0.45, 0.35, 0.20))
"""Bets that the new model is worse at all."""


def strict(margin: float) -> Grid:
    """Bets that the new model is worse by more than the margin.

    The ratios are .93, .85, .70, .45 and .10 at a margin of .05, and keep their distance from
    ``1 - margin`` otherwise.

    >>> strict(0.05).ratios
    (0.93, 0.85, 0.7, 0.45, 0.1)
    """
    scale = (1.0 - margin) / 0.95
    return Grid(
        side=Side.WORSE,
        margin=margin,
        ratios=tuple(ratio * scale for ratio in (0.93, 0.85, 0.70, 0.45, 0.10)),
        weights=(0.3, 0.3, 0.2, 0.1, 0.1),
    )


def non_inferiority(margin: float) -> Grid:
    """Bets that the new model is not worse by as much as the margin.

    >>> non_inferiority(0.05).ratios
    (0.98, 1.0, 1.03, 1.1)
    """
    return Grid(
        side=Side.NOT_WORSE,
        margin=margin,
        ratios=(1.0 - (1.0 - 0.98) * (margin / 0.05), 1.00, 1.03, 1.10),
        weights=(0.20, 0.45, 0.25, 0.10),
    )


def ripr_bet(theta_old: float, theta_new: float, pi: float, margin: float) -> tuple[float, float]:
    """The growth-optimal bet ``(f, k)`` against the nearest null, in closed form.

    theta_old, theta_new: the means that are bet on, in (0, 1). Which null is opposed follows from
        them: `Side.WORSE` when ``theta_new < c theta_old``, otherwise `Side.NOT_WORSE`.
    pi: the probability that the unit goes to the new model, in (0, 1).
    margin: ``m`` in [0, 1), and ``c = 1 - m``.

    With the reverse information projection (Turner, Ly & Grünwald, section 3) ::

        B = (1-pi)(1 + c theta_old) + pi (theta_new + c)
        C = (1-pi) theta_old + pi theta_new
        f = (B - sqrt(B^2 - 4 c C)) / (2 c) = 2 C / (B + sqrt(B^2 - 4 c C))
        k = (1-pi) |theta_old - f| / (c f (1-f))

    and ``k`` is clipped to .999 of the stake at which a factor could become negative. For 0/1
    outcomes the factor then is the likelihood ratio against the projection.

    >>> f, k = ripr_bet(0.8, 0.64, 0.3, 0.05)
    >>> round(f, 9), round(k, 9)
    (0.767284573, 0.135003613)

    Raises:
        ValueError: an argument is outside its interval.
    """
    if not (0.0 < theta_old < 1.0 and 0.0 < theta_new < 1.0):
        raise ValueError(f"means to bet on lie in (0, 1), not {theta_old} and {theta_new}")
    if not 0.0 <= margin < 1.0:
        raise ValueError(f"a margin lies in [0, 1), not {margin}")
    _check(0.0, pi)
    c = 1.0 - margin
    return _bet(theta_old, theta_new, pi, c, worse=theta_new < c * theta_old)


def bet_factor(score: float, is_new: bool, pi: float, *, bet: tuple[float, float],
               margin: float, side: Side) -> float:  # fmt: skip
    """What one unit multiplies an e-process by: ``1 + k Z``, or ``1 - k Z`` for `NOT_WORSE`.

    >>> bet = ripr_bet(0.8, 0.6, 0.5, 0.0)
    >>> round(bet_factor(1.0, True, 0.5, bet=bet, margin=0.0, side=Side.WORSE), 6)
    0.857143

    Raises:
        ValueError: the score is outside [0, 1] or pi outside (0, 1).
    """
    _check(score, pi)
    f, k = bet
    c = 1.0 - margin
    z = (c * f - score) / pi if is_new else c * (score - f) / (1.0 - pi)
    return 1.0 + k * z if side is Side.WORSE else 1.0 - k * z


class EProcess:
    """A mixture of e-processes over a grid of alternatives, each with its own product.

    The old model's mean that is bet on is ``(n0 prior + sum of old) / (n0 + n_old)`` over *earlier*
    units only, so every bet is fixed before its outcome.

    >>> harm = EProcess(HARM)
    >>> for _ in range(20):
    ...     harm.update(1.0, False, 0.5)
    ...     harm.update(0.0, True, 0.5)
    >>> harm.e > 20
    True

    grid: which null is tested and which alternatives are bet on.
    prior_mean: where the old model's mean is believed to be before any unit, in (0, 1).
    prior_weight: how many units that belief is worth, above 0.
    """

    __slots__ = ("_log_weights", "_logs", "_n_old", "_sum_old", "grid")

    def __init__(self, grid: Grid, *, prior_mean: float = 0.8, prior_weight: float = 10.0) -> None:
        if not (0.0 < prior_mean < 1.0 and 0.0 < prior_weight < inf):
            raise ValueError("a prior needs a mean in (0, 1) and a finite weight above 0")
        self.grid = grid
        self._log_weights = tuple(map(log, grid.weights))
        self._logs = [0.0] * len(grid.ratios)
        self._n_old = prior_weight
        self._sum_old = prior_weight * prior_mean

    def update(self, score: float, is_new: bool, pi: float) -> None:
        """Take the next unit, in the order of assignment.

        Raises:
            ValueError: the score is outside [0, 1] or pi outside (0, 1).
        """
        _check(score, pi)
        grid = self.grid
        c = 1.0 - grid.margin
        worse = grid.side is Side.WORSE
        old = self._sum_old / self._n_old
        logs = self._logs
        for index, ratio in enumerate(grid.ratios):
            f, k = _bet(old, min(ratio * old, grid.cap), pi, c, worse=worse)
            z = (c * f - score) / pi if is_new else c * (score - f) / (1.0 - pi)
            logs[index] += log1p(k * z) if worse else log1p(-k * z)
        if not is_new:
            self._n_old += 1.0
            self._sum_old += score

    @property
    def log_e(self) -> float:
        """The natural logarithm of the e-value; 0 before any unit."""
        return log_sum(map(add, self._log_weights, self._logs))

    @property
    def e(self) -> float:
        """The e-value: reject the null at level alpha when it reaches ``1 / alpha``."""
        return from_log(self.log_e)


class PairE:
    """An e-process for pairs: both models answered the same prompt.

    ``Z = c Y_old - Y_new`` lies in [-1, c]. The stake is ``D / (V + D^2)`` from the running mean
    ``D`` and variance ``V`` of earlier pairs (Waudby-Smith & Ramdas, the approximate GRAPA rule),
    between 0 and half of the largest allowed stake. One pseudo-pair of mean 0 and variance 1/4
    starts it off.

    >>> worse = PairE(side=Side.WORSE, margin=0.0)
    >>> for _ in range(20):
    ...     worse.update(1.0, 0.0)
    >>> worse.e > 20
    True
    """

    __slots__ = ("_log_e", "_n", "_squares", "_sum", "margin", "side")

    def __init__(self, *, side: Side, margin: float) -> None:
        if not 0.0 <= margin < 1.0:
            raise ValueError(f"a margin lies in [0, 1), not {margin}")
        self.side = side
        self.margin = margin
        self._log_e = 0.0
        self._n = 1.0
        self._sum = 0.0
        self._squares = 0.25

    def update(self, old: float, new: float) -> None:
        """Take the next pair of scores.

        Raises:
            ValueError: a score is outside [0, 1].
        """
        _check(old, 0.5)
        _check(new, 0.5)
        c = 1.0 - self.margin
        gain = c * old - new if self.side is Side.WORSE else new - c * old
        largest = 1.0 if self.side is Side.WORSE else 1.0 / c
        mean = self._sum / self._n
        stake = max(0.0, mean) / (self._squares / self._n)
        self._log_e += log1p(min(stake, 0.5 * largest) * gain)
        self._n += 1.0
        self._sum += gain
        self._squares += gain * gain

    @property
    def log_e(self) -> float:
        """The natural logarithm of the e-value; 0 before any pair."""
        return self._log_e

    @property
    def e(self) -> float:
        """The e-value: reject the null at level alpha when it reaches ``1 / alpha``."""
        return from_log(self._log_e)


class SampleRatio:
    """Whether the arms really fill with the probabilities that were drawn from.

    A Dirichlet-multinomial e-value for each distinct ``pi``, multiplied: the predicted share is
    ``(100 pi + n_new) / (100 + n)`` (Lindon & Malek, NeurIPS 2022). Large means that conversations
    go missing on one side, so no comparison of the two can be believed.

    >>> arrivals = SampleRatio()
    >>> for is_new in [True] * 80 + [False] * 120:
    ...     arrivals.update(is_new, 0.5)
    >>> round(arrivals.e, 6)
    8.437118
    """

    __slots__ = ("_log_e", "_seen")

    def __init__(self) -> None:
        self._log_e = 0.0
        self._seen: dict[float, tuple[int, int]] = {}

    def update(self, is_new: bool, pi: float) -> None:
        """Take the next unit's arm. Raises ValueError when pi is outside (0, 1)."""
        _check(0.0, pi)
        n_old, n_new = self._seen.get(pi, (0, 0))
        total = 100.0 + n_old + n_new
        if is_new:
            self._log_e += log((100.0 * pi + n_new) / (total * pi))
            self._seen[pi] = (n_old, n_new + 1)
        else:
            rest = 1.0 - pi
            self._log_e += log((100.0 * rest + n_old) / (total * rest))
            self._seen[pi] = (n_old + 1, n_new)

    @property
    def log_e(self) -> float:
        """The natural logarithm of the e-value; 0 before any unit."""
        return self._log_e

    @property
    def e(self) -> float:
        """The e-value against "the arms fill as they were drawn"."""
        return from_log(self._log_e)


class BalancedMeans:
    """The two arms' means over the same mix of traffic, and their shrunken ratio.

    A new unit weighs ``1 - pi`` and an old one ``pi`` (overlap weights: Li, Morgan & Zaslavsky,
    JASA 2018). Plain means would compare late traffic with early traffic while pi grows, and
    traffic that gets harder would make the newcomer look bad. With one constant pi these are the
    plain means.

    >>> means = BalancedMeans()
    >>> for score, is_new in [(1.0, False), (1.0, False), (0.0, True), (1.0, True)]:
    ...     means.update(score, is_new, 0.5)
    >>> means.old, means.new, round(means.ratio or 0, 3)
    (1.0, 0.5, 0.895)
    """

    __slots__ = ("_new", "_old", "n_new", "n_old")

    SHRINK = 10.0
    """How many pseudo-units at the common mean each arm gets in `ratio`."""

    def __init__(self) -> None:
        self.n_old = 0
        self.n_new = 0
        self._old = (0.0, 0.0, 0.0)
        self._new = (0.0, 0.0, 0.0)

    def update(self, score: float, is_new: bool, pi: float) -> None:
        """Take the next unit. Raises ValueError for a score or pi outside its interval."""
        _check(score, pi)
        if is_new:
            self.n_new += 1
            self._new = _weighed(self._new, score, 1.0 - pi)
        else:
            self.n_old += 1
            self._old = _weighed(self._old, score, pi)

    @property
    def old(self) -> float | None:
        """The old model's balanced mean; None before its first unit."""
        return self._old[1] / self._old[0] if self.n_old else None

    @property
    def new(self) -> float | None:
        """The new model's balanced mean; None before its first unit."""
        return self._new[1] / self._new[0] if self.n_new else None

    @property
    def ratio(self) -> float | None:
        """New over old, both shrunk to their common mean; None until both arms have a unit.

        An arm's weight is Kish's effective size ``(sum w)^2 / sum w^2``.
        """
        if not (self.n_old and self.n_new):
            return None
        old, new = self._old[1] / self._old[0], self._new[1] / self._new[0]
        n_old = self._old[0] * self._old[0] / self._old[2]
        n_new = self._new[0] * self._new[0] / self._new[2]
        common = (n_old * old + n_new * new) / (n_old + n_new)
        if common == 0.0:
            return 1.0
        below = (n_old * old + self.SHRINK * common) / (n_old + self.SHRINK)
        return (n_new * new + self.SHRINK * common) / (n_new + self.SHRINK) / below


def combine(log_es: Iterable[float]) -> float:
    """Half the product plus half the average of e-values, as logarithms, without overflow.

    The product is an e-process when every unit feeds exactly one factor; the average is one
    always, and so is their mean. The product finds harm that is everywhere, the average harm in
    one place. The order does not matter, not even in the last bit.

    >>> round(exp(combine([log(4.0), log(2.0)])), 6)
    5.5

    Raises:
        ValueError: there is nothing to combine.
    """
    logs = tuple(log_es)
    if not logs:
        raise ValueError("no e-values to combine")
    return log_sum((fsum(logs), log_sum(logs) - log(len(logs)))) - log(2.0)


def log_sum(logs: Iterable[float]) -> float:
    """``log(sum(exp(x)))`` without overflow, whatever the order.

    >>> round(log_sum([1000.0, 1000.0]) - 1000.0, 6)
    0.693147
    """
    parts = tuple(logs)
    top = max(parts, default=-inf)
    if top == -inf:
        return -inf
    return top + log(fsum(exp(part - top) for part in parts))


def from_log(log_e: float) -> float:
    """An e-value to show, from its logarithm; at most exp(700).

    >>> from_log(0.0), from_log(1e6) < inf
    (1.0, True)
    """
    return exp(min(log_e, _LARGEST))


def _check(score: float, pi: float) -> None:
    if not 0.0 <= score <= 1.0:
        raise ValueError(f"a score lies in [0, 1], not {score}")
    if not 0.0 < pi < 1.0:
        raise ValueError(f"a probability of assignment lies in (0, 1), not {pi}")


def _bet(old: float, new: float, pi: float, c: float, *, worse: bool) -> tuple[float, float]:
    rest = 1.0 - pi
    f = rest * old + pi * new
    if c != 1.0:
        b = rest * (1.0 + c * old) + pi * (new + c)
        f = 2.0 * f / (b + sqrt(max(0.0, b * b - 4.0 * c * f)))
    cf = c * f
    k = rest * abs(old - f) / (cf * (1.0 - f))
    if worse:
        return f, min(k, CLIP * rest / cf, CLIP * pi / (1.0 - cf))
    return f, min(k, CLIP * rest / (c - cf), CLIP * pi / cf)


def _weighed(
    sums: tuple[float, float, float], score: float, weight: float
) -> tuple[float, float, float]:
    return sums[0] + weight, sums[1] + weight * score, sums[2] + weight * weight
