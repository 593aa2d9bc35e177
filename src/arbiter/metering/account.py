"""One energy counter, shared out: what fell to requests, what is idle, what nobody here used.

A counter changes in steps, so what is shared out is what it grew by from one change to the next,
over all who were in flight in that time. Of the growth the idle part is taken off first: the power
when nothing was in flight, as it was seen before. The rest falls to the requests as they used the
device, and what others used of it falls to nobody here. When nothing was in flight, all of it is
what keeping the models loaded cost. Nothing is lost and nothing counted twice:

    grown = attributed + idle + resting + unattributed

by construction. What a counter shows is as old as its latest change, so where it changes about as
seldom as it is read, who used the device just before a change has a part of the next one too: else
the last moments of a request would be taken for what the machine takes at rest. This module reads
no counter and no clock.

Reference: the interpolation to the counter's own time stamps follows Alumet; sharing by overlap in
slices of at most 250 ms keeps the median request within some per cent (`arbiter bench metering`).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Final, Generic, TypeVar

import msgspec

from arbiter.hardware.reading import About, Reading
from arbiter.metering.counting import FIRST, Cumulative

REST_KEPT_S: Final = 60.0
"""Over how much time at rest the idle power is a mean. One reading alone says little: it may come
just before the counter changes or just after."""

FINE: Final = 0.25
"""A counter that changes this much oftener than it is read shows the present."""

Claimant = TypeVar("Claimant", bound=Hashable)


class Sums(msgspec.Struct, kw_only=True):
    """Where a counter's energy went, in joules."""

    grown: float = 0.0
    attributed: float = 0.0
    idle: float = 0.0
    resting: float = 0.0
    """Nothing was in flight: what it costs to keep models loaded, and the machine on."""
    unattributed: float = 0.0
    gaps: int = 0
    """How often the counter said nothing, or nothing that can be believed."""


class Slice(msgspec.Struct, Generic[Claimant], frozen=True, kw_only=True):
    """What was used of a device since the reading before.

    claims: seconds of the device that each request used. total_s: what everybody used of it, at
    least what the claims add up to; None when only that is known. in_flight: whether any request
    was. seconds: how long it lasted.
    """

    seconds: float
    claims: Mapping[Claimant, float]
    in_flight: bool
    total_s: float | None = None


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """What fell to one request when a slice was closed.

    joules: None when the counter had a gap. idle_known: whether the idle part could be taken off.
    """

    joules: float | None
    idle_known: bool
    reason: str | None = None


class Account(Generic[Claimant]):
    """Shares out one counter.

    >>> account: Account[str] = Account(About(name="x", source="rapl", part="cpu", update_s=0.001))
    >>> _ = account.advance(Reading(value=0), Slice(seconds=0, claims={}, in_flight=False), at=0.0)
    >>> rest = Slice(seconds=1.0, claims={}, in_flight=False)
    >>> _ = account.advance(Reading(value=10_000_000), rest, at=1.0)  # 10 W at rest
    >>> both = Slice(seconds=1.0, claims={"a": 0.3, "b": 0.1}, in_flight=True, total_s=0.5)
    >>> shares = account.advance(Reading(value=60_000_000), both, at=2.0)
    >>> shares["a"].joules, shares["b"].joules  # of 40 J above idle
    (24.0, 8.0)
    >>> account.sums.idle, account.sums.resting, account.sums.unattributed
    (10.0, 10.0, 8.0)
    """

    def __init__(self, about: About) -> None:
        self.about = about
        self.sums = Sums()
        self._rest_j = 0.0
        self._rest_s = 0.0
        self._counter = Cumulative(wraps_at=about.wraps_at)
        self.trouble: str | None = None
        """Why the latest reading said nothing; None when it did."""
        self._open: dict[Claimant, float] = {}
        self._carried: Mapping[Claimant, float] = {}
        """What was used just before the latest change, of which it did not show all."""
        self._total_s = 0.0
        self._was_busy = False

    @property
    def idle_w(self) -> float | None:
        """The power at rest; None until it was seen."""
        return self._rest_j / self._rest_s if self._rest_s else None

    def holds(self, one: Claimant) -> bool:
        """Whether a request waits for the counter's next change."""
        return one in self._open or one in self._carried

    def advance(
        self, reading: Reading, slice_: Slice[Claimant], *, at: float
    ) -> Mapping[Claimant, Share]:
        """Take a reading; what falls to whom, if the counter has changed."""
        for one, seconds in slice_.claims.items():
            self._open[one] = self._open.get(one, 0.0) + seconds
        used = sum(slice_.claims.values())
        self._total_s += max(used, slice_.total_s or 0.0)
        self._was_busy = self._was_busy or slice_.in_flight
        growth = self._counter.advance(reading, at=at)
        self.trouble = reading.reason
        if growth.microjoules is None:
            if growth.reason != FIRST:
                self.sums.gaps += 1
            return self._torn(growth.reason or "")
        if growth.microjoules == 0:
            return {}
        joules = growth.microjoules / 1e6
        self.sums.grown += joules
        carried, self._carried = self._carried, self._tail(slice_)
        if not self._was_busy and not carried:
            return self._at_rest(joules, growth.since_s)
        for one, seconds in carried.items():
            self._open[one] = self._open.get(one, 0.0) + seconds
            self._total_s += seconds
        return self._shared(joules, growth.since_s)

    def _tail(self, slice_: Slice[Claimant]) -> Mapping[Claimant, float]:
        """What of a slice's use the counter may not have shown yet, on average."""
        if not slice_.claims or self.about.update_s < FINE * slice_.seconds:
            return {}
        part = min(1.0, 0.5 * self.about.update_s / slice_.seconds) if slice_.seconds else 1.0
        return {one: part * seconds for one, seconds in slice_.claims.items()}

    def _at_rest(self, joules: float, seconds: float) -> Mapping[Claimant, Share]:
        self.sums.resting += joules
        if seconds > 0:
            self._rest_j += joules
            self._rest_s += seconds
            if self._rest_s > REST_KEPT_S:
                self._rest_j *= REST_KEPT_S / self._rest_s
                self._rest_s = REST_KEPT_S
        return self._closed({})

    def _shared(self, joules: float, seconds: float) -> Mapping[Claimant, Share]:
        idle = min(joules, (self.idle_w or 0.0) * seconds)
        above, known = joules - idle, self.idle_w is not None
        claims, total = self._open, self._total_s
        shares = {
            one: Share(joules=above * used / total if total else 0.0, idle_known=known)
            for one, used in claims.items()
        }
        given = sum(share.joules or 0.0 for share in shares.values())
        self.sums.idle += idle
        self.sums.attributed += given
        self.sums.unattributed += above - given
        return self._closed(shares)

    def disown(self, joules: float) -> None:
        """A share came too late for its request: it is nobody's."""
        self.sums.attributed -= joules
        self.sums.unattributed += joules

    def _torn(self, reason: str) -> Mapping[Claimant, Share]:
        everybody = {*self._open, *self._carried}
        self._carried = {}
        torn = {one: Share(joules=None, idle_known=False, reason=reason) for one in everybody}
        return self._closed(torn)

    def _closed(self, shares: Mapping[Claimant, Share]) -> Mapping[Claimant, Share]:
        self._open = {}
        self._total_s = 0.0
        self._was_busy = False
        return shares
