"""Sharing out a cumulative counter among the requests that ran while it grew.

Between two events (a request begins, a request ends) the set of requests in flight does not
change, so the counter's growth there is split equally among them; with none in flight it is idle.
Nothing is lost and nothing counted twice: shares and idle add up to the growth by construction.

Time is shared out in the same way: a request's share of it is how long it had the process to
itself, in seconds. How long it ran over that share is how many it ran among, on average.

Under concurrency the sum over a model is as exact as the counter, and a single request's figure
is a fair share, not a measurement; the figure's method says which it is. This module reads no
counter and no clock.
"""

from __future__ import annotations

from collections.abc import Hashable

import msgspec

from arbiter.cost import Figure, Method, unknown

UNREADABLE = "the counter could not be read"
WENT_BACK = "the counter went back: the process was replaced"
NEVER_BEGUN = "it was never begun"


class _Start(msgspec.Struct, frozen=True, kw_only=True):
    """What the meter showed when a request began."""

    level: float
    time_level: float
    gaps: int
    begun: int
    alone: bool


class Parted(msgspec.Struct, frozen=True, kw_only=True):
    """What fell to a request when it ended: of the counter, and of the time in seconds."""

    share: Figure
    seconds: float


class EqualShare:
    """One counter, and the time, shared equally by those in flight.

    Each request's share is the difference of one running sum, the growth per head, so an event
    costs the same however many are in flight.

    >>> meter = EqualShare()
    >>> meter.begin("a", 100)
    >>> meter.begin("b", 140)      # a was alone for 40
    >>> meter.end("a", 200).value  # and had half of the next 60
    70.0
    >>> meter.end("b", 210).value
    40.0
    """

    def __init__(self) -> None:
        self._inside: dict[Hashable, _Start] = {}
        self._level = 0.0
        self._time_level = 0.0
        self._at = 0.0
        self._counter: int | None = None
        self._idle = 0
        self._gaps = 0
        self._gap = ""
        self._begun = 0

    @property
    def in_flight(self) -> int:
        """How many share the counter now."""
        return len(self._inside)

    @property
    def idle(self) -> int:
        """What the counter grew by while none was in flight."""
        return self._idle

    def begin(self, token: Hashable, counter: int | None, *, at: float = 0.0) -> None:
        """A request starts. Raises `ValueError` when this token is in flight already.

        at: seconds of a clock that never goes back, where time is to be shared too.
        """
        if token in self._inside:
            raise ValueError(f"{token!r} is in flight already")
        self._advance(counter, at)
        self._begun += 1
        # a start without a reading has no level to count from, unless a later gap says so first
        gaps = self._gaps - 1 if counter is None else self._gaps
        self._inside[token] = _Start(
            level=self._level,
            time_level=self._time_level,
            gaps=gaps,
            begun=self._begun,
            alone=not self._inside,
        )

    def end(self, token: Hashable, counter: int | None) -> Figure:
        """A request is over: its share, in the counter's unit, or why there is none."""
        return self.part(token, counter).share

    def part(self, token: Hashable, counter: int | None, *, at: float = 0.0) -> Parted:
        """As `end`, with the request's share of the time."""
        self._advance(counter, at)
        start = self._inside.pop(token, None)
        if start is None:
            return Parted(share=unknown(NEVER_BEGUN), seconds=0.0)
        level, seconds = self._level, self._time_level - start.time_level
        if not self._inside:
            # from zero again, so that the running sum never grows past what a float resolves
            self._level = self._time_level = 0.0
        if start.gaps != self._gaps:
            return Parted(share=unknown(self._gap), seconds=seconds)
        alone = start.alone and start.begun == self._begun
        method = Method.MEASURED if alone else Method.SHARED
        return Parted(share=Figure(value=level - start.level, method=method), seconds=seconds)

    def touch(self, counter: int | None, *, at: float) -> None:
        """Take a reading between two events, so that `so_far` is of this moment."""
        self._advance(counter, at)

    def so_far(self, token: Hashable) -> tuple[float | None, float]:
        """The share of one in flight at the latest reading: of the counter, and of the time."""
        start = self._inside[token]
        seconds = self._time_level - start.time_level
        return (self._level - start.level if start.gaps == self._gaps else None), seconds

    def _advance(self, counter: int | None, at: float) -> None:
        before, self._counter = self._counter, counter
        if self._inside:
            self._time_level += max(0.0, at - self._at) / len(self._inside)
        self._at = max(self._at, at)
        if counter is None:
            self._tear(UNREADABLE)
        elif before is None:
            if self._inside:
                self._tear(UNREADABLE)
        elif counter < before:
            self._tear(WENT_BACK)
        elif self._inside:
            self._level += (counter - before) / len(self._inside)
        else:
            self._idle += counter - before

    def _tear(self, reason: str) -> None:
        """Those in flight now can have no figure any more; those that begin later can."""
        self._gaps += 1
        self._gap = reason
