"""HTTP to a program that serves models already: bounded in time and size, redirects refused.

What goes wrong on the way is an `OSError` (nobody there, or gone), a `TimeoutError` (silent) or a
`ValueError` (it talks nonsense); engines turn these into the house's errors. A redirect is not
followed, because it could lead to an address that nobody named, and no proxy of the environment
is used for the same reason.

This module knows no engine and no dialect.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import aiohttp

_MOST_BYTES: Final = 64 * 1024 * 1024
_CONNECT_S: Final = 5.0
_LONGEST_PAUSE_S: Final = 3600

CARRIED: Final[ContextVar[Mapping[str, str] | None]] = ContextVar("arbiter.carried", default=None)
"""Headers that whoever asks has go with what it asks: the trace that it belongs to.

A value of the asking task and not of the program, so that no engine has to hand it on.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """An answer in one piece."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Stream:
    """An answer that is still coming."""

    __slots__ = ("_response", "headers", "status")

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    async def receive(self) -> bytes:
        """What has come; nothing at the end. Raises `OSError` or `TimeoutError`."""
        with _InPlainWords():
            return await self._response.content.readany()

    async def receive_all(self, *, most: int = _MOST_BYTES) -> bytes:
        """The whole body. Raises `OSError`, `TimeoutError`, `ValueError` when it is too large."""
        found, size = [], 0
        while data := await self.receive():
            found.append(data)
            size += len(data)
            if size > most:
                raise ValueError(f"more than {most} bytes")
        return b"".join(found)


class Ear:
    """Takes a stream in within two bounds, by the event loop's own clock.

    first_s, next_s: the longest silence, before an answer has begun and within it. whole_s: the
    longest time without news, however often the server says that it lives: what keeps a connection
    alive is no answer.
    """

    __slots__ = ("_clock", "_first_s", "_heard", "_news", "_next_s", "_stream", "_whole_s")

    def __init__(self, stream: Stream, *, first_s: float, next_s: float, whole_s: float) -> None:
        self._stream = stream
        self._first_s, self._next_s, self._whole_s = first_s, next_s, whole_s
        self._clock = asyncio.get_running_loop()
        self._news, self._heard = 0, self._clock.time()

    async def receive(self, *, news: int, begun: bool) -> bytes:
        """What has come; nothing at the end. Raises `OSError` or `TimeoutError`.

        news: how much of what came so far was an answer, in any unit. begun: whether a piece of
        it was passed on.
        """
        now = self._clock.time()
        if news > self._news:
            self._news, self._heard = news, now
        silent = now + (self._next_s if begun else self._first_s)
        async with asyncio.timeout_at(min(silent, self._heard + self._whole_s)):
            return await self._stream.receive()


class Remote:
    """One server. Close it when done.

    url: its address, with the path under which it serves, if any. silence_s: the longest wait for
    the next byte, by the event loop's own clock, because the client library keeps that time. keep:
    whether a connection is used again; a server that closes them as it likes may close one in
    the very moment in which it is used, and then nobody knows whether the request has come.
    """

    def __init__(
        self, url: str, *, key: str | None = None, connections: int = 0, keep: bool = True
    ) -> None:
        self.url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._connections = connections
        self._keep = keep
        self._session: aiohttp.ClientSession | None = None
        self._is_closed = False

    async def get(self, path: str, *, silence_s: float) -> Response:
        """Ask for something. Raises `OSError`, `TimeoutError`, `ValueError`."""
        async with self.stream("GET", path, silence_s=silence_s) as stream:
            return await _whole(stream)

    async def post(self, path: str, body: bytes, *, silence_s: float) -> Response:
        """Send something and wait for the whole answer. Raises as `get`."""
        async with self.stream("POST", path, body, silence_s=silence_s) as stream:
            return await _whole(stream)

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, body: bytes | None = None, *, silence_s: float
    ) -> AsyncIterator[Stream]:
        """An answer from its first byte on; leaving before its end closes the connection."""
        response = await self._begin(method, path, body, silence_s)
        try:
            with _told_of_loss(response):
                yield Stream(response)
        finally:
            # a whole answer's connection goes back to be used again; any other is closed, which
            # is how the server learns that nobody listens any more
            response.close() if not response.content.at_eof() else response.release()

    async def close(self) -> None:
        """Close every connection. Idempotent."""
        self._is_closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _begin(
        self, method: str, path: str, body: bytes | None, silence_s: float
    ) -> aiohttp.ClientResponse:
        try:
            return await self._send(method, path, body, silence_s)
        except (aiohttp.ClientConnectorError, TimeoutError) as error:
            raise _plain(error) from error
        except (aiohttp.ServerDisconnectedError, ConnectionError, aiohttp.ClientOSError) as error:
            if not self._keep:
                raise _plain(error) from error
            # a kept connection that the server closed in this very moment: once more on another
            with _InPlainWords():
                return await self._send(method, path, body, silence_s)
        except (aiohttp.ClientError, OSError) as error:
            raise _plain(error) from error

    async def _send(
        self, method: str, path: str, body: bytes | None, silence_s: float
    ) -> aiohttp.ClientResponse:
        if self._is_closed:
            # what was cut by closing must not be sent again through a new connection
            raise ConnectionAbortedError("closed here")
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._connections, force_close=not self._keep),
                headers=self._headers,
            )
        headers = {"Content-Type": "application/json"} if body is not None else None
        carried = CARRIED.get()
        if carried is not None:
            headers = {**carried, **(headers or {})}
        return await self._session.request(
            method,
            self.url + path,
            data=body,
            headers=headers,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=min(_CONNECT_S, silence_s), sock_read=silence_s
            ),
        )


@contextmanager
def _told_of_loss(response: aiohttp.ClientResponse) -> Iterator[None]:
    """Let whoever reads know when the connection is gone.

    The client library closes it after a chunk that is none, and leaves the reader waiting.
    """
    connection, content = response.connection, response.content
    if connection is None or connection.protocol is None:
        yield  # all of it has come
        return

    def tell(closed: asyncio.Future[None] | None) -> None:
        if closed is not None:
            _heard(closed)
        if not content.is_eof() and content.exception() is None:
            content.set_exception(aiohttp.ClientPayloadError("the connection is gone"))

    closed = connection.protocol.closed
    if closed is None:
        tell(None)
        yield
        return
    closed.add_done_callback(tell)
    try:
        yield
    finally:
        # a kept connection serves many more, and none of them is to be held by it
        closed.remove_done_callback(tell)
        closed.remove_done_callback(_heard)
        closed.add_done_callback(_heard)


def _heard(closed: asyncio.Future[None]) -> None:
    """Take note of how a connection ended, or the event loop complains that nobody did."""
    if not closed.cancelled():
        closed.exception()


async def _whole(stream: Stream) -> Response:
    body = await stream.receive_all()
    return Response(status=stream.status, headers=stream.headers, body=body)


class _InPlainWords:
    """Turn the client library's errors into plain ones."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        # the last is the library's word for reading on after the connection was closed here
        if isinstance(error, (aiohttp.ClientError, asyncio.TimeoutError, RuntimeError)):
            raise _plain(error) from error


