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
import re
import ssl
from collections.abc import Coroutine, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from math import inf
from types import TracebackType
from typing import Final
from urllib.parse import urlsplit

from arbiter.engines.connection import Connection
from arbiter.engines.line import Line
from arbiter.outbox import Outbox

_MOST_BYTES: Final = 64 * 1024 * 1024
_CONNECT_S: Final = 5.0
_LONGEST_PAUSE_S: Final = 3600
_MOST_IDLE: Final = 64
_LONGEST_IDLE_S: Final = 15.0
"""A connection that nobody used for longer is not trusted: its server may just be closing it."""

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TARGET: Final = re.compile(r"/[!-~]*")
_VALUE: Final = re.compile(r"[!-~]([ -~]*[!-~])?")

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
    """An answer that is still coming; leaving it before its end closes its connection.

    silence_s: the longest wait for more of it.
    """

    __slots__ = ("_line", "_remote", "_silence_s", "status")

    def __init__(self, remote: Remote, line: Line, silence_s: float) -> None:
        self._remote = remote
        self._line = line
        self._silence_s = silence_s
        self.status = line.status

    def __enter__(self) -> Stream:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let go of the connection."""
        self._remote.end(self._line)

    @property
    def headers(self) -> Mapping[str, str]:
        """Those of the answer."""
        return self._line.headers

    @property
    def media(self) -> bytes:
        """What the answer is said to be, as it was sent: nothing where it is not said."""
        return self._line.media

    def receive(self, seconds: float = inf) -> Coroutine[object, object, bytes]:
        """What has come; nothing at the end. Raises `OSError` or `TimeoutError`.

        seconds: to wait at most.
        """
        return self._line.receive(self._line.alarm, min(seconds, self._silence_s))

    async def receive_all(self, *, most: int = _MOST_BYTES, until: float = inf) -> bytes:
        """The whole body. Raises `OSError`, `TimeoutError`, `ValueError` when it is too large.

        until: when not to wait any more, by the event loop's clock.
        """
        if self._line.complete:
            whole = self._line.take()  # nearly always: it came in with its head
            if len(whole) > most:
                raise ValueError(f"more than {most} bytes")
            return whole
        found, size, loop = [], 0, asyncio.get_running_loop()
        while data := await self.receive(until - loop.time()):
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

    def receive(self, *, news: int, begun: bool) -> Coroutine[object, object, bytes]:
        """What has come; nothing at the end. Raises `OSError` or `TimeoutError`.

        news: how much of what came so far was an answer, in any unit. begun: whether a piece of
        it was passed on.
        """
        now = self._clock.time()
        if news > self._news:
            self._news, self._heard = news, now
        silent = self._next_s if begun else self._first_s
        return self._stream.receive(min(silent, self._heard + self._whole_s - now))


class Remote:
    """One server. Close it when done.

    url: its address, with the path under which it serves, if any. silence_s: the longest wait for
    the head of an answer, and then for more of it, by the event loop's own clock; bytes that are
    neither do not lengthen it. An answer in one piece has as long again for all of it. keep:
    whether a connection is used again. A server may close one in the very moment in which it is
    used, unheard; then the request is sent once more on a fresh one, unless a byte of an answer had
    come.
    """

    def __init__(self, url: str, *, key: str | None = None, keep: bool = True) -> None:
        self.url = url.rstrip("/")
        self._key = key
        self._keep = keep
        self._where: _Where | None = None
        self._open: set[Connection] = set()
        self._idle: list[Line] = []
        self._outbox: Outbox | None = None
        self._is_closed = False

    async def get(self, path: str, *, silence_s: float) -> Response:
        """Ask for something. Raises `OSError`, `TimeoutError`, `ValueError`."""
        with await self.ask("GET", path, silence_s=silence_s) as stream:
            return await _whole(stream, silence_s)

    async def post(self, path: str, body: bytes, *, silence_s: float) -> Response:
        """Send something and wait for the whole answer. Raises as `get`."""
        with await self.ask("POST", path, body, silence_s=silence_s) as stream:
            return await _whole(stream, silence_s)

    async def close(self) -> None:
        """Close every connection. Idempotent."""
        self.cut()

    def cut(self) -> None:
        """As `close`, for whoever cannot wait."""
        self._is_closed = True
        self._idle.clear()
        for connection in tuple(self._open):
            connection.abort()

    async def ask(
        self, method: str, path: str, body: bytes | None = None, *, silence_s: float
    ) -> Stream:
        """An answer that has begun; leave its context when done with it.

        Raises `OSError`, `TimeoutError`, `ValueError`.
        """
        if self._where is None:
            self._where = _where(self.url, self._key, keep=self._keep)
        request = self._where.request(method, path, body, CARRIED.get())
        kept = self._kept()
        while True:
            if kept is None and self._is_closed:
                # what was cut by closing must not be sent again through a new connection
                raise ConnectionAbortedError("closed here")
            line = kept or await self._connect(self._where, silence_s)
            try:
                line.send(request)
                await line.receive_status(line.alarm, silence_s)
            except BaseException as error:
                # also when whoever asked has gone: the server must not compute for nobody
                line.abort()
                if kept is None or kept.touched or not isinstance(error, ConnectionError):
                    raise
                kept = None
            else:
                return Stream(self, line, silence_s)

    def end(self, line: Line) -> None:
        """Let go of a connection: to be used again if its answer has ended, else it is closed."""
        fits = self._keep and not self._is_closed and len(self._idle) < _MOST_IDLE
        if fits and line.is_reusable:
            line.idle_since = line.alarm.loop.time()
            self._idle.append(line)
        else:
            line.abort()  # which is how the server learns that nobody listens any more

    def _kept(self) -> Line | None:
        while self._idle:
            line = self._idle.pop()
            idle_s = line.alarm.loop.time() - line.idle_since
            if line.is_reusable and idle_s <= _LONGEST_IDLE_S:
                return line
            line.abort()
        return None

    async def _connect(self, where: _Where, silence_s: float) -> Line:
        loop = asyncio.get_running_loop()
        if self._outbox is None:
            self._outbox = Outbox(loop)
        line = Line(self._forget, self._outbox)
        self._open.add(line)
        is_made = False
        try:
            async with asyncio.timeout(min(_CONNECT_S, silence_s)):
                await loop.create_connection(
                    lambda: line, where.host, where.port, ssl=where.context
                )
            is_made = True
        except TimeoutError as error:
            raise TimeoutError("it is silent") from error
        except OSError as error:
            raise ConnectionRefusedError(_system_words(error)) from error
        finally:
            if not is_made:
                self._forget(line)  # a loop tells it nothing where the encryption failed
        if self._is_closed:
            line.abort()
            raise ConnectionAbortedError("closed here")
        return line

    def _forget(self, connection: Connection) -> None:
        self._open.discard(connection)
        self._idle = [line for line in self._idle if line is not connection]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Where:
    """A server's address, taken apart once, and what every request to it begins with."""

    host: str
    port: int
    base: str
    common: str
    context: ssl.SSLContext | None

    def request(
        self, method: str, path: str, body: bytes | None, carried: Mapping[str, str] | None
    ) -> bytes:
        """A request as bytes, with these headers too. Raises ValueError for a path that is none."""
        target = self.base + path
        if not _TARGET.fullmatch(target):
            raise ValueError(f"{target!r} is no path")
        kind = "" if body is None else "Content-Type: application/json\r\n"
        size = "" if body is None else f"Content-Length: {len(body)}\r\n"
        more = "" if carried is None else _lines(carried)
        head = f"{method} {target} HTTP/1.1\r\n{self.common}{kind}{size}{more}\r\n"
        return head.encode("ascii") + (body or b"")


