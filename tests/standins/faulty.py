"""A server whose replies are handed in: one that is silent, breaks off, or talks nonsense.

It speaks just enough HTTP to be wrong on purpose. What it was asked is kept in order.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

SILENT = b""
"""A reply that never begins."""


@dataclass(frozen=True)
class Broken:
    """A reply that begins with this, and then the connection is closed, or nothing more comes."""

    begins: bytes
    closes: bool = True


Reply = bytes | Broken


def reply(
    body: bytes | str | object, *, status: int = 200, kind: str | None = None, more: str = ""
) -> bytes:
    """A whole reply: bytes and text as they are, anything else as JSON."""
    if isinstance(body, str):
        data, usual = body.encode(), "text/html"
    elif isinstance(body, bytes):
        data, usual = body, "application/x-ndjson"
    else:
        data, usual = json.dumps(body).encode(), "application/json"
    head = f"HTTP/1.1 {status} so\r\nContent-Type: {kind or usual}\r\n{more}"
    return f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data


def begun(*lines: object, closes: bool = True) -> Broken:
    """A stream of JSON lines that never ends as it should."""
    body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n"
    chunked = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(body), body)
    return Broken(head + chunked, closes=closes)


@dataclass
class Faulty:
    """The server.

    replies: by path, each in its turn; the last goes on. A path that has none gets status 404.
    """

    replies: Mapping[str, Reply | Sequence[Reply]]
    url: str = ""
    asked: list[tuple[str, bytes]] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)
    _given: dict[str, int] = field(default_factory=dict)

    def bodies(self, path: str) -> list[bytes]:
        """What was sent to an address."""
        return [body for at, body in self.asked if at == path]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while found := await _request(reader):
                head, body = found
                path = head.split(" ")[1]
                self.heads.append(head)
                self.asked.append((path, body))
                answer = self._next(path)
                sent = answer if isinstance(answer, bytes) else answer.begins
                writer.write(sent)
                await writer.drain()
                if isinstance(answer, Broken) and answer.closes:
                    break
                if sent == SILENT or isinstance(answer, Broken):
                    await reader.read()
                    self.hung_up.set()
                    break
        except ConnectionError:
            self.hung_up.set()
        finally:
            writer.close()

    def _next(self, path: str) -> Reply:
        found = self.replies.get(path)
        if found is None:
            return reply({"error": "no such page"}, status=404)
        if isinstance(found, (bytes, Broken)):
            return found
        number = self._given.get(path, 0)
        self._given[path] = number + 1
        return found[min(number, len(found) - 1)]


async def _request(reader: asyncio.StreamReader) -> tuple[str, bytes] | None:
    """The head and the body of the next request; None when there is none."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    length = 0
    for line in head.split("\r\n")[1:]:
        name, _, value = line.partition(":")
        if name.lower() == "content-length":
            length = int(value)
    return head, await reader.readexactly(length)


@asynccontextmanager
async def faulty(replies: Mapping[str, Reply | Sequence[Reply]]) -> AsyncIterator[Faulty]:
    """Such a server, for as long as the context is open."""
    one = Faulty(replies)
    connected: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connected.add(task)
        try:
            await one._serve(reader, writer)
        finally:
            connected.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    one.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield one
    finally:
        server.close()
        for task in connected:
            task.cancel()
        await asyncio.gather(*connected, return_exceptions=True)
