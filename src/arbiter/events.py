"""What happened, told to whoever listens.

State is persisted before it is announced, so a listener never hears of something that a restart
would forget. Events carry states as plain strings: this module knows none of the rooms.
A slow listener loses events rather than slowing the house, and can see how many it lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from arbiter.logs import told

LOG = logging.getLogger("arbiter.events")

AS_MANY_AS_REQUESTS = frozenset({"calibration.case", "shadow.pair"})
"""Kinds that are logged at the level of debugging."""

Detail = str | int | float | bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened: ``rollout.step``, ``instance.ready``, ``alias.moved``, ..."""

    kind: str
    at: datetime
    detail: Mapping[str, Detail]


class Listener:
    """One listener's bounded queue."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.lost = 0
        self._queue: asyncio.Queue[Event] = asyncio.Queue(maxsize=capacity)

    def offer(self, event: Event) -> None:
        """Take the event, or count it as lost when the queue is full."""
        try:
            self._queue.put_nowait(event)
        except asyncio.QueueFull:
            self.lost += 1

    async def stream(self) -> AsyncIterator[Event]:
        """Every event from now on, for ever."""
        while True:
            yield await self._queue.get()


class Announcer:
    """Tells every listener and the log, and never waits for one."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        """How often each kind was announced."""
        self.swaps: Counter[tuple[str, str]] = Counter()
        """How often each kind of rollouts' events was, by alias: of names that are registered."""
        self._listeners: list[Listener] = []

    def announce(self, event: Event) -> None:
        """Hand an event to everybody who listens now."""
        self.counts[event.kind] += 1
        if event.kind.startswith("rollout."):
            self.swaps[str(event.detail.get("alias")), event.kind.partition(".")[2]] += 1
        level = logging.DEBUG if event.kind in AS_MANY_AS_REQUESTS else logging.INFO
        if LOG.isEnabledFor(level):
            LOG.log(level, "%s", event.kind, extra=told(event.detail))
        for listener in self._listeners:
            listener.offer(event)

    @contextmanager
    def listening(self, *, capacity: int = 1024) -> Iterator[Listener]:
        """Listen for as long as the context is open."""
        listener = Listener(capacity)
        self._listeners.append(listener)
        try:
            yield listener
        finally:
            self._listeners.remove(listener)
