"""Quantiles of a stream of numbers above 0, with a bounded relative error, older ones fading.

Numbers are counted in buckets whose bounds are powers of ``(1 + a) / (1 - a)``, so the middle of a
bucket is within ``a`` of everything in it (DDSketch: Masson, Rim & Lee, VLDB 2019, section 2). How
sure a quantile is comes from order statistics: how many of ``n`` numbers lie below it is binomial,
whatever their distribution is (David & Nagaraja, Order Statistics, section 7.1).

That interval takes the numbers for independent. Requests that come in bursts are not, and it is
then too narrow. This module knows no clock: numbers fade by what comes after them.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Mapping
from functools import lru_cache
from itertools import accumulate
from math import ceil, exp, inf, lgamma, log, log1p

RELATIVE_ERROR = 0.02
"""A quantile is within this share of the exact one."""

LEAST, MOST = 0.01, 1e7
"""Numbers outside are counted as these, so a sketch has at most 519 buckets of 8 bytes."""

_BASE = (1.0 + RELATIVE_ERROR) / (1.0 - RELATIVE_ERROR)
_STEP = log(_BASE)
_FORGOTTEN = 1e-3
"""What a bucket weighs when it is given up, in numbers; after ten half-lives one weighs less."""

_RESCALE = 2.0**10
_LARGEST_N = 5_000
"""More numbers than this are taken for this many in an interval, which makes it no narrower."""

_SLACK = 1e-9


class Sketch:
    """Counts of numbers, from which quantiles are read.

    half_life: numbers after which an old one counts half; None: nothing fades.

    >>> sketch = Sketch()
    >>> for value in range(1, 101):
    ...     sketch.add(value)
    >>> sketch.count, [round(sketch.quantile(q) or 0.0) for q in (0.5, 0.9)]
    (100, [49, 90])
    """

    __slots__ = (
        "_buckets",
        "_fade",
        "_first",
        "_squares",
        "_total",
        "_unit",
        "_upto",
        "count",
        "half_life",
    )

    def __init__(self, *, half_life: float | None = None) -> None:
        if half_life is not None and not half_life > 0.0:
            raise ValueError(f"a half-life is above 0, not {half_life}")
        self.half_life = half_life
        self.count = 0
        """Numbers that were ever added."""
        self._fade = 1.0 if half_life is None else 2.0 ** min(60.0, 1.0 / half_life)
        self._first = 0
        self._buckets = array("d")
        self._unit = 1.0  # what a number weighs that is added now; old ones keep what they have
        self._total = 0.0
        self._squares = 0.0
        self._upto: list[float] | None = None
        """The weight up to each bucket, until a number is added: quantiles are read in groups."""

    def add(self, value: float, weight: float = 1.0) -> None:
        """Count a number; with a weight, as if it had come so often. Earlier ones fade by that.

        Raises:
            ValueError: the value is negative or no number, or the weight is not above 0.
        """
        if not (0.0 <= value < inf and 0.0 < weight < inf):
            raise ValueError(f"a value from 0 up with a weight above 0, not {value}, {weight}")
        if weight == 1.0:
            self._unit *= self._fade
        elif self.half_life is not None:
            self._unit *= 2.0 ** min(60.0, weight / self.half_life)
        mass = weight * self._unit
        index = _index(value)
        place = index - self._first
        if 0 <= place < len(self._buckets):
            self._buckets[place] += mass
            self._upto = None
        else:
            self._put(index, mass)
        self._total += mass
        self._squares += mass * mass
        self.count += 1
        if self._unit > _RESCALE:
            self._rescale()

    def merge(self, other: Sketch) -> None:
        """Count the other's numbers too, as if both had been counted side by side.

        Raises:
            ValueError: their half-lives differ.
        """
        if other.half_life != self.half_life:
            raise ValueError("sketches of different half-lives cannot be merged")
        scale = self._unit / other._unit
        for place, mass in enumerate(other._buckets):
            if mass > 0.0:
                self._put(other._first + place, mass * scale)
        self._total += other._total * scale
        self._squares += other._squares * scale * scale
        self.count += other.count

    def quantile(self, share: float) -> float | None:
        """The least number that so large a share of them does not exceed; None of no numbers.

        Raises:
            ValueError: the share is outside [0, 1].
        """
        place = self._place(share)
        return None if place is None else 2.0 * _BASE**place / (_BASE + 1.0)

    def interval(self, share: float, level: float = 0.9) -> tuple[float | None, float | None]:
        """Where the quantile of the source lies with this confidence; None: too few to say.

        The ends are bounds of buckets, so the sketch's own error is in it. Faded numbers count as
        ``effective`` of them.

        >>> sketch = Sketch()
        >>> for value in range(1, 11):
        ...     sketch.add(value)
        >>> [end and round(end, 1) for end in sketch.interval(0.9)]
        [6.8, None]
        """
        n = min(_LARGEST_N, int(self.effective + _SLACK))
        low, high = order_ranks(n, share, level)
        below = None if low is None else self._place(low / n)
        above = None if high is None else self._place(high / n)
        return (
            None if below is None else _BASE ** (below - 1),
            None if above is None else _BASE**above,
        )

    @property
    def effective(self) -> float:
        """How many equal numbers the weighted ones are worth (Kish): (sum w)^2 / sum w^2."""
        return self._total * self._total / self._squares if self._squares else 0.0

    def to_state(self) -> dict[str, object]:
        """As plain JSON."""
        return {
            "error": RELATIVE_ERROR,
            "half_life": self.half_life,
            "count": self.count,
            "first": self._first,
            "buckets": [mass / self._unit for mass in self._buckets],
            "squares": self._squares / (self._unit * self._unit),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, object]) -> Sketch:
        """What `to_state` wrote. Raises ValueError for anything else."""
        half_life, count, first = state.get("half_life"), state.get("count"), state.get("first")
        buckets, squares = state.get("buckets"), state.get("squares")
        if (
            state.get("error") != RELATIVE_ERROR
            or not (half_life is None or isinstance(half_life, int | float))
            or not (isinstance(count, int) and isinstance(first, int))
            or not (isinstance(squares, int | float) and 0.0 <= squares < inf)
            or not isinstance(buckets, list)
            or not _LOWEST <= first <= first + len(buckets) <= _HIGHEST + 1
            or not all(isinstance(mass, int | float) and 0.0 <= mass < inf for mass in buckets)
        ):
            raise ValueError("this is no state of a sketch")
        sketch = cls(half_life=half_life)
        sketch.count = count
        sketch._first = first
        sketch._buckets = array("d", buckets)
        sketch._total = sum(sketch._buckets)
        sketch._squares = float(squares)
        return sketch

    def _put(self, index: int, mass: float) -> None:
        self._upto = None
        if not self._buckets:
            self._first = index
        place = index - self._first
        if place < 0:
            self._buckets = array("d", bytes(8 * -place)) + self._buckets
            self._first = index
            place = 0
        elif place >= len(self._buckets):
            self._buckets.frombytes(bytes(8 * (place + 1 - len(self._buckets))))
        self._buckets[place] += mass

    def _place(self, share: float) -> int | None:
        """The index of the bucket in which this share of the weight is reached."""
        if not 0.0 <= share <= 1.0:
            raise ValueError(f"a share lies in [0, 1], not {share}")
        if not self._total:
            return None
        if self._upto is None:
            self._upto = list(accumulate(self._buckets))
        goal = share * self._total * (1.0 - _SLACK)
        place = min(bisect_left(self._upto, goal), len(self._upto) - 1)
        if self._buckets[place] > 0.0:
            return self._first + place
        # of none of the weight, or of all of it with the rounding of its sum: the nearest that
        # holds something
        filled = [at for at, mass in enumerate(self._buckets) if mass > 0.0]
        return self._first + (filled[0] if place < filled[0] else filled[-1])

    def _rescale(self) -> None:
        """Write the weights anew in numbers of now, and give up what has faded away."""
        scale = 1.0 / self._unit
        least = min(_FORGOTTEN, max(self._buckets) * scale)
        kept = [m * scale if m * scale >= least else 0.0 for m in self._buckets]
        places = [place for place, mass in enumerate(kept) if mass]
        self._buckets = array("d", kept[places[0] : places[-1] + 1])
        self._first += places[0]
        self._total = sum(self._buckets)
        self._squares *= scale * scale
        self._unit = 1.0
        self._upto = None


@lru_cache(maxsize=4096)
def order_ranks(n: int, share: float, level: float) -> tuple[int | None, int | None]:
    """Which of n sorted numbers (from 1) enclose the quantile of their source.

    Each end is missed with at most half of what ``level`` leaves. None: no number is far enough.

    >>> order_ranks(100, 0.5, 0.9), order_ranks(10, 0.9, 0.9), order_ranks(2, 0.5, 0.9)
    ((42, 59), (7, None), (None, None))

    Raises:
        ValueError: the share or the level is outside (0, 1).
    """
    if not (0.0 < share < 1.0 and 0.0 < level < 1.0):
        raise ValueError(f"a share and a level lie in (0, 1), not {share}, {level}")
    sure = (1.0 + level) / 2.0
    low = high = None
    upto = 0.0  # the chance that at most k - 1 of n lie below the quantile
    for k in range(1, n + 1):
        upto += _binomial(k - 1, n, share)
        if 1.0 - upto >= sure - _SLACK:
            low = k
        if upto >= sure - _SLACK:
            high = k
            break
    return low, high


def _binomial(k: int, n: int, share: float) -> float:
    ways = lgamma(n + 1.0) - lgamma(k + 1.0) - lgamma(n - k + 1.0)
    return exp(ways + k * log(share) + (n - k) * log1p(-share))


def _index(value: float) -> int:
    if not LEAST <= value <= MOST:
        value = LEAST if value < LEAST else MOST
    return ceil(log(value) / _STEP - _SLACK)


_LOWEST, _HIGHEST = _index(LEAST), _index(MOST)
