"""Telling whoever waits for a stream to begin what it waits for, before there is an answer.

A load may take a minute, and a client that hears nothing gives up. After a while the response is
begun and comments are sent (lines that begin with a colon, which every reader of server-sent
events leaves out). From then on an error is an event in the stream, because a status has gone out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType

from arbiter.clock import Clock
from arbiter.inference import Awaited, Reply

Tell = Callable[[Awaited], Awaitable[None]]
"""Sends what is being waited for."""


class Patiently:
    """A request under way, whose client is told meanwhile what it waits for.

    after_s: how long it may hear nothing, in seconds.
    """

    __slots__ = ("_after_s", "_answering", "_clock", "_tell", "_telling")

    def __init__(
        self,
        answering: AbstractAsyncContextManager[Reply],
        tell: Tell,
        *,
        after_s: float,
        clock: Clock,
    ) -> None:
        self._answering = answering
        self._tell = tell
        self._after_s = after_s
        self._clock = clock
        self._telling: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Reply:
        """The answer, once it has begun. Raises any `ArbiterError`."""
        timer = asyncio.get_running_loop().call_later(self._after_s, self._begin, self._tell)
        try:
            return await self._answering.__aenter__()
        finally:
            timer.cancel()
            if self._telling is not None:
                self._telling.cancel()
                await asyncio.gather(self._telling, return_exceptions=True)

    def _begin(self, tell: Tell) -> None:
        self._telling = asyncio.create_task(self._go_on(tell))

    async def _go_on(self, tell: Tell) -> None:
        while True:
            # what stands in for dispatch in a test need not know
            ask = getattr(self._answering, "awaited", None)
            awaited: Awaited | None = None if ask is None else ask()
            if awaited is not None:
                await tell(awaited)
            await self._clock.sleep(self._after_s)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        """Leave the request, as its own context does."""
        return await self._answering.__aexit__(kind, error, trace)
