"""Servers that misbehave as scripted, one for each dialect.

A `BadServer` answers a look as its kind does, so that a house takes it for one. What it does when
it is asked to write is an `Act`: bytes on a real socket, and then a close, a reset or silence.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Final, Protocol

BLOCK: Final = 64 * 1024
BREATH_S: Final = 0.02
"""Between two murmurs: far less than any bound on silence."""


class Then(Enum):
    """What follows the bytes of an act."""

    KEEP = auto()
    """The answer was whole: the connection serves the next request."""
    CLOSE = auto()
    RESET = auto()
    HANG = auto()
    """Nothing more comes, and the connection stays open until the other side leaves it."""


@dataclass(frozen=True, kw_only=True)
class Act:
    """What is done with one request.

    pieces: sent one after the other; paced: each after the first waits for `BadServer.minutes`.
    pours: so many letters after them, without an end of a line. murmurs: sent again and again then,
    for as long as anybody listens.
    """

    pieces: tuple[bytes, ...] = ()
    then: Then = Then.KEEP
    paced: bool = False
    pours: int = 0
    murmurs: bytes = b""


class Dialect(Protocol):
    """How a kind of server speaks. Events and whole answers are bodies, without HTTP."""

    name: str
    work: str
    """The path where it is asked to write."""
    events: str
    """The type of a stream."""

    def looks(self, model: str) -> Mapping[str, bytes]: ...
    def piece(self, text: str) -> bytes: ...
    def end(self) -> bytes: ...
    def broken_piece(self) -> bytes: ...
    def error(self, words: str) -> bytes: ...
    def nothing(self, *, stream: bool) -> bytes: ...
    def sign_of_life(self) -> bytes: ...
    def whole(self, text: str, **more: Any) -> dict[str, Any]: ...
    def metered(self, text: str, *, stream: bool) -> bytes: ...


class OpenAI:
    """A server with OpenAI's API and no more."""

    name = "openai"
    work = "/v1/chat/completions"
    events = "text/event-stream"

    def looks(self, model: str) -> Mapping[str, bytes]:
        listed = {"object": "list", "data": [{"id": model, "object": "model", "owned_by": "me"}]}
        return {"/v1/models": reply(_json(listed))}

    def piece(self, text: str) -> bytes:
        return self._event({"delta": {"content": text}, "finish_reason": None})

    def end(self) -> bytes:
        return self._event({"delta": {}, "finish_reason": "stop"}) + b"data: [DONE]\n\n"

    def broken_piece(self) -> bytes:
        return b'data: {"choices":[{"delta":{"content":"lo'

    def error(self, words: str) -> bytes:
        return b"data: " + _json({"error": {"message": words, "type": "server_error"}}) + b"\n\n"

    def nothing(self, *, stream: bool) -> bytes:
        empty = _json({"object": "chat.completion", "choices": []})
        return b"data: " + empty + b"\n\ndata: [DONE]\n\n" if stream else empty

    def sign_of_life(self) -> bytes:
        return b": still here\n\n"

    def whole(self, text: str, **more: Any) -> dict[str, Any]:
        message = {"role": "assistant", "content": text}
        return {"choices": [{"message": message, "finish_reason": "stop"}], **more}

    def metered(self, text: str, *, stream: bool) -> bytes:
        timings = b'"timings":{"prompt_ms":NaN,"predicted_ms":-Infinity}'
        if not stream:
            return _json(self.whole(text))[:-1] + b"," + timings + b"}"
        last = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}],' + timings + b"}\n\n"
        return self.piece(text) + last + b"data: [DONE]\n\n"

    def _event(self, choice: Mapping[str, object]) -> bytes:
        return b"data: " + _json({"choices": [{"index": 0, **choice}]}) + b"\n\n"


class Ollama:
    """An Ollama."""

    name = "ollama"
    work = "/api/chat"
    events = "application/x-ndjson"

    def looks(self, model: str) -> Mapping[str, bytes]:
        tag = {"model": model, "name": model, "digest": model.encode().hex().ljust(64, "0")[:64]}
        shown = {"capabilities": ["completion"], "model_info": {}, "details": {}}
        return {
            "/": reply(b"Ollama is running", kind="text/plain"),
            "/api/version": reply(_json({"version": "0.33.0"})),
            "/api/tags": reply(_json({"models": [{**tag, "size": 5}]})),
            "/api/ps": reply(_json({"models": []})),
            "/api/show": reply(_json(shown)),
            "/api/generate": reply(_json({"done": True, "done_reason": "load"})),
        }

    def piece(self, text: str) -> bytes:
        return self._line(message={"role": "assistant", "content": text}, done=False)

    def end(self) -> bytes:
        return self._line(**self.whole(""))

    def broken_piece(self) -> bytes:
        return b'{"message":{"role":"assistant","content":"lo'

    def error(self, words: str) -> bytes:
        return self._line(error=words)

    def nothing(self, *, stream: bool) -> bytes:
        del stream
        return self._line(done=True, done_reason="stop")

    def sign_of_life(self) -> bytes:
        return b"\n"

    def whole(self, text: str, **more: Any) -> dict[str, Any]:
        message = {"role": "assistant", "content": text}
        return {"message": message, "done": True, "done_reason": "stop", **more}

    def metered(self, text: str, *, stream: bool) -> bytes:
        last = self.whole("" if stream else text)
        line = _json(last)[:-1] + b',"eval_count":NaN,"eval_duration":Infinity}\n'
        return self.piece(text) + line if stream else line

    def _line(self, **told: object) -> bytes:
        return _json(told) + b"\n"


