"""Two arms' means while the share of each is changed, for people and for gates; no test.

This module knows neither tasks nor plans.
"""

from __future__ import annotations

from arbiter.stats.bets import check_unit


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

    __slots__ = ("_new", "_new_paired", "_old", "_old_paired", "_ratio", "n_new", "n_old")

    SHRINK = 10.0
    """How many pseudo-units at the common mean each arm gets in `ratio`."""

    def __init__(self) -> None:
        self.n_old = 0
        self.n_new = 0
        self._old = (0.0, 0.0, 0.0)
        self._new = (0.0, 0.0, 0.0)
        self._old_paired = (0.0, 0.0, 0.0)
        self._new_paired = (0.0, 0.0, 0.0)
        self._ratio: float | None = None

    def update(self, score: float, is_new: bool, pi: float) -> None:
        """Take the next unit. Raises ValueError for a score or pi outside its interval."""
        check_unit(score, pi)
        self._ratio = None
        if is_new:
            self.n_new += 1
            self._new = _weighed(self._new, score, 1.0 - pi)
        else:
            self.n_old += 1
            self._old = _weighed(self._old, score, pi)

    def pair(self, old: float, new: float) -> None:
        """Take one prompt that both models answered: the same traffic for both, so it weighs alike.

        Pairs have sums of their own: they come later than the units beside them, and what is
        known of both must not depend on when. Raises as `update` does.

        >>> means = BalancedMeans()
        >>> means.pair(1.0, 0.0)
        >>> means.old, means.new, means.n_old, means.n_new
        (1.0, 0.0, 1, 1)
        """
        check_unit(old, _HALF)
        check_unit(new, _HALF)
        self._ratio = None
        self.n_old += 1
        self.n_new += 1
        self._old_paired = _weighed(self._old_paired, old, _HALF)
        self._new_paired = _weighed(self._new_paired, new, _HALF)

    @property
    def old(self) -> float | None:
        """The old model's balanced mean; None before its first unit."""
        sums = _added(self._old, self._old_paired)
        return sums[1] / sums[0] if self.n_old else None

    @property
    def new(self) -> float | None:
        """The new model's balanced mean; None before its first unit."""
        sums = _added(self._new, self._new_paired)
        return sums[1] / sums[0] if self.n_new else None

    @property
    def ratio(self) -> float | None:
        """New over old, both shrunk to their common mean; None until both arms have a unit.

        An arm's weight is Kish's effective size ``(sum w)^2 / sum w^2``.
        """
        if self._ratio is None and self.n_old and self.n_new:
            self._ratio = self._shrunken()
        return self._ratio

    def _shrunken(self) -> float:
        of_old = _added(self._old, self._old_paired)
        of_new = _added(self._new, self._new_paired)
        old, new = of_old[1] / of_old[0], of_new[1] / of_new[0]
        n_old = of_old[0] * of_old[0] / of_old[2]
        n_new = of_new[0] * of_new[0] / of_new[2]
        common = (n_old * old + n_new * new) / (n_old + n_new)
        if common == 0.0:
            return 1.0
        below = (n_old * old + self.SHRINK * common) / (n_old + self.SHRINK)
        return (n_new * new + self.SHRINK * common) / (n_new + self.SHRINK) / below


_Sums = tuple[float, float, float]
"""Of weights, of weighted scores, of squared weights."""

_HALF = 0.5


def _added(one: _Sums, other: _Sums) -> _Sums:
    return one[0] + other[0], one[1] + other[1], one[2] + other[2]


def _weighed(sums: _Sums, score: float, weight: float) -> _Sums:
    weights, weighed, squares = sums
    return weights + weight, weighed + weight * score, squares + weight * weight
