"""The end of a drain: when every lease has ended, somebody says to cut, or the time is over."""

from __future__ import annotations

import asyncio

from arbiter.clock import Clock
from arbiter.pool.lease import Leases


class Emptying:
    """Waits for the leases of an instance."""

    def __init__(self, lent: Leases, clock: Clock) -> None:
        self._lent = lent
        self._clock = clock
        self._cut = asyncio.Event()

    def cut(self) -> None:
        """Wait for nobody any more."""
        self._cut.set()

    def begin(self) -> None:
        """Wait for everybody, as long as nobody says otherwise from now on."""
        self._cut.clear()

    async def is_done(self, limit_s: float | None) -> bool:
        """Whether every lease has ended, or somebody said to cut, before the time is over.

        limit_s: None: for as long as it takes.
        """
        while self._lent and not self._cut.is_set():
            ends: set[asyncio.Task[bool]] = {
                asyncio.create_task(self._lent.ended.wait()),
                asyncio.create_task(self._cut.wait()),
            }
            if limit_s is not None:
                ends.add(asyncio.create_task(self._passed(limit_s)))
            try:
                done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for end in ends:
                    end.cancel()
                await asyncio.gather(*ends, return_exceptions=True)
            if not any(end.result() for end in done):
                return False
        return True

    async def _passed(self, seconds: float) -> bool:
        await self._clock.sleep(seconds)
        return False