OPENAI, OLLAMA = OpenAI(), Ollama()
DIALECTS: Final[tuple[Dialect, ...]] = (OPENAI, OLLAMA)


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def reply(
    body: bytes, *, status: int = 200, kind: str = "application/json", more: str = ""
) -> bytes:
    """A whole answer in HTTP."""
    head = f"HTTP/1.1 {status} so\r\nContent-Type: {kind}\r\n{more}Content-Length: {len(body)}\r\n"
    return f"{head}\r\n".encode() + body


def begins(kind: str, *, length: int | None = None) -> bytes:
    """The head of an answer whose body follows: chunked, or of a stated length."""
    framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n{framing}\r\n\r\n".encode()


def chunk(data: bytes) -> bytes:
    """A part of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST: Final = b"0\r\n\r\n"
"""The end of a chunked body."""


def stream(dialect: Dialect, *events: bytes, ends: bool = True) -> tuple[bytes, ...]:
    """A stream of these events. ends: whether HTTP's own end follows them."""
    parts = (begins(dialect.events), *(chunk(event) for event in events))
    return (*parts, LAST) if ends else parts


def answering(dialect: Dialect, text: str, *, streamed: bool) -> Act:
    """A right answer."""
    if streamed:
        words = text.split(" ")
        pieces = [word if at == 0 else f" {word}" for at, word in enumerate(words)]
        return Act(pieces=stream(dialect, *map(dialect.piece, pieces), dialect.end()))
    return Act(pieces=(reply(_json(dialect.whole(text))),))


@dataclass
class BadServer:
    """The server.

    acts: for requests to write, each in its turn; the last goes on.
    resets: whether every connection is reset as soon as it is made.
    """

    dialect: Dialect
    model: str
    acts: Sequence[Act] = ()
    resets: bool = False
    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    poured: int = 0
    minutes: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    is_asked: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the other side went away before the answer had ended."""
    _server: asyncio.Server | None = None
    _open: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """Nobody listens any more: whoever comes is refused."""
        if self._server is not None:
            self._server.close()
            self._server = None
        await self.hang_up()

    async def hang_up(self) -> None:
        """Close every connection that there is."""
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            if self.resets:
                _reset(writer)
            while not self.resets and (found := await _request(reader)):
                path, body = found
                if not await self._answered(path, body, reader, writer):
                    return
        except ConnectionError:
            self.left.set()
        finally:
            self._open.discard(task)
            writer.close()

    async def _answered(
        self, path: str, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Whether the connection is to serve another request."""
        if path != self.dialect.work:
            missing = reply(b'{"error":"no such page"}', status=404)
            writer.write(self.dialect.looks(self.model).get(path, missing))
            await writer.drain()
            return True
        self.asked.append(json.loads(body))
        self.is_asked.set()
        act = self.acts[min(len(self.asked), len(self.acts)) - 1]
        for number, piece in enumerate(act.pieces):
            if act.paced and number and not await self._minute(reader):
                return False
            writer.write(piece)
            await writer.drain()
        for _ in range(0, act.pours, BLOCK):
            writer.write(b"a" * BLOCK)
            await writer.drain()
            self.poured += BLOCK
        if act.murmurs:
            await self._murmur(act.murmurs, reader, writer)
            return False
        if act.then is Then.HANG:
            await reader.read()
            self.left.set()
        elif act.then is Then.RESET:
            _reset(writer)
        return act.then is Then.KEEP

    async def _murmur(
        self, words: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        gone = asyncio.create_task(reader.read())
        while not gone.done():
            writer.write(words)
            await asyncio.wait({gone}, timeout=BREATH_S)
        self.left.set()

    async def _minute(self, reader: asyncio.StreamReader) -> bool:
        """Wait for a minute to pass; False when the other side leaves meanwhile."""
        minute = asyncio.create_task(self.minutes.acquire())
        gone = asyncio.create_task(reader.read())
        try:
            await asyncio.wait({minute, gone}, return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                self.left.set()
            return not gone.done()
        finally:
            minute.cancel()
            gone.cancel()
            await asyncio.gather(minute, gone, return_exceptions=True)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close so that the other side gets a RST and no end."""
    found = writer.get_extra_info("socket")
    found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _request(reader: asyncio.StreamReader) -> tuple[str, bytes] | None:
    """The path and the body of the next request; None when there is none."""
    with suppress(asyncio.IncompleteReadError):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        length = 0
        for line in head.split("\r\n")[1:]:
            name, _, value = line.partition(":")
            if name.lower() == "content-length":
                length = int(value)
        return head.split(" ")[1], await reader.readexactly(length)
    return None


@asynccontextmanager
async def bad_server(
    dialect: Dialect, model: str, *acts: Act, resets: bool = False
) -> AsyncIterator[BadServer]:
    """Such a server, for as long as the context is open."""
    one = BadServer(dialect, model, acts, resets)
    await one.start()
    try:
        yield one
    finally:
        await one.stop()
