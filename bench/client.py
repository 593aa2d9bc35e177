"""A client that costs little: requests as bytes on kept connections, answers parsed, not read.

Its own work must not hide the differences that are being measured, so it makes no objects of
JSON. What is wrong is an error, never a figure.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

import httptools

PATH = "/v1/chat/completions"
BLANK = "#######"
_TEXT = re.compile(rb'"content": ?"[^"]')


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Where something answers: a port on loopback, or a unix socket; key: what to send along."""

    port: int = 0
    socket: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Took:
    """How long one exchange took, in seconds: until the first word of text, and until the end.

    The first byte would say nothing: a worker sends its headers before it has a token.
    """

    first: float
    whole: float


class Refused(RuntimeError):
    """An answer that is not what was asked for."""


def chat(model: str, words: str, *, stream: bool, tokens: int) -> bytes:
    """The body of a chat request. `numbered` puts a number where `BLANK` stands in it.

    Without spaces, as the official clients write it (httpx 0.28).
    """
    return json.dumps(
        {
            "model": model,
            "messages": [{"role": "user", "content": f"{BLANK} {words}"}],
            "temperature": 0,
            "max_tokens": tokens,
            "stream": stream,
        },
        separators=(",", ":"),
    ).encode()


def request(where: Where, body: bytes) -> bytes:
    """A chat request as bytes."""
    key = "" if where.key is None else f"Authorization: Bearer {where.key}\r\n"
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1:{where.port}\r\n{key}"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def numbered(message: bytes, number: int) -> bytes:
    """This message with a number in it: an engine that knows a whole prompt answers otherwise."""
    return message.replace(BLANK.encode(), b"%0*d" % (len(BLANK), number), 1)


class _Connection(asyncio.Protocol):
    """One connection, one exchange at a time."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._done: asyncio.Future[None] | None = None
        self._transport: asyncio.WriteTransport | None = None
        self._first = 0.0
        self._tail = b""
        self._is_kept = True
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # uvloop's is no subclass

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        if self._done is not None and not self._done.done():
            self._done.set_exception(exc or Refused("closed in the middle of an answer"))

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, data: bytes) -> None:
        if not self._first and _TEXT.search(data):
            self._first = time.perf_counter()
        self._tail = (self._tail + data)[-200:]

    def on_message_complete(self) -> None:
        self._is_kept = self._parser.should_keep_alive()
        if self._done is not None and not self._done.done():
            self._done.set_result(None)

    async def exchange(self, message: bytes) -> Took:
        assert self._transport is not None  # noqa: S101  # it is connected
        self._first, self._tail = 0.0, b""
        self._done = asyncio.get_running_loop().create_future()
        begun = time.perf_counter()
        self._transport.write(message)
        await self._done
        ended = time.perf_counter()
        status = self._parser.get_status_code()
        if status != 200:
            raise Refused(f"{status}: {self._tail!r}")
        if not self._is_kept:
            self.lost = True
            self._transport.close()
        return Took(first=(self._first or ended) - begun, whole=ended - begun)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class Client:
    """One client: asks, waits for the end, asks again."""

    def __init__(self, where: Where) -> None:
        self._where = where
        self._connection: _Connection | None = None

    async def ask(self, message: bytes) -> Took:
        """One exchange; a connection that the other side closed is replaced, in its time."""
        begun = time.perf_counter()
        if self._connection is None or self._connection.lost:
            self._connection = await self._connect()
        connected = time.perf_counter() - begun
        took = await self._connection.exchange(message)
        return Took(first=took.first + connected, whole=took.whole + connected)

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        if self._where.socket is not None:
            return (await loop.create_unix_connection(_Connection, self._where.socket))[1]
        return (await loop.create_connection(_Connection, "127.0.0.1", self._where.port))[1]

    def close(self) -> None:
        """Hang up; who asks again connects again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


async def load(clients: Sequence[Client], message: bytes, count: int) -> float:
    """Ask this often, all clients at once; the seconds that it took."""
    left = iter(range(count))

    async def one(client: Client) -> None:
        for number in left:
            await client.ask(numbered(message, number))

    begun = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(one(client))
    return time.perf_counter() - begun
