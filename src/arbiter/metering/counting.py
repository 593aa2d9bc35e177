"""How much a cumulative counter grew between two readings, and whether that can be believed.

Never negative and never a spike: a counter that wrapped goes on, one that was reset leaves a gap,
and so does one that seems to have grown faster than anything can.
"""

from __future__ import annotations

from typing import Final

import msgspec

from arbiter.hardware.reading import Reading

MOST_W: Final = 10_000.0
"""No device of one machine takes more; a counter that says so was replaced, not used."""

MOST_W_OVER_A_WRAP: Final = 1_000.0
"""A wrap is believed below this: a counter that was reset looks like one that wrapped."""

RESET: Final = "the counter went back: it was reset"
FIRST: Final = "nothing to compare with yet"
SPIKE: Final = "the counter grew faster than anything can"


class Growth(msgspec.Struct, frozen=True, kw_only=True):
    """What a counter grew by, in microjoules, or why that is not known.

    since_s: how long ago it had been seen to change before.
    """

    microjoules: int | None
    since_s: float = 0.0
    reason: str | None = None


class Cumulative:
    """A counter that is read again and again.

    wraps_at: where it begins again at 0; None: never, as far as is known.

    >>> counter = Cumulative(wraps_at=1000)
    >>> counter.advance(Reading(value=900), at=0.0).reason
    'nothing to compare with yet'
    >>> counter.advance(Reading(value=100), at=1.0).microjoules
    200
    """

    def __init__(self, *, wraps_at: int | None = None) -> None:
        self._wraps_at = wraps_at
        self._last: int | None = None
        self._changed_at = 0.0

    def advance(self, reading: Reading, *, at: float) -> Growth:
        """The growth since the reading before; 0 where it has not changed."""
        before, new = self._last, reading.value
        self._last = new
        if new is None:
            return Growth(microjoules=None, reason=reading.reason)
        if before is None:
            self._changed_at = at
            return Growth(microjoules=None, reason=FIRST)
        since = at - self._changed_at
        if new == before:
            return Growth(microjoules=0, since_s=since)
        self._changed_at = at
        grown = new - before
        if grown < 0:
            return self._after_a_fall(before, new, since)
        if grown > MOST_W * 1e6 * max(since, 0.001):
            return Growth(microjoules=None, since_s=since, reason=SPIKE)
        return Growth(microjoules=grown, since_s=since)

    def _after_a_fall(self, before: int, new: int, since: float) -> Growth:
        """It wrapped if it was in the upper half and what that makes of it is plausible."""
        if self._wraps_at is not None and self._wraps_at / 2 < before <= self._wraps_at:
            grown = self._wraps_at - before + new
            if grown <= MOST_W_OVER_A_WRAP * 1e6 * since:
                return Growth(microjoules=grown, since_s=since)
        return Growth(microjoules=None, since_s=since, reason=RESET)
