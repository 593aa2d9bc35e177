"""Beliefs about a share, in closed form: Beta posteriors, shrinkage on logits, who is likely best.

Everything is a pure function of its arguments; nothing is sampled. Sources: Johnson, Kotz &
Balakrishnan, Continuous Univariate Distributions 2, ch. 25 (Beta); Press et al., Numerical
Recipes, 6.4 (its distribution function by a continued fraction); Gelman et al., Bayesian Data
Analysis, ch. 5 (shrinkage).

This module knows neither versions nor tasks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, erf, exp, floor, lgamma, log, log1p, sqrt
from operator import mul
from statistics import NormalDist

_LIMIT = 30.0
"""Beyond this a logit says nothing more: exp(-30) is 1e-13."""

_LEAST = 1.0 / (1.0 + exp(_LIMIT))

# Gauss-Hermite, five points, for the weight exp(-x^2/2) / sqrt(2 pi)
_POINTS = (0.0, 1.355626179974266, 2.856970013872806)
_SHARES = (0.5333333333333333, 0.2220759220056126, 0.011257411327720691)


def logistic(x: float) -> float:
    """The share whose logit is ``x``.

    >>> logistic(0.0), round(logistic(2.0), 6)
    (0.5, 0.880797)
    """
    if x < -_LIMIT:
        return _LEAST
    return 1.0 / (1.0 + exp(-x)) if x < _LIMIT else 1.0 - _LEAST


def logit(share: float) -> float:
    """``log(share / (1 - share))``, finite also at 0 and 1.

    >>> logit(0.5), round(logit(logistic(2.0)), 9)
    (0.0, 2.0)
    """
    inside = max(1e-12, min(1.0 - 1e-12, share))
    return log(inside) - log1p(-inside)


def log_beta(a: float, b: float) -> float:
    """The logarithm of the Beta function.

    >>> round(exp(log_beta(2.0, 3.0)), 12) == round(1 / 12, 12)
    True
    """
    return lgamma(a) + lgamma(b) - lgamma(a + b)


@dataclass(frozen=True, slots=True)
class Beta:
    """A belief about a share: as after ``a`` good and ``b`` bad results on an even prior of none.

    >>> Beta(2.0, 1.0).mean, round(Beta(2.0, 1.0).variance, 6)
    (0.6666666666666666, 0.055556)
    """

    a: float
    b: float

    def __post_init__(self) -> None:
        if not (self.a > 0.0 and self.b > 0.0):
            raise ValueError(f"a Beta belief needs two numbers above 0, not {self.a}, {self.b}")

    @property
    def mean(self) -> float:
        """The expected share."""
        return self.a / (self.a + self.b)

    @property
    def variance(self) -> float:
        """``ab / ((a+b)^2 (a+b+1))``."""
        total = self.a + self.b
        return self.a * self.b / (total * total * (total + 1.0))

    def after(self, good: float, bad: float) -> Beta:
        """The belief after more results, which may be fractions: graded scores.

        >>> Beta(1.0, 1.0).after(8.0, 2.0).mean
        0.75
        """
        return Beta(self.a + good, self.b + bad)

    def log_evidence(self, good: float, bad: float) -> float:
        """How likely this belief made those results (in their order), as a logarithm.

        >>> round(exp(Beta(1.0, 1.0).log_evidence(1.0, 1.0)), 6)
        0.166667
        """
        return log_beta(self.a + good, self.b + bad) - log_beta(self.a, self.b)

    def interval(self, level: float = 0.9) -> tuple[float, float]:
        """The equal-tailed credible interval.

        >>> [round(end, 4) for end in Beta(9.0, 3.0).interval(0.95)]
        [0.4822, 0.9398]

        Raises:
            ValueError: the level is outside (0, 1).
        """
        if not 0.0 < level < 1.0:
            raise ValueError(f"a level lies in (0, 1), not {level}")
        tail = (1.0 - level) / 2.0
        return beta_quantile(tail, self.a, self.b), beta_quantile(1.0 - tail, self.a, self.b)


def beta_from(mean: float, variance: float) -> Beta:
    """The Beta belief with this mean and variance, worth 0.3 results at least.

    >>> beta_from(2 / 3, 1 / 18)
    Beta(a=2.0, b=1.0)
    """
    inside = max(1e-4, min(1.0 - 1e-4, mean))
    spread = inside * (1.0 - inside)
    worth = max(0.3, spread / max(variance, 1e-12) - 1.0)
    return Beta(round(inside * worth, 12), round((1.0 - inside) * worth, 12))


def beta_cdf(x: float, a: float, b: float) -> float:
    """The chance that a share believed to be Beta(a, b) is at most ``x``.

    >>> round(beta_cdf(0.3, 2.0, 3.0), 6), beta_cdf(0.25, 1.0, 1.0)
    (0.3483, 0.25)
    """
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    front = exp(a * log(x) + b * log1p(-x) - log_beta(a, b))
    if x < (a + 1.0) / (a + b + 2.0):
        return front * _fraction(x, a, b) / a
    return 1.0 - front * _fraction(1.0 - x, b, a) / b


def beta_quantile(share: float, a: float, b: float) -> float:
    """The ``x`` with ``beta_cdf(x, a, b) == share``, by halving.

    >>> round(beta_quantile(0.5, 2.0, 2.0), 9)
    0.5
    """
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2.0
        if beta_cdf(middle, a, b) < share:
            low = middle
        else:
            high = middle
    return (low + high) / 2.0


@lru_cache(maxsize=64)
def normal_quantile(share: float) -> float:
    """The point below which a standard normal lies with this chance.

    >>> round(normal_quantile(0.95), 6)
    1.644854
    """
    return NormalDist().inv_cdf(share)


def _fraction(x: float, a: float, b: float) -> float:
    """Lentz's evaluation of the continued fraction of the incomplete Beta function."""
    tiny = 1e-300
    c, d = 1.0, 1.0 - (a + b) * x / (a + 1.0)
    d = 1.0 / (d if abs(d) > tiny else tiny)
    value = d
    for m in range(1, 10_000):
        for top in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1.0 + top * d
            d = 1.0 / (d if abs(d) > tiny else tiny)
            c = 1.0 + top / c
            c = c if abs(c) > tiny else tiny
            value *= c * d
        if abs(c * d - 1.0) < 1e-14:
            break
    return value


