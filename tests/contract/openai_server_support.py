"""What the tests of the engine for OpenAI's servers share: servers that answer byte by byte."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from tests.contract.engines_support import (
    load_spec,
    loaded,
)
from tests.standins.openai_servers import Flavour, flavours

from arbiter.clock import ManualClock, SystemClock
from arbiter.engines.base import EngineContext, LoadSpec, Offer, Place, Runner, Site
from arbiter.engines.openai_server import OpenAIServerEngine

NOBODY = "http://127.0.0.1:1"
LISTED = {"object": "list", "data": [{"id": "m", "object": "model", "owned_by": "me"}]}


def made(
    clock: ManualClock | None = None, keys: Mapping[str, str] | None = None
) -> OpenAIServerEngine:
    return OpenAIServerEngine(
        EngineContext(clock=clock or SystemClock(), run_dir=Path("unused"), keys=keys or {})
    )


def at(*places: tuple[str, str]) -> LoadSpec:
    found = tuple(Place(engine="openai_server", url=url, model=model) for url, model in places)
    spec = load_spec(Path())
    return LoadSpec(version=spec.version, path=spec.path, context=512, places=found)


def offer_of(site: Site, model: str) -> Offer:
    return next(offer for offer in site.offers if offer.model == model)


class Raw:
    """A server that gives to each path the bytes that it was handed, and notes what was asked.

    A reply of several pieces stays open after the last one when that is ``None``.
    """

    def __init__(self, **replies: bytes | tuple[bytes | None, ...]) -> None:
        self.replies = {f"/v1/{path}": reply for path, reply in replies.items()}
        self.asked: list[tuple[str, bytes]] = []
        self.url = ""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Raw]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server:
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ")[1].decode()
            length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0] or 0)
            self.asked.append((path, await reader.readexactly(length)))
            reply = self.replies.get(path, plain(404, b"nothing here", kind="text/plain"))
            for piece in reply if isinstance(reply, tuple) else (reply,):
                if piece is None:
                    await reader.read()
                else:
                    writer.write(piece)
                    await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


def plain(status: int, body: bytes, *, kind: str = "application/json", more: str = "") -> bytes:
    head = f"HTTP/1.1 {status} Whatever\r\nContent-Type: {kind}\r\n{more}Connection: close\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def said(value: object, *, status: int = 200, more: str = "") -> bytes:
    return plain(status, json.dumps(value).encode(), more=more)


STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


def event(**delta: object) -> bytes:
    return b"data: " + json.dumps({"choices": [{"delta": delta}]}).encode() + b"\n\n"


END = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


@asynccontextmanager
async def raw(reply: bytes | tuple[bytes | None, ...]) -> AsyncIterator[tuple[Raw, Runner]]:
    """A server that lists the model ``m`` and answers every chat so, and its runner."""
    replies = {"models": said(LISTED), "chat/completions": reply}
    async with Raw(**replies).open() as server, loaded(made(), at((server.url, "m"))) as runner:
        yield server, runner


def named_flavour(kind: str) -> Flavour:
    return next(flavour for flavour in flavours() if flavour.kind == kind)
