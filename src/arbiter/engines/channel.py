"""HTTP to a worker: just enough of it, because every token of every request passes here.

One exchange at a time on a connection, over a unix socket or loopback. An idle connection is
watched, so one that the worker has closed is not offered again; the worker may still close it in
the very moment a request is written, which is why `Channel.post` tries once more on a fresh one.

This module knows nothing of models: it moves bytes.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass

from arbiter.engines.connection import Connection
from arbiter.engines.deadlines import Deadlines
from arbiter.outbox import Outbox


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a worker listens: a unix socket's path, or a port on loopback."""

    path: str | None = None
    port: int = 0


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
        self._outbox: Outbox | None = None
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
        if self._outbox is None:
            self._outbox = Outbox(asyncio.get_running_loop())
        connection = Connection(self._forget, self._outbox)
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