def share_moments(mean: float, variance: float) -> tuple[float, float]:
    """Mean and variance of a share whose logit is normal, by Gauss-Hermite quadrature.

    Both are within 0.003 up to a variance of 1.5 on the logit scale, within 0.005 up to 3.

    >>> [round(x, 9) for x in share_moments(0.0, 0.0)]
    [0.5, 0.0]
    >>> [round(x, 3) for x in share_moments(1.0, 1.0)]
    [0.697, 0.034]
    """
    # written out, because every belief that is asked for comes through here
    deviation = sqrt(max(0.0, variance))
    near, far = _POINTS[1] * deviation, _POINTS[2] * deviation
    middle = logistic(mean)
    low, high = logistic(mean - near), logistic(mean + near)
    lower, higher = logistic(mean - far), logistic(mean + far)
    first = _SHARES[0] * middle + _SHARES[1] * (low + high) + _SHARES[2] * (lower + higher)
    second = (
        _SHARES[0] * middle * middle
        + _SHARES[1] * (low * low + high * high)
        + _SHARES[2] * (lower * lower + higher * higher)
    )
    return first, max(0.0, second - first * first)


def best_chances(means: Sequence[float], deviations: Sequence[float]) -> list[float]:
    """For each of several independent normal beliefs, the chance that it is the largest.

    The distribution function of the largest is ``prod F_j``; each of its increments on a grid is
    shared out by ``d log F_k``, which is exact as the grid gets finer and sums to 1 on any grid.

    >>> best_chances([0.4, 0.4], [0.1, 0.1])
    [0.5, 0.5]
    >>> [round(p, 3) for p in best_chances([1.0, 0.0], [0.6, 0.8])]
    [0.841, 0.159]

    Raises:
        ValueError: there is nothing to compare, or a deviation is not above 0.
    """
    if not means or len(means) != len(deviations) or min(deviations) <= 0.0:
        raise ValueError("each of one or more means needs a deviation above 0")
    if len(means) == 1:
        return [1.0]
    low = max(m - 4.0 * s for m, s in zip(means, deviations, strict=True))
    high = max(m + 4.0 * s for m, s in zip(means, deviations, strict=True))
    logs: list[list[float] | None] = []
    for mean, deviation in zip(means, deviations, strict=True):
        first, last = (low - mean) / deviation, (high - mean) / deviation
        # one that is surely below the whole grid has no increment there
        logs.append(None if first >= _WIDE else _log_normal_cdf(first, last))
    whole = list(map(sum, zip(*[one for one in logs if one is not None], strict=True)))
    upto = list(map(exp, whole))
    shares = [
        (after - before) / (then - first) if then > first else 0.0
        for before, after, first, then in zip(upto, upto[1:], whole, whole[1:], strict=False)
    ]
    # the sum of shares times differences, as one product with each arm's own values
    weights = [early - late for early, late in zip([0.0, *shares], [*shares, 0.0], strict=True)]
    chances = [0.0 if one is None else max(0.0, sum(map(mul, weights, one))) for one in logs]
    total = sum(chances)
    return [chance / total for chance in chances]


GRID = 32
"""Steps of the grid in `best_chances`: a chance errs by 0.002 on average, by 0.02 at the most."""

_WIDE = 8.0
"""Deviations to either side beyond which a distribution function is 0 or 1 here."""

_FINE = 128
_LOGS = [
    log(max(4e-18, 0.5 * (1.0 + erf(place / _FINE / sqrt(2.0)))))
    for place in range(-int(_WIDE) * _FINE, int(_WIDE) * _FINE + 1)
]
"""The log of the standard normal distribution function, at steps of 1 / `_FINE`."""


def _log_normal_cdf(first: float, last: float) -> list[float]:
    """The log of the standard normal distribution function on a grid, looked up in a table.

    Working it out each time would be half of what a decision costs.
    """
    step = (last - first) / GRID
    begin = max(0, min(GRID + 1, ceil((-_WIDE - first) / step)))
    end = max(begin, min(GRID + 1, floor((_WIDE - first) / step) + 1))
    start, each = (first + _WIDE) * _FINE + 0.5, step * _FINE
    inside = [_LOGS[int(start + index * each)] for index in range(begin, end)]
    return [_LOGS[0]] * begin + inside + [0.0] * (GRID + 1 - end)