def _where(url: str, key: str | None, *, keep: bool) -> _Where:
    """Raises ValueError for an address or a key that cannot be used."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"{url!r} is no address of a server")
    host = parts.hostname.encode("idna").decode("ascii")
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    if key is not None and not _VALUE.fullmatch(key):
        raise ValueError("its key has letters that no header can carry")
    shown = f"[{host}]" if ":" in host else host
    lines = [
        f"Host: {shown}" if parts.port is None else f"Host: {shown}:{port}",
        "Accept: */*",
        "Accept-Encoding: identity",
        "User-Agent: arbiter",
    ]
    if key is not None:
        lines.append(f"Authorization: Bearer {key}")
    if not keep:
        lines.append("Connection: close")
    return _Where(
        host=host,
        port=port,
        base=parts.path.rstrip("/"),
        common="".join(f"{line}\r\n" for line in lines),
        context=ssl.create_default_context() if secure else None,
    )


def _lines(headers: Mapping[str, str]) -> str:
    """Headers as they are sent, but for those that no header can carry."""
    return "".join(
        f"{name}: {value}\r\n"
        for name, value in headers.items()
        if _NAME.fullmatch(name) and _VALUE.fullmatch(value)
    )


async def _whole(stream: Stream, seconds: float) -> Response:
    body = await stream.receive_all(until=asyncio.get_running_loop().time() + seconds)
    return Response(status=stream.status, headers=stream.headers, body=body)


def _system_words(error: OSError) -> str:
    """Why a connection was not made; asyncio puts the address there instead of the reason."""
    if isinstance(error, ssl.SSLError):
        return f"its certificate or its encryption is not accepted: {error.reason or error}"
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
