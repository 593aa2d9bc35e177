"""HTTP to a worker: just enough of it, because every token of every request passes here.

One exchange at a time on a connection, over a unix socket or loopback. An idle connection is
watched, so one that the worker has closed is not offered again; the worker may still close it in
the very moment a request is written, which is why `Channel.post` tries once more on a fresh one.

This module knows nothing of models: it moves bytes.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import httptools

from arbiter.engines.deadlines import Deadlines

_HIGH_WATER = 64 * 1024
"""Unread bytes at which the worker is made to wait for whoever reads the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a worker listens: a unix socket's path, or a port on loopback."""

    path: str | None = None
    port: int = 0


class Connection(asyncio.Protocol):
    """One connection and the response that is being read from it."""

    __slots__ = (
        "_error",
        "_held",
        "_on_lost",
        "_parser",
        "_paused",
        "_pieces",
        "_transport",
        "_waiter",
        "complete",
        "status",
        "touched",
    )

    def __init__(self, on_lost: Callable[[Connection], None]) -> None:
        self._on_lost = on_lost
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._pieces: list[bytes] = []
        self._held = 0
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

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        self.touched = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(ConnectionError(f"not HTTP: {error}"))
            self.abort()
            return
        if self._held > _HIGH_WATER and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        self.status = self._parser.get_status_code()

    def on_body(self, data: bytes) -> None:
        """Called by the parser."""
        self._pieces.append(data)
        self._held += len(data)

    def on_message_complete(self) -> None:
        """Called by the parser."""
        self.complete = True

    def send(self, request: bytes) -> None:
        """Begin an exchange."""
        if self._transport is None or self._error is not None:
            raise ConnectionResetError("closed by the peer")
        self.status, self.touched, self.complete = 0, False, False
        self._pieces.clear()
        self._held = 0
        self._transport.write(request)

    async def receive_status(self, deadlines: Deadlines, seconds: float) -> int:
        """The status of the response. Raises `OSError` or `TimeoutError`."""
        while not self.status:
            await self._wait(deadlines, seconds)
        return self.status

    async def receive(self, deadlines: Deadlines, seconds: float) -> bytes:
        """What has come of the body; nothing at its end. Raises `OSError` or `TimeoutError`."""
        while not self._pieces:
            if self.complete:
                return b""
            await self._wait(deadlines, seconds)
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self._held = 0
        if self._paused and self._transport is not None and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()
        return data

    async def receive_all(self, deadlines: Deadlines, seconds: float) -> bytes:
        """The whole body. Raises `OSError` or `TimeoutError`."""
        found = []
        while data := await self.receive(deadlines, seconds):
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

    async def _wait(self, deadlines: Deadlines, seconds: float) -> None:
        if self._error is not None:
            raise self._error
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await deadlines.wait(self._waiter, seconds)
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, error: Exception) -> None:
        if self._error is None:
            self._error = error
        self._wake()


class Channel:
    """Every connection to one worker."""

    def __init__(self, *, address: Address, key: str, deadlines: Deadlines, idle: int) -> None:
        self._address = address
        self._deadlines = deadlines
        self._most_idle = idle
        self._common = (
            f"Host: worker\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
        )
        self._heads: dict[tuple[str, str, bool], bytes] = {}
        self._open: set[Connection] = set()
        self._idle: list[Connection] = []
        self._closed = False

    async def ask(
        self, method: str, path: str, body: bytes = b"", *, keep: bool, seconds: float
    ) -> Connection:
        """Send a request and wait for the status of its response; `release` what this returns.

        keep: whether the connection may be used again. A kept one that is lost before a byte of
        the response came is replaced once, because the worker may close it whenever it is idle.
        Raises `OSError` or `TimeoutError`.
        """
        request = b"%b%d\r\n\r\n%b" % (self._head(method, path, keep), len(body), body)
        while self._idle:
            kept = self._idle.pop()
            if kept.is_reusable:
                try:
                    return await self._exchange(kept, request, seconds)
                except OSError as error:
                    if kept.touched or isinstance(error, TimeoutError):
                        raise
                break
        return await self._exchange(await self._connect(), request, seconds)

    def release(self, connection: Connection, *, keep: bool) -> None:
        """Give a connection back. One whose response is not complete is closed."""
        if (
            keep
            and not self._closed
            and connection.is_reusable
            and len(self._idle) < self._most_idle
        ):
            self._idle.append(connection)
        else:
            connection.abort()

    def close(self) -> None:
        """Close every connection at once."""
        self._closed = True
        self._idle.clear()
        for connection in tuple(self._open):
            connection.abort()

    async def _exchange(self, connection: Connection, request: bytes, seconds: float) -> Connection:
        try:
            connection.send(request)
            await connection.receive_status(self._deadlines, seconds)
        except BaseException:
            # also when whoever asked has gone: the worker must not compute for nobody
            connection.abort()
            raise
        return connection

    def _head(self, method: str, path: str, keep: bool) -> bytes:  # part of a key
        head = self._heads.get((method, path, keep))
        if head is None:
            close = "" if keep else "Connection: close\r\n"
            text = f"{method} {path} HTTP/1.1\r\n{self._common}{close}Content-Length: "
            head = self._heads[method, path, keep] = text.encode()
        return head

    async def _connect(self) -> Connection:
        if self._closed:
            raise ConnectionResetError("the channel is closed")
        loop = asyncio.get_running_loop()
        if self._address.path is not None:
            _, connection = await loop.create_unix_connection(
                self._make, sock=_connected(self._address.path)
            )
        else:
            _, connection = await loop.create_connection(
                self._make, "127.0.0.1", self._address.port
            )
        return connection

    def _make(self) -> Connection:
        connection = Connection(self._forget)
        self._open.add(connection)
        return connection

    def _forget(self, connection: Connection) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)


def _connected(path: str) -> socket.socket:
    """A socket that is connected to a listener of this machine, which never takes a wait.

    A loop that connects by itself waits for it all the same: six system calls and a turn more.
    """
    connected = socket.socket(socket.AF_UNIX)
    try:
        connected.setblocking(False)
        connected.connect(path)
    except OSError:
        connected.close()
        raise
    return connected
