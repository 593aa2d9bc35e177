"""Whether anybody is being served, and how long it has been quiet.

What runs in idle time asks here before it begins and listens here while it runs. This module knows
nothing of requests, models or memory: whoever serves says when somebody comes and goes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import TypeVar

from arbiter.clock import Clock

T = TypeVar("T")


class Presence:
    """Counts who is being served.

    >>> from arbiter.clock import ManualClock
    >>> clock = ManualClock(); presence = Presence(clock)
    >>> with presence.here():
    ...     clock.jump(5.0); presence.quiet_s
    0.0
    >>> clock.jump(7.0); presence.quiet_s
    7.0
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._count = 0
        self._opened = clock.monotonic()
        self._left: float | None = None
        self._somebody = asyncio.Event()
        self._nobody = asyncio.Event()
        self._nobody.set()
        self.spare = asyncio.Lock()
        """Held by whoever runs something in idle time: two of them would slow each other."""

    def come(self) -> None:
        """Somebody waits for an answer. `leave` follows, whatever happens."""
        self._count += 1
        if self._count == 1:
            self._somebody.set()
            self._nobody.clear()

    def leave(self) -> None:
        """They have it, or no longer want it."""
        self._count -= 1
        self._left = self._clock.monotonic()
        if not self._count:
            self._somebody.clear()
            self._nobody.set()

    @contextmanager
    def here(self) -> Iterator[None]:
        """Somebody waits for as long as the context is open."""
        self.come()
        try:
            yield
        finally:
            self.leave()

    @property
    def is_anybody_here(self) -> bool:
        """Whether somebody is being served now."""
        return self._count > 0

    @property
    def quiet_s(self) -> float:
        """Seconds since the last one left, or since the house was opened; 0 while one is here."""
        if self._count:
            return 0.0
        return self._clock.monotonic() - (self._opened if self._left is None else self._left)

    @property
    def unused_s(self) -> float:
        """As `quiet_s`, but without an end when nobody was served since the house was opened."""
        return float("inf") if self._left is None and not self._count else self.quiet_s

    async def arrival(self) -> None:
        """Return when somebody is here."""
        await self._somebody.wait()

    async def departure(self) -> None:
        """Return when nobody is here."""
        await self._nobody.wait()

    async def unless_somebody_comes(self, work: Coroutine[None, None, T]) -> T | None:
        """The result of some work; None when it was cut because somebody came."""
        doing = asyncio.create_task(work)
        coming = asyncio.create_task(self.arrival())
        try:
            await asyncio.wait({doing, coming}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            coming.cancel()
            if not doing.done():
                doing.cancel()
            await asyncio.gather(doing, coming, return_exceptions=True)
        return None if doing.cancelled() else doing.result()
