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

    __slots__ = ("_new", "_old", "_ratio", "n_new", "n_old")

    SHRINK = 10.0
    """How many pseudo-units at the common mean each arm gets in `ratio`."""

    def __init__(self) -> None:
        self.n_old = 0
        self.n_new = 0
        self._old = (0.0, 0.0, 0.0)
        self._new = (0.0, 0.0, 0.0)
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
        if self._ratio is None and self.n_old and self.n_new:
            self._ratio = self._shrunken()
        return self._ratio

    def _shrunken(self) -> float:
        old, new = self._old[1] / self._old[0], self._new[1] / self._new[0]
        n_old = self._old[0] * self._old[0] / self._old[2]
        n_new = self._new[0] * self._new[0] / self._new[2]
        common = (n_old * old + n_new * new) / (n_old + n_new)
        if common == 0.0:
            return 1.0
        below = (n_old * old + self.SHRINK * common) / (n_old + self.SHRINK)
        return (n_new * new + self.SHRINK * common) / (n_new + self.SHRINK) / below


def _weighed(
    sums: tuple[float, float, float], score: float, weight: float
) -> tuple[float, float, float]:
    return sums[0] + weight, sums[1] + weight * score, sums[2] + weight * weight
