"""How much better or worse, as an interval that may be looked at after every unit.

A confidence sequence: with a chance of at least ``1 - alpha`` it covers the truth at *all* times at
once. It is what a bet has not yet ruled out: each value on a grid is a null, an e-process bets
that the truth is above it and another that it is below, and a value goes when one reaches
``2/alpha``. Values go from the ends inward only, and never come back, so the interval is one, only
ever gets narrower, and costs less the narrower it is. Ends are the next values that are ruled out,
so the grid never makes it too narrow.

It is assumed that the value is constant. If it is not, the interval still never lies wholly above
the largest of its values, nor wholly below the smallest.

Sources: Waudby-Smith & Ramdas (arXiv 2010.09686) for intervals by betting; `arbiter.stats.adaptive`
for the bets on a randomised stream. This is for people to look at; no verdict reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from math import inf, log, log1p, sqrt

from arbiter.stats.adaptive import Moments, adaptive_bet
from arbiter.stats.bets import check_unit

_HALF = 0.5
_LEAST = 1e-12


class _Values:
    """The values that are not yet ruled out, from `first` to `last`, and the bets against them."""

    __slots__ = ("_needed", "above", "below", "first", "last", "values")

    def __init__(self, values: Sequence[float], alpha: float) -> None:
        if not 0.0 < alpha < 1.0:
            raise ValueError(f"an alpha lies in (0, 1), not {alpha}")
        self.values = tuple(values)
        self.above = [0.0] * len(self.values)
        self.below = [0.0] * len(self.values)
        self.first = 0
        self.last = len(self.values) - 1
        self._needed = log(2.0 / alpha)

    @property
    def left(self) -> range:
        return range(self.first, self.last + 1)

    def rule_out(self) -> None:
        while self.first <= self.last and self.above[self.first] >= self._needed:
            self.first += 1
        while self.last >= self.first and self.below[self.last] >= self._needed:
            self.last -= 1

    def low(self, least: float) -> float:
        return self.values[self.first - 1] if self.first else least

    def high(self, most: float) -> float:
        return self.values[self.last + 1] if self.last + 1 < len(self.values) else most


class Stake:
    """How much to stake on the next of a stream of numbers in [0, 1], whatever their mean.

    The predictable mixture of Waudby-Smith & Ramdas (section 3.2) ::

        k_t = sqrt(2 log(1/alpha) / (V_{t-1} t log(1 + t)))

    with the running variance ``V`` of earlier numbers, started off by one of mean 1/2 and variance
    1/4. It does not depend on the value that is bet against, so what is won against a smaller
    value is never less than what is won against a larger one.

    >>> stake = Stake(0.05)
    >>> round(stake.get(), 6)
    5.880087
    """

    __slots__ = ("_n", "_squares", "_sum", "_twice")

    def __init__(self, alpha: float) -> None:
        self._twice = 2.0 * log(1.0 / alpha)
        self._n = 1.0
        self._sum = 0.5
        self._squares = 0.25

    def get(self) -> float:
        """The stake, before it is bounded by what may be lost."""
        variance = self._squares / self._n
        return sqrt(self._twice / (variance * self._n * log1p(self._n)))

    def update(self, number: float) -> None:
        """Take the next number."""
        self._n += 1.0
        self._sum += number
        self._squares += (number - self._sum / self._n) ** 2


class MeanInterval:
    """A confidence sequence for the mean of numbers in [0, 1] that come one at a time.

    Against a mean ``m`` a number ``x`` multiplies ``1 + k (x - m)`` and ``1 - k (x - m)``, with the
    k of `Stake`, at most half of what could lose everything. Each number's mean, given those
    before it, is taken to be the same.

    >>> interval = MeanInterval()
    >>> for n in range(200):
    ...     interval.update(float(n % 5 > 0))
    >>> interval.low, interval.high
    (0.7, 0.88)

    steps: of the grid from 0 to 1.
    """

    __slots__ = ("_stake", "_values")

    def __init__(self, *, alpha: float = 0.05, steps: int = 200) -> None:
        self._values = _Values([step / steps for step in range(steps + 1)], alpha)
        self._stake = Stake(alpha / 2.0)

    def update(self, number: float) -> None:
        """Take the next number. Raises ValueError when it is outside [0, 1]."""
        check_unit(number, 0.5)
        found = self._values
        k = self._stake.get()
        for index in found.left:
            mean = found.values[index]
            off = number - mean
            found.above[index] += log1p(min(k, _HALF / max(mean, _LEAST)) * off)
            found.below[index] += log1p(-min(k, _HALF / max(1.0 - mean, _LEAST)) * off)
        self._stake.update(number)
        found.rule_out()

    @property
    def low(self) -> float:
        """The lower end; 0 while nothing is known."""
        return self._values.low(0.0)

    @property
    def high(self) -> float:
        """The upper end; 1 while nothing is known."""
        return self._values.high(1.0)


class PairInterval:
    """A confidence sequence for ``mu_new - mu_old`` from pairs: both answered the same prompt.

    It is the `MeanInterval` of ``(1 + new - old) / 2``.

    >>> interval = PairInterval()
    >>> for n in range(200):
    ...     interval.update(float(n % 5 > 0), float(n % 4 > 0))
    >>> interval.low, interval.high
    (-0.18, 0.08)
    """

    __slots__ = ("_interval",)

    def __init__(self, *, alpha: float = 0.05, steps: int = 200) -> None:
        self._interval = MeanInterval(alpha=alpha, steps=steps)

    def update(self, old: float, new: float) -> None:
        """Take the next pair of scores. Raises ValueError when one is outside [0, 1]."""
        check_unit(old, 0.5)
        check_unit(new, 0.5)
        self._interval.update((1.0 + new - old) / 2.0)

    @property
    def low(self) -> float:
        """The lower end; -1 while nothing is known."""
        return round(2.0 * self._interval.low - 1.0, 12)

    @property
    def high(self) -> float:
        """The upper end; 1 while nothing is known."""
        return round(2.0 * self._interval.high - 1.0, 12)


class Scale(StrEnum):
    """How two models are set against each other."""

    DIFFERENCE = "difference"
    """``mu_new - mu_old``, from -1 to 1."""
    RATIO = "ratio"
    """``mu_new / mu_old``, from 0; above 2 is one value."""


class GapInterval:
    """A confidence sequence for the gap between two models that share a stream by a coin.

    The bets are those of `arbiter.stats.adaptive`, against each value of the gap. Whatever ``pi``
    does, and however both means drift, it holds while the gap is constant on its scale.

    >>> gap = GapInterval(Scale.DIFFERENCE)
    >>> for n in range(400):
    ...     gap.update(float(n % 10 > 0), False, 0.5)
    ...     gap.update(float(n % 5 > 0), True, 0.5)
    >>> gap.low, gap.high
    (-0.2, -0.01)

    steps: of the grid for each 1.
    """

    __slots__ = ("_lines", "_moments", "_values", "scale")

    def __init__(self, scale: Scale, *, alpha: float = 0.05, steps: int = 100) -> None:
        is_ratio = scale is Scale.RATIO
        places = range(1, 2 * steps + 1) if is_ratio else range(1 - steps, steps)
        values = [place / steps for place in places]
        self.scale = scale
        self._values = _Values(values, alpha)
        self._lines = [(value, 0.0) if is_ratio else (1.0, value) for value in values]
        self._moments = Moments()

    def update(self, score: float, is_new: bool, pi: float) -> None:
        """Take the next unit, in the order of assignment.

        Raises:
            ValueError: the score is outside [0, 1] or pi outside (0, 1).
        """
        check_unit(score, pi)
        found, old, new = self._values, self._moments.old, self._moments.new
        for index in found.left:
            c, shift = self._lines[index]
            f, g, k = adaptive_bet(old, new, pi, c=c, shift=shift)
            z = (g - score) / pi if is_new else c * (score - f) / (1.0 - pi)
            if k >= 0.0:
                found.below[index] += log1p(k * z)
            else:
                found.above[index] += log1p(k * z)
        self._moments.update(score, is_new=is_new)
        found.rule_out()

    @property
    def low(self) -> float:
        """The lower end; the least there is while nothing is known."""
        return self._values.low(0.0 if self.scale is Scale.RATIO else -1.0)

    @property
    def high(self) -> float:
        """The upper end; 1 for a difference and ``inf`` for a ratio while nothing is known."""
        return self._values.high(inf if self.scale is Scale.RATIO else 1.0)
