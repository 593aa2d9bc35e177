"""Whether the arms of a comparison fill as they were drawn."""

from __future__ import annotations

from math import inf, log

from arbiter.stats.bets import check_unit
from arbiter.stats.evalues import from_log


class SampleRatio:
    """Whether the arms really fill with the probabilities that were drawn from.

    A Dirichlet-multinomial e-value for each distinct ``pi``, multiplied: the predicted share is
    ``(w pi + n_new) / (w + n)`` with a weight ``w`` of 100 units (Lindon & Malek, NeurIPS 2022).
    Large means that conversations go missing on one side, so no comparison of the two can be
    believed. It assumes that each unit is drawn by its own coin.

    weight: how many units the belief "as drawn" is worth, above 0. Larger finds smaller gaps later.

    >>> arrivals = SampleRatio()
    >>> for is_new in [True] * 80 + [False] * 120:
    ...     arrivals.update(is_new, 0.5)
    >>> round(arrivals.e, 6)
    8.437118
    """

    __slots__ = ("_log_e", "_seen", "_weight")

    def __init__(self, weight: float = 100.0) -> None:
        if not 0.0 < weight < inf:
            raise ValueError(f"a weight is a finite number above 0, not {weight}")
        self._weight = weight
        self._log_e = 0.0
        self._seen: dict[float, tuple[int, int]] = {}

    def update(self, is_new: bool, pi: float) -> None:
        """Take the next unit's arm. Raises ValueError when pi is outside (0, 1)."""
        check_unit(0.0, pi)
        n_old, n_new = self._seen.get(pi, (0, 0))
        total = self._weight + n_old + n_new
        if is_new:
            self._log_e += log((self._weight * pi + n_new) / (total * pi))
            self._seen[pi] = (n_old, n_new + 1)
        else:
            rest = 1.0 - pi
            self._log_e += log((self._weight * rest + n_old) / (total * rest))
            self._seen[pi] = (n_old + 1, n_new)

    @property
    def log_e(self) -> float:
        """The natural logarithm of the e-value; 0 before any unit."""
        return self._log_e

    @property
    def e(self) -> float:
        """The e-value against "the arms fill as they were drawn"."""
        return from_log(self._log_e)
