"""Bounds on waiting, by the clock that was handed in.

A timer for every token would cost more than the token. Here a wait only notes its deadline, and
one task looks at all of them a few times a second, while there are any.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

from arbiter.clock import Clock

T = TypeVar("T")

_TICK_S = 0.25


class Deadlines:
    """Ends waits that have lasted too long, to a quarter of a second."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waits: dict[asyncio.Future[None], float] = {}
        self._ticker: asyncio.Task[None] | None = None

    async def wait(self, future: asyncio.Future[None], seconds: float) -> None:
        """Wait for a future. Raises `TimeoutError` when that takes longer than this."""
        self._waits[future] = self._clock.monotonic() + seconds
        if self._ticker is None:
            self._ticker = asyncio.create_task(self._tick())
        try:
            await future
        finally:
            self._waits.pop(future, None)

    async def _tick(self) -> None:
        while self._waits:
            await self._clock.sleep(_TICK_S)
            now = self._clock.monotonic()
            for future, deadline in tuple(self._waits.items()):
                if now >= deadline and not future.done():
                    future.set_exception(TimeoutError())
        self._ticker = None

    async def close(self) -> None:
        """Stop looking. What still waits then waits without a bound."""
        ticker, self._ticker = self._ticker, None
        if ticker is not None:
            ticker.cancel()
            await asyncio.gather(ticker, return_exceptions=True)


async def within(clock: Clock, seconds: float, work: Coroutine[object, object, T]) -> T:
    """Do something rare and slow. Raises `TimeoutError`, after cancelling it, when it is too slow.

    Cancelling this waits until the work has cleaned up after itself.
    """
    task = asyncio.create_task(work)
    timer = asyncio.create_task(clock.sleep(seconds))
    try:
        await asyncio.wait({task, timer}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise TimeoutError
        return task.result()
    finally:
        timer.cancel()
        task.cancel()
        await asyncio.gather(task, timer, return_exceptions=True)
