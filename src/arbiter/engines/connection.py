"""A connection over which HTTP is spoken, and the response that is being read from it.

This module knows nothing of models and of servers: it moves bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Protocol, cast

import httptools

from arbiter.outbox import Outbox

_HIGH_WATER = 64 * 1024
"""Unread bytes at which the worker is made to wait for whoever reads the answer."""


class Waits(Protocol):
    """What keeps the time of whoever waits."""

    async def wait(self, future: asyncio.Future[None], seconds: float) -> None:
        """Wait for a future. Raises `TimeoutError` when that takes longer than this."""
        ...


class Connection(asyncio.Protocol):
    """One connection and the response that is being read from it.

    One exchange at a time. Whoever waits says how long, and hands in what keeps that time.
    outbox: what gathers the requests to one server.
    """

    __slots__ = (
        "_error",
        "_has_news",
        "_held",
        "_loop",
        "_on_lost",
        "_outbox",
        "_parser",
        "_paused",
        "_pieces",
        "_request",
        "_transport",
        "_waiter",
        "complete",
        "status",
        "touched",
    )

    def __init__(self, on_lost: Callable[[Connection], None], outbox: Outbox) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_lost = on_lost
        self._outbox = outbox
        self._request = b""
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._pieces: list[bytes] = []
        self._held = 0
        self._has_news = False
        self._paused = False
        self._error: Exception | None = None
        self.status = 0
        self.touched = False
        """Whether a byte of the response has come."""
        self.complete = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        # uvloop's transports are no subclass of asyncio's, so this cannot be checked
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        self._fail(exc if isinstance(exc, OSError) else ConnectionResetError("closed by the peer"))
        self._on_lost(self)
        # each holds the other, and a stream has a connection of its own: they would stay in memory,
        # buffers and all, until the collector comes
        del self._parser
        self._transport = self._waiter = None

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        self.touched = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(self._not_http(error))
            self.abort()
            return
        if self._has_news:
            self._has_news = False
            self._wake()
        if self._held > _HIGH_WATER and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def _not_http(self, error: Exception) -> Exception:
        return ConnectionError(f"not HTTP: {error}")

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        self._begin(self._parser.get_status_code())

    def on_body(self, data: bytes) -> None:
        """Called by the parser."""
        self._take_in(data)

    def on_message_complete(self) -> None:
        """Called by the parser."""
        self._end()

    # Only these are news, which wake whoever waits: bytes that bring neither a head nor a piece nor
    # an end would else begin the wait anew, for ever.

    def _take_in(self, data: bytes) -> None:
        self._pieces.append(data)
        self._held += len(data)
        self._has_news = True

    def _begin(self, status: int) -> None:
        self.status = status
        self._has_news = True

    def _end(self) -> None:
        self.complete = True
        self._has_news = True

    def send(self, request: bytes) -> None:
        """Begin an exchange: it goes out with what else is written in this turn of the loop."""
        if self._transport is None or self._error is not None:
            raise ConnectionResetError("closed by the peer")
        self.status, self.touched, self.complete = 0, False, False
        self._pieces.clear()
        self._held = 0
        self._request = request
        self._outbox.put(self._let_out)

    def _let_out(self) -> None:
        request, self._request = self._request, b""
        # who hung up meanwhile, on either side, has been told, or is told by `connection_lost`
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(request)

    async def receive_status(self, waits: Waits, seconds: float) -> int:
        """The status of the response. Raises `OSError` or `TimeoutError`."""
        while not self.status:
            await self._wait(waits, seconds)
        return self.status

    async def receive(self, waits: Waits, seconds: float) -> bytes:
        """What has come of the body; nothing at its end. Raises `OSError` or `TimeoutError`."""
        while not self._pieces:
            if self.complete:
                return b""
            await self._wait(waits, seconds)
        return self.take()

    def take(self) -> bytes:
        """What has come of the body and was not taken yet."""
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self._held = 0
        if self._paused and self._transport is not None and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()
        return data

    async def receive_all(self, waits: Waits, seconds: float) -> bytes:
        """The whole body. Raises `OSError` or `TimeoutError`."""
        found = []
        while data := await self.receive(waits, seconds):
            found.append(data)
        return b"".join(found)

    @property
    def is_reusable(self) -> bool:
        """Whether another exchange may begin on it."""
        return self.complete and self._error is None and not self._paused

    def abort(self) -> None:
        """Close it at once: the worker then stops what it was doing for it."""
        if self._transport is not None:
            self._transport.abort()

    def _wait(self, waits: Waits, seconds: float) -> Coroutine[object, object, None]:
        """The wait for news. A future that is over wakes nobody, so that it may stay here."""
        if self._error is not None:
            raise self._error
        self._waiter = self._loop.create_future()
        return waits.wait(self._waiter, seconds)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, error: Exception) -> None:
        if self._error is None:
            self._error = error
        self._wake()
