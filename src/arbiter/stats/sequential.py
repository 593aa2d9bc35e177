"""The e-process that a verdict rests on: it may be looked at after every unit.

It mixes the closed-form bets of `arbiter.stats.bets`, which has the formula and its assumptions:
scores in [0, 1], probabilities of assignment that are known and were drawn from, and bets that
only use earlier units. Sources: Turner, Ly & Grünwald (arXiv 2106.02693).

Every sum is a left fold in the order of the units, so a replay is equal to the last bit. This
module knows neither tasks nor plans.
"""

from __future__ import annotations

from math import inf, log, log1p
from operator import add

from arbiter.stats.bets import Grid, bets_on, check_unit
from arbiter.stats.evalues import from_log, log_sum


class EProcess:
    """A mixture of e-processes over a grid of alternatives, each with its own product.

    The old model's mean that is bet on is ``(n0 prior + sum of old) / (n0 + n_old)`` over *earlier*
    units only, so every bet is fixed before its outcome.

    >>> from arbiter.stats.bets import HARM
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

    __slots__ = (
        "_bets", "_c", "_log_e", "_log_weights", "_logs", "_n_old", "_pi", "_sum_old", "grid",
    )  # fmt: skip

    def __init__(self, grid: Grid, *, prior_mean: float = 0.8, prior_weight: float = 10.0) -> None:
        if not (0.0 < prior_mean < 1.0 and 0.0 < prior_weight < inf):
            raise ValueError("a prior needs a mean in (0, 1) and a finite weight above 0")
        self.grid = grid
        self._log_weights = tuple(map(log, grid.weights))
        self._logs = [0.0] * len(grid.ratios)
        self._log_e: float | None = None
        self._c = 1.0 - grid.margin
        self._bets: list[tuple[float, float]] = []
        self._pi = 0.0
        self._n_old = prior_weight
        self._sum_old = prior_weight * prior_mean

    def update(self, score: float, is_new: bool, pi: float) -> None:
        """Take the next unit, in the order of assignment.

        Raises:
            ValueError: the score is outside [0, 1] or pi outside (0, 1).
        """
        check_unit(score, pi)
        bets, logs, c = self._bets, self._logs, self._c
        if pi != self._pi or not bets:
            # they stand until an old unit moves the mean, or the share is another
            bets = self._bets = bets_on(self.grid, self._sum_old / self._n_old, pi)
            self._pi = pi
        self._log_e = None
        if is_new:
            for index, (f, k) in enumerate(bets):
                logs[index] += log1p(k * ((c * f - score) / pi))
            return
        rest = 1.0 - pi
        for index, (f, k) in enumerate(bets):
            logs[index] += log1p(k * (c * (score - f) / rest))
        self._n_old += 1.0
        self._sum_old += score
        self._bets = []

    @property
    def log_e(self) -> float:
        """The natural logarithm of the e-value; 0 before any unit."""
        if self._log_e is None:
            self._log_e = log_sum(map(add, self._log_weights, self._logs))
        return self._log_e

    @property
    def e(self) -> float:
        """The e-value: reject the null at level alpha when it reaches ``1 / alpha``."""
        return from_log(self.log_e)
