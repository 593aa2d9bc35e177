"""How fast an instance answers against its own history here, and when it has become far slower.

Two times are looked at: until an answer begins, and for each token that is written. They are
compared with answers of the same kind: as many at once in the house, a prompt of about the same
length. How many other models were answering in an answer from before a restart is not on record:
it is taken for one of a quieter kind, whose bound becomes higher by that, so it makes no alarm.

`arbiter.stats.slowness` has the mathematics: while answers take no more than half as long again as
8 in 10 of them did, one in 10,000 of them or fewer makes an alarm.

This module knows no clock, no engine and no version.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from math import log2
from typing import Final

from arbiter.inference import Timings, Usage
from arbiter.knowledge.speed import Timing, timing
from arbiter.stats.slowness import ALPHA, Slowness
from arbiter.storage.database import Row

FLOOR_MS: Final = 250.0
"""An answer that begins this soon is late for nobody."""

BACK: Final = 5
"""So many in a row that are as fast as before mean that it is over; by chance 1 in 1,000 would."""

SETTLED: Final = 200
"""After so many slow answers that is its speed from now on, and what is slower is learned anew."""

READ_AT_MOST: Final = (5_000, 400)
"""The latest answers that are looked at in a start, and those of each version."""


class Change(StrEnum):
    """What an answer changed."""

    SLOW = "slow"
    """It has become far slower; also when it is slow already and was asked again."""
    WELL = "well"
    """It is as fast again as it was."""
    SETTLED = "settled"
    """It stayed slow for so long that this is its speed now."""


class Pace:
    """That of one instance.

    >>> pace = Pace()
    >>> fast, late = Timing(first_ms=300.0), Timing(first_ms=2_000.0)
    >>> found = [pace.add(fast, Usage(prompt_tokens=99), 1.0) for _ in range(60)]
    >>> [pace.add(late, Usage(prompt_tokens=99), 1.0) for _ in range(8)][-1]
    <Change.SLOW: 'slow'>
    >>> pace.why
    'its answers begin 6.7 times as late as they did'
    """

    __slots__ = ("_first", "_late", "_slow_for", "_where", "_writing", "why")

    def __init__(self) -> None:
        # at half the rate each, either may alarm and both together keep to the whole
        self._first = Slowness(floor=FLOOR_MS, alpha=ALPHA / 2)
        self._writing = Slowness(alpha=ALPHA / 2)
        self._late = self._first
        """Which of the two has become slower."""
        self._slow_for = 0
        self._where: str | None = None
        self.why: str | None = None
        """How it is slow; None: it is not, as far as is known."""

    def runs(self, where: str) -> None:
        """It is loaded there, in that way. Elsewhere and otherwise its history says nothing."""
        if self._where not in (None, where):
            self._begin_anew()
        self._where = where

    def remember(self, one: Timing, usage: Usage, crowd: float) -> None:
        """Take an answer from before as history."""
        for slowness, kind, time in self._times(one, usage, crowd):
            slowness.remember(kind, time)

    def add(self, one: Timing, usage: Usage, crowd: float) -> Change | None:
        """Take the next answer. crowd: among how many it was made, itself included."""
        is_slow = self.why is not None
        for slowness, kind, time in self._times(one, usage, crowd):
            slowness.add(kind, time, learns=not is_slow)
        return self._while_slow() if is_slow else self._alarm()

    def _times(
        self, one: Timing, usage: Usage, crowd: float
    ) -> Iterable[tuple[Slowness, tuple[int, int], float]]:
        among, prompt = _size(crowd, 1.0), usage.prompt_tokens or 0
        if one.first_ms:
            read = max(0, prompt - (usage.cached_tokens or 0))
            yield self._first, (_size(read, 2.0), among), one.first_ms
        if one.tokens_per_s:
            yield self._writing, (_size(prompt, 2.0), among), 1000.0 / one.tokens_per_s

    def _alarm(self) -> Change | None:
        if self._first.is_alarm:
            self._late, words = self._first, "its answers begin {:.1f} times as late as they did"
        elif self._writing.is_alarm:
            self._late, words = self._writing, "it takes {:.1f} times as long for a token as it did"
        else:
            return None
        self.why = words.format(self._late.ratio)
        self._look_again()
        return Change.SLOW

    def _while_slow(self) -> Change | None:
        self._slow_for += 1
        if self._slow_for > SETTLED:
            self._begin_anew()
            return Change.SETTLED
        again = self._alarm()
        if again is not None:
            return again
        if self._late.in_a_row >= BACK:
            self.why, self._slow_for = None, 0
            self._look_again()
            return Change.WELL
        return None

    def _look_again(self) -> None:
        self._first.begin_again()
        self._writing.begin_again()

    def _begin_anew(self) -> None:
        self._first.forget()
        self._writing.forget()
        self.why, self._slow_for = None, 0


def _size(count: float, step: float) -> int:
    """Which sort of size it is: each is ``2 ** step`` times the one before."""
    return round(log2(max(1.0, count)) / step)


def remembered(rows: Iterable[Row]) -> Iterable[tuple[str, Timing, Usage, float]]:
    """The answers that the query ``latest_paced`` found, each with its version."""
    for version, *told, crowd in rows:
        usage, one = _timed(told)
        yield str(version), one, usage, float(crowd or 1.0)


def _timed(told: Sequence[object]) -> tuple[Usage, Timing]:
    latency, wait, ttft, prompt, completion, cached, prefill, decode = (
        float(one) if isinstance(one, int | float) else None for one in told
    )
    usage = Usage(
        prompt_tokens=None if prompt is None else int(prompt),
        completion_tokens=None if completion is None else int(completion),
        cached_tokens=None if cached is None else int(cached),
    )
    return usage, timing(
        latency_ms=latency,
        wait_ms=wait,
        ttft_ms=ttft,
        usage=usage,
        timings=Timings(prefill_ms=prefill, decode_ms=decode),
        prompt_chars=None,
    )
