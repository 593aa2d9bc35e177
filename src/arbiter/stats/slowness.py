"""Has something become far slower than it was? A robust bound on its history, and an e-CUSUM.

Times are told apart by kind, such as the length of a prompt, because kinds differ by far more than
what is looked for. Of each kind the latest `WINDOW` times are kept. A new time is *within* if it is
no longer than ``factor * B``, where ``B`` is an upper bound on the `SHARE` quantile ``Q`` of its
kind: the r-th smallest of n times, with the smallest r for which ::

    P(X_(r) < Q) <= P(Binomial(n, SHARE) >= r) <= UNSURE

whatever the distribution is (David & Nagaraja, Order Statistics, section 7.1). So while times are
no more than ``factor`` times what they were, at least `SHARE` of them are within, and the e-CUSUM
of `arbiter.stats.change` on "within or not" alarms in the mean once in ``1 / alpha`` times or less
often. Both hold for times that do not depend on each other, given their kind, and the second for
as long as ``B`` really is a bound, which each kind's is with ``1 - UNSURE``. A machine that is slow
for a minute makes an alarm: that is what it is for.

A time counts as history only when `LAG` later ones were no alarm, so that a fall does not hide
itself. What becomes slower bit by bit is not seen. This module knows no clock.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from math import log
from statistics import median
from typing import Final

from arbiter.stats.change import worse_step
from arbiter.stats.quantiles import order_ranks

SHARE: Final = 0.8
"""So many of the times are within, while nothing is wrong."""

UNSURE: Final = 0.001
"""How often the bound on a history may be too low."""

FACTOR: Final = 1.5
"""How much longer than that bound is not far off yet."""

ALPHA: Final = 1e-4
"""An alarm has no cause once in 10,000 times, or less often."""

WINDOW: Final = 200
LAG: Final = 20
MOST_KINDS: Final = 64
"""The kind that was seen longest ago is forgotten: 64 of them take 100 kB."""

_DROP: Final = 2.5
"""How far below its reference the share within is bet to fall, on the logit scale: .80 to .25."""

_WITHIN: Final = worse_step(0.0, 1.0, SHARE, drop=_DROP)
_BEYOND: Final = worse_step(0.0, 0.0, SHARE, drop=_DROP)
"""What one time adds to the logarithm of the e-CUSUM: every answer of the house comes here."""

_ANEW: Final = 10
"""A bound is worked out again after so many times more."""


def rank(count: int) -> int | None:
    """Which of so many times in order bounds the quantile; None when they are too few.

    >>> rank(30), rank(31), rank(200)
    (None, 31, 178)
    """
    return order_ranks(count, SHARE, 1.0 - 2.0 * UNSURE)[1]


class _History:
    """The latest times of a kind. bound, middle: None while they are too few."""

    __slots__ = ("_fresh", "_times", "bound", "middle")

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=WINDOW)
        self._fresh = 0
        self.bound: float | None = None
        self.middle: float | None = None

    def add(self, time: float) -> None:
        self._times.append(time)
        self._fresh += 1
        if self.bound is not None and self._fresh < _ANEW:
            return
        at = rank(len(self._times))
        if at is not None:
            self.bound, self.middle = sorted(self._times)[at - 1], median(self._times)
            self._fresh = 0


class Slowness:
    """Times of one sort, and whether they have become far longer.

    floor: a time that is no longer than this is never far off.

    >>> slow = Slowness()
    >>> for _ in range(60):
    ...     slow.add("short", 1.0)
    >>> slow.is_alarm
    False
    >>> for _ in range(7):
    ...     slow.add("short", 4.0)
    >>> slow.is_alarm, slow.ratio
    (True, 4.0)
    """

    __slots__ = ("_floor", "_histories", "_latest", "_waiting", "alarm", "in_a_row", "log_m")

    def __init__(self, *, floor: float = 0.0, alpha: float = ALPHA) -> None:
        if not 0.0 < alpha < 1.0:
            raise ValueError(f"alpha lies in (0, 1), not {alpha}")
        self.alarm = log(1.0 / alpha)
        self.log_m = 0.0
        """The logarithm of the e-CUSUM."""
        self.in_a_row = 0
        """How many of the latest were within, since one was not."""
        self._floor = floor
        self._histories: OrderedDict[Hashable, _History] = OrderedDict()
        self._waiting: deque[tuple[Hashable, float]] = deque()
        self._latest: deque[float] = deque(maxlen=7)

    def add(self, kind: Hashable, time: float, *, learns: bool = True) -> None:
        """Take the next time, above 0. learns: whether it may become history."""
        known = self._histories.get(kind)
        if known is not None and known.bound is not None and known.middle is not None:
            is_within = time <= max(self._floor, FACTOR * known.bound)
            self.log_m = max(0.0, self.log_m) + (_WITHIN if is_within else _BEYOND)
            self.in_a_row = self.in_a_row + 1 if is_within else 0
            self._latest.append(time / known.middle)
        if learns and not self.is_alarm:
            self._waiting.append((kind, time))
            if len(self._waiting) > LAG:
                self.remember(*self._waiting.popleft())

    @property
    def is_alarm(self) -> bool:
        """Whether the e-CUSUM is so large now."""
        return self.log_m >= self.alarm

    @property
    def ratio(self) -> float | None:
        """By how much the latest few are longer than their kinds' medians, in the middle."""
        return median(self._latest) if self._latest else None

    def begin_again(self) -> None:
        """Look anew from now on, at the same history; what led to an alarm does not join it."""
        self.log_m = 0.0
        self.in_a_row = 0
        self._waiting.clear()

    def forget(self) -> None:
        """Take nothing for granted any more: its speed is learned anew."""
        self.begin_again()
        self._histories.clear()
        self._latest.clear()

    def remember(self, kind: Hashable, time: float) -> None:
        """Take a time as history, without asking what it says."""
        history = self._histories.get(kind)
        if history is None:
            history = self._histories[kind] = _History()
        self._histories.move_to_end(kind)
        history.add(time)
        if len(self._histories) > MOST_KINDS:
            self._histories.popitem(last=False)
