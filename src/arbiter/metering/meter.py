"""Sharing out a cumulative counter among the requests that ran while it grew.

Between two events (a request begins, a request ends) the set of requests in flight does not
change, so the counter's growth there is split equally among them; with none in flight it is idle.
Nothing is lost and nothing counted twice: shares and idle add up to the growth by construction.

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
    gaps: int
    begun: int
    alone: bool


class EqualShare:
    """One counter, shared equally by those in flight.

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

    def begin(self, token: Hashable, counter: int | None) -> None:
        """A request starts. Raises `ValueError` when this token is in flight already."""
        if token in self._inside:
            raise ValueError(f"{token!r} is in flight already")
        self._advance(counter)
        self._begun += 1
        # a start without a reading has no level to count from, unless a later gap says so first
        gaps = self._gaps - 1 if counter is None else self._gaps
        self._inside[token] = _Start(
            level=self._level, gaps=gaps, begun=self._begun, alone=not self._inside
        )

    def end(self, token: Hashable, counter: int | None) -> Figure:
        """A request is over: its share, in the counter's unit, or why there is none."""
        self._advance(counter)
        start = self._inside.pop(token, None)
        if start is None:
            return unknown(NEVER_BEGUN)
        level = self._level
        if not self._inside:
            # from zero again, so that the running sum never grows past what a float resolves
            self._level = 0.0
        if start.gaps != self._gaps:
            return unknown(self._gap)
        alone = start.alone and start.begun == self._begun
        return Figure(value=level - start.level, method=Method.MEASURED if alone else Method.SHARED)

    def _advance(self, counter: int | None) -> None:
        before, self._counter = self._counter, counter
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
