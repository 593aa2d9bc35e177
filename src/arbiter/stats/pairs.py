"""Pairs: both models answered the same prompt, so luck with prompts cancels out."""

from __future__ import annotations

from math import log1p

from arbiter.stats.bets import Side, check_unit
from arbiter.stats.evalues import from_log


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
        check_unit(old, 0.5)
        check_unit(new, 0.5)
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
