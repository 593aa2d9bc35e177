"""Time as an argument: what hour it is, how long something took, and waiting.

Nothing else in the house reads a clock or sleeps; whoever needs time is handed a `Clock`.
`ManualClock` ships because users test their own rollouts with it too.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Protocol


class Clock(Protocol):
    """The passing of time."""

    def now(self) -> datetime:
        """The wall clock, in UTC. For display and for dates; never for durations."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after this many seconds."""
        ...


class SystemClock:
    """The clock of the machine.

    The functions themselves and none of its own around them: a request asks the time often.
    """

    now = staticmethod(partial(datetime.now, UTC))
    monotonic = staticmethod(time.monotonic)

    async def sleep(self, seconds: float) -> None:
        """Wait without holding up anybody else."""
        await asyncio.sleep(seconds)


class ManualClock:
    """A clock that only moves when it is told to, so that a test never waits.

    >>> clock = ManualClock()
    >>> clock.monotonic()
    0.0
    >>> clock.jump(1.5); clock.monotonic()
    1.5
    """

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self.start = start
        self._seconds = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = 0

    def now(self) -> datetime:
        """The start plus what has been advanced."""
        return self.start + timedelta(seconds=self._seconds)

    def monotonic(self) -> float:
        """Seconds that have been advanced."""
        return self._seconds

    def jump(self, seconds: float) -> None:
        """Move forward and wake every sleeper whose time has come, in order."""
        self._seconds += seconds
        while self._sleepers and self._sleepers[0][0] <= self._seconds:
            _, _, sleeper = heapq.heappop(self._sleepers)
            if not sleeper.done():
                sleeper.set_result(None)

    @property
    def sleepers(self) -> int:
        """How many wait for this clock."""
        return sum(1 for _, _, sleeper in self._sleepers if not sleeper.done())

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock has been advanced that far."""
        if seconds <= 0:
            await asyncio.sleep(0)  # others run meanwhile, as with the clock of the machine
            return
        sleeper: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._order += 1
        heapq.heappush(self._sleepers, (self._seconds + seconds, self._order, sleeper))
        await sleeper
