"""After a promotion: has the promoted model become worse since? e-CUSUMs that start again.

A test that began at the promotion would first have to unlearn everything that spoke for the model.
An e-CUSUM forgets it: it never falls below 1 before the next factor ::

    M <- max(1, M) (1 + k Z)        alarm at M >= 1/alpha

and while no factor's expectation is above 1, the mean number of units to a false alarm is at least
``1/alpha`` (Shin, Ramdas & Rinaldo, arXiv 2203.03532). The bound is about *when* an alarm comes,
not whether one ever does: every e-CUSUM alarms at last. A weighted mean of e-CUSUMs keeps the
bound, so each of several drops may be bet on.

Two references: the old version that still answers a few conversations (`HoldbackAlarm`), which
traffic that gets harder cannot fool; or a mean from before (`ReferenceAlarm`), which needs no old
version and finds a drop several times sooner, but blames harder traffic on the model.
"""

from __future__ import annotations

from math import log, log1p

from arbiter.stats.bets import Grid, Side, check_unit, projected
from arbiter.stats.change import worse_step
from arbiter.stats.evalues import from_log, log_sum

_DROPS = (0.3, 0.7, 1.5)
"""How far below its reference a mean is bet to be, on the logit scale: .90 to .87, .82 and .67."""

_THIRD = log(1.0 / len(_DROPS))


class HoldbackAlarm:
    """An e-CUSUM on the factors of `arbiter.stats.bets`, against the old version beside it.

    It is assumed that each conversation was drawn for the new model with the known probability
    ``pi``, such as .95, and that scores lie in [0, 1]. While ``mu_new >= (1 - margin) mu_old`` at
    every instant, it alarms once in ``1/alpha`` units or less often, however the traffic drifts.

    >>> from arbiter.stats.bets import strict
    >>> alarm = HoldbackAlarm(strict(0.05), prior_mean=0.9)
    >>> for n in range(400):
    ...     alarm.update(1.0 if n % 10 else 0.0, n % 20 == 1, 0.95)
    ...     alarm.update(0.5, True, 0.95)
    >>> alarm.e > 1000
    True

    grid: how much worse is bet on, and its margin. Side `Side.WORSE`.
    prior_mean, prior_weight: the old version's mean at the promotion, and the units it is worth.
    """

    __slots__ = ("_log_weights", "_logs", "_n_old", "_sum_old", "grid")

    def __init__(self, grid: Grid, *, prior_mean: float, prior_weight: float = 50.0) -> None:
        if grid.side is not Side.WORSE:
            raise ValueError("an alarm bets that the new model is worse; give such a grid")
        if not (0.0 < prior_mean < 1.0 and prior_weight > 0.0):
            raise ValueError("a prior needs a mean in (0, 1) and a weight above 0")
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
        check_unit(score, pi)
        grid = self.grid
        c = 1.0 - grid.margin
        old = self._sum_old / self._n_old
        for index, ratio in enumerate(grid.ratios):
            f, k = projected(old, min(ratio * old, grid.cap), pi, c, worse=True)
            z = (c * f - score) / pi if is_new else c * (score - f) / (1.0 - pi)
            self._logs[index] = max(0.0, self._logs[index]) + log1p(k * z)
        if not is_new:
            self._n_old += 1.0
            self._sum_old += score

    @property
    def log_e(self) -> float:
        """The natural logarithm of the e-CUSUM: alarm when it reaches ``log(1 / alpha)``."""
        return log_sum(w + one for w, one in zip(self._log_weights, self._logs, strict=True))

    @property
    def e(self) -> float:
        """The e-CUSUM: alarm when it reaches ``1 / alpha``."""
        return from_log(self.log_e)


class ReferenceAlarm:
    """An e-CUSUM against a mean from before, lowered by a margin: `arbiter.stats.change`.

    It is assumed that the mean is ``(1 - margin) reference`` or more while nothing is wrong. Then
    it alarms once in ``1/alpha`` scores or less often. The margin has to cover what the reference
    may be off by, too.

    >>> alarm = ReferenceAlarm(0.9, margin=0.02)
    >>> for n in range(200):
    ...     alarm.update(float(n % 3 > 0))
    >>> alarm.e > 1000
    True

    reference: the mean when it was promoted, in (0, 1).
    margin: how much lower, as a share of it, is no alarm.
    """

    __slots__ = ("_logs", "low")

    def __init__(self, reference: float, *, margin: float) -> None:
        if not (0.0 < reference < 1.0 and 0.0 <= margin < 1.0):
            raise ValueError(
                f"a reference in (0, 1) and a margin in [0, 1), not {reference} and {margin}"
            )
        self.low = (1.0 - margin) * reference
        self._logs = [0.0] * len(_DROPS)

    def update(self, score: float) -> None:
        """Take the next score. Raises ValueError when it is outside [0, 1]."""
        self._logs = [
            worse_step(log_m, score, self.low, drop=drop)
            for log_m, drop in zip(self._logs, _DROPS, strict=True)
        ]

    @property
    def log_e(self) -> float:
        """The natural logarithm of the e-CUSUM: alarm when it reaches ``log(1 / alpha)``."""
        return log_sum(_THIRD + log_m for log_m in self._logs)

    @property
    def e(self) -> float:
        """The e-CUSUM: alarm when it reaches ``1 / alpha``."""
        return from_log(self.log_e)
