"""Bets that learn how widely scores vary: for graded scores, latencies and intervals.

The closed-form bets of `arbiter.stats.bets` are the best ones for 0/1 outcomes, whose variance
follows from their mean. A judge's scores or a logarithm of a latency vary far less, so far more may
be staked on each. With ``c`` and ``d`` known, the null is a line, ``mu_new = c mu_old + d``, and ::

    Z = c 1{old} (Y - f) / (1 - pi)  -  1{new} (Y - g) / pi,      g = c f + d,
    E[Z | past] = c mu_old + d - mu_new

for any ``f`` chosen beforehand. ``E <- E (1 + k Z)`` with ``k >= 0`` is a supermartingale while
``mu_new >= c mu_old + d``, and with ``k <= 0`` while ``mu_new <= c mu_old + d``; it is assumed that
scores lie in [0, 1] and that ``pi`` is the probability that was drawn with. From the means
``m`` and mean squares ``q`` of *earlier* units ::

    g = pi (c m_old + d) + (1 - pi) m_new        the f with the smallest E[Z^2]
    E[Z^2] = c^2 (q_old - 2 f m_old + f^2) / (1 - pi) + (q_new - 2 g m_new + g^2) / pi
    k = (c m_old + d - m_new) / E[Z^2]           at most half of what keeps a factor from zero

Sources: Waudby-Smith & Ramdas (arXiv 2010.09686), the approximate GRAPA rule ``D / (V + D^2)``, and
Waudby-Smith, Wu, Ramdas, Karampatziakis & Mineiro (2210.10768) for it on a randomised stream.
"""

from __future__ import annotations

from math import log1p

from arbiter.stats.bets import Side, check_unit
from arbiter.stats.evalues import from_log

_HALF = 0.5
"""The share of the largest allowed stake that is ever staked: estimates may be wrong."""

_LEAST = 1e-12
"""Stands for a largest loss of nothing, where any stake is allowed."""


class Moments:
    """Mean and mean square of both arms, each started off by one half of a 0 and of a 1.

    >>> moments = Moments()
    >>> moments.update(1.0, is_new=True)
    >>> moments.new, moments.old
    ((0.75, 0.75), (0.5, 0.5))
    """

    __slots__ = ("_new", "_old")

    def __init__(self) -> None:
        start = (1.0, 0.5, 0.5)
        self._old = start
        self._new = start

    def update(self, score: float, *, is_new: bool) -> None:
        """Take the next unit's score, which has been checked."""
        n, total, squares = self._new if is_new else self._old
        after = (n + 1.0, total + score, squares + score * score)
        if is_new:
            self._new = after
        else:
            self._old = after

    @property
    def old(self) -> tuple[float, float]:
        """The old model's mean and mean square."""
        n, total, squares = self._old
        return total / n, squares / n

    @property
    def new(self) -> tuple[float, float]:
        """The new model's mean and mean square."""
        n, total, squares = self._new
        return total / n, squares / n


def adaptive_bet(
    old: tuple[float, float], new: tuple[float, float], pi: float, *, c: float, shift: float = 0.0
) -> tuple[float, float, float]:
    """The bet ``(f, g, k)`` against ``mu_new = c mu_old + shift``; see the module's formula.

    old, new: mean and mean square of each arm so far. A ``k`` above 0 bets that the new model is
    below the line, one below 0 that it is above.

    >>> f, g, k = adaptive_bet((0.8, 0.66), (0.7, 0.51), 0.5, c=1.0)
    >>> round(f, 3), round(g, 3), round(k, 3)
    (0.75, 0.75, 0.333)
    """
    m_old, q_old = old
    m_new, q_new = new
    rest = 1.0 - pi
    g = pi * (c * m_old + shift) + rest * m_new
    f = (g - shift) / c
    gap = c * m_old + shift - m_new
    size = c * c * (q_old - 2.0 * f * m_old + f * f) / rest + (q_new - 2.0 * g * m_new + g * g) / pi
    if gap >= 0.0:
        loss = max(c * f / rest, (1.0 - g) / pi, _LEAST)
        return f, g, min(gap / size, _HALF / loss)
    loss = max(c * (1.0 - f) / rest, g / pi, _LEAST)
    return f, g, max(gap / size, -_HALF / loss)


class AGrapaE:
    """An e-process for scores that vary less than 0/1 outcomes do; the module has the formula.

    Its nulls are those of `arbiter.stats.sequential.EProcess`. It stakes nothing while what was
    seen so far does not speak for its side.

    >>> slower = AGrapaE(side=Side.WORSE, margin=0.0)
    >>> for _ in range(60):
    ...     slower.update(0.75, False, 0.5)
    ...     slower.update(0.65, True, 0.5)
    >>> slower.e > 20
    True
    """

    __slots__ = ("_log_e", "_moments", "margin", "side")

    def __init__(self, *, side: Side, margin: float) -> None:
        if not 0.0 <= margin < 1.0:
            raise ValueError(f"a margin lies in [0, 1), not {margin}")
        self.side = side
        self.margin = margin
        self._moments = Moments()
        self._log_e = 0.0

    def update(self, score: float, is_new: bool, pi: float) -> None:
        """Take the next unit, in the order of assignment.

        Raises:
            ValueError: the score is outside [0, 1] or pi outside (0, 1).
        """
        check_unit(score, pi)
        c = 1.0 - self.margin
        f, g, k = adaptive_bet(self._moments.old, self._moments.new, pi, c=c)
        if k > 0.0 if self.side is Side.WORSE else k < 0.0:
            z = (g - score) / pi if is_new else c * (score - f) / (1.0 - pi)
            self._log_e += log1p(k * z)
        self._moments.update(score, is_new=is_new)

    @property
    def log_e(self) -> float:
        """The natural logarithm of the e-value; 0 before any unit."""
        return self._log_e

    @property
    def e(self) -> float:
        """The e-value: reject the null at level alpha when it reaches ``1 / alpha``."""
        return from_log(self._log_e)
