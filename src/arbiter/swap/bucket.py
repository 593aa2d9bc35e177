"""The running evidence of one task of a rollout. `arbiter.swap.analysis` says what it proves."""

from __future__ import annotations

from math import log

from arbiter.stats.adaptive import AGrapaE
from arbiter.stats.bets import HARM, Side, non_inferiority, strict
from arbiter.stats.evalues import log_sum
from arbiter.stats.means import BalancedMeans
from arbiter.stats.sequential import EProcess
from arbiter.swap.shadow import PairTests

_HARM, _STRICT = log(0.8), log(0.2)
"""What the two e-processes of a task weigh. Any weights that sum to 1 keep the error rate. Harm at
all is found with a quarter of the data that harm beyond the margin takes, so it weighs more."""


Running = EProcess | AGrapaE
"""Means of many answers vary far less than single answers do. Bets that learn how widely come to a
verdict in two thirds of the windows that the closed-form ones take."""


def not_worse(margin: float, *, of_windows: bool) -> Running:
    """The evidence that the candidate is not worse by the margin; nothing of it yet."""
    if of_windows:
        return AGrapaE(side=Side.NOT_WORSE, margin=margin)
    return EProcess(non_inferiority(margin))


class Bucket:
    """The running evidence of one task, of units and of pairs.

    >>> bucket = Bucket(0.05)
    >>> bucket.pair(1.0, 0.0)
    >>> bucket.means.n_old, bucket.means.n_new
    (1, 1)
    """

    __slots__ = ("_harm", "_log_worse", "_low", "_not_worse", "_strict", "_unfolded", "means",
                 "pairs")  # fmt: skip

    def __init__(self, margin: float, *, of_windows: bool = False) -> None:
        """of_windows: a score is the mean of a window of time."""
        self.means = BalancedMeans()
        self.pairs = PairTests(margin)
        self._harm: Running = EProcess(HARM)
        self._strict: Running = EProcess(strict(margin))
        if of_windows:
            self._harm = AGrapaE(side=Side.WORSE, margin=0.0)
            self._strict = AGrapaE(side=Side.WORSE, margin=margin)
        self._not_worse = not_worse(margin, of_windows=of_windows)
        self._unfolded: list[tuple[float, bool, float]] = []
        self._low = 1.0 - margin
        self._log_worse: tuple[float, float] | None = None

    def update(self, score: float, is_new: bool, pi: float) -> None:
        """Take the next unit, in the order of assignment."""
        self.means.update(score, is_new, pi)
        self._harm.update(score, is_new, pi)
        self._strict.update(score, is_new, pi)
        self._unfolded.append((score, is_new, pi))
        self._log_worse = None

    def pair(self, old: float, new: float) -> None:
        """Take the next pair, in the order of assignment."""
        self.means.pair(old, new)
        self.pairs.update(old, new)
        self._log_worse = None

    @property
    def log_harm(self) -> float:
        """The logarithm of the evidence that the candidate is worse at all."""
        return self._harm.log_e + self.pairs.log_harm

    @property
    def log_strict(self) -> float:
        """The logarithm of the evidence that it is worse by more than the margin."""
        return self._strict.log_e + self.pairs.log_strict

    @property
    def log_not_worse(self) -> float:
        """The logarithm of the evidence that it is not worse by the margin.

        Shown and never decided by, so it is folded when somebody looks.
        """
        for unit in self._unfolded:
            self._not_worse.update(*unit)
        self._unfolded.clear()
        return self._not_worse.log_e + self.pairs.log_not_worse

    @property
    def log_worse(self) -> tuple[float, float]:
        """``log R`` as it counts behind the gate, and as it is."""
        if self._log_worse is None:
            ratio, harm, strictly = self.means.ratio, self.log_harm, self.log_strict + _STRICT
            whole = log_sum((harm + _HARM, strictly))
            is_low = ratio is not None and ratio < self._low
            gated = whole if is_low or harm <= 0.0 else log_sum((_HARM, strictly))
            self._log_worse = gated, whole
        return self._log_worse