def _plain(error: BaseException) -> Exception:
    if isinstance(error, TimeoutError):
        return TimeoutError("it is silent")
    if isinstance(error, aiohttp.ClientConnectorError):
        return ConnectionRefusedError(_system_words(error.os_error))
    if isinstance(error, (aiohttp.InvalidURL, aiohttp.ClientResponseError)):
        return ValueError(str(error))
    if isinstance(error, OSError):
        return error
    return ConnectionResetError("closed by the peer")


def _system_words(error: OSError) -> str:
    """Why a connection was not made; asyncio puts the address there instead of the reason."""
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return str(error.strerror or error)


def pause_of(headers: Mapping[str, str]) -> int | None:
    """The seconds after which to come again, where a server says so in seconds.

    >>> pause_of({"Retry-After": "7"}), pause_of({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"})
    (7, None)
    """
    told = headers.get("Retry-After", "").strip()
    return min(int(told), _LONGEST_PAUSE_S) if told.isdecimal() and len(told) < 9 else None


def is_loopback(url: str) -> bool:
    """Whether an address stays on this machine.

    >>> is_loopback("http://127.0.0.1:11434"), is_loopback("http://10.0.0.7:11434")
    (True, False)
    >>> is_loopback("http://127.0.0.1.example.org")
    False
    """
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
