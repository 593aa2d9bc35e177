"""Servers whose answers never end: let go before they fill the memory of the house."""

from __future__ import annotations

import json
from contextlib import aclosing
from pathlib import Path

import pytest
from tests.contract.engines_support import answer, loaded
from tests.contract.ollama_support import MODEL, WELL, engine, hello, spec
from tests.standins.faulty import Broken, Reply, faulty, reply

from arbiter.clock import SystemClock
from arbiter.engines.base import EngineContext, LoadSpec, Place
from arbiter.engines.openai_server import OpenAIServerEngine
from arbiter.engines.openai_wire import LONGEST_ANSWER
from arbiter.errors import EngineError, StreamCut

PIECE = "word " * 20_000
PIECES = LONGEST_ANSWER // len(PIECE) + 2
LISTED = {"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": "me"}]}


def endless(kind: str, data: bytes) -> Broken:
    """So much, and the connection stays open as if there were more."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n"
    return Broken(head.encode() + data, closes=False)


def openai() -> OpenAIServerEngine:
    return OpenAIServerEngine(EngineContext(clock=SystemClock(), run_dir=Path("unused")))


def at(url: str) -> LoadSpec:
    found = spec(url)
    place = Place(engine="openai_server", url=url, model=MODEL)
    return LoadSpec(version=found.version, path=found.path, context=512, places=(place,))


async def test_a_whole_answer_that_does_not_end_is_let_go() -> None:
    # low finding of the review: 216 MB became 351 MB, and the bound was 64 MB
    begun = b'{"choices":[{"message":{"content":"' + b"a" * (LONGEST_ANSWER + 100_000)
    replies: dict[str, Reply] = {
        "/v1/models": reply(LISTED),
        "/v1/chat/completions": endless("application/json", begun),
    }
    async with faulty(replies) as server:
        async with loaded(openai(), at(server.url)) as runner:
            with pytest.raises(EngineError, match="cannot be understood"):
                await answer(runner, hello(stream=False))
        await server.hung_up.wait()


async def test_a_stream_that_does_not_end_is_cut() -> None:
    event = {"choices": [{"index": 0, "delta": {"content": PIECE}}]}
    data = b"data: %b\n\n" % json.dumps(event).encode() * PIECES
    replies: dict[str, Reply] = {
        "/v1/models": reply(LISTED),
        "/v1/chat/completions": endless("text/event-stream", data),
    }
    async with faulty(replies) as server:
        async with (
            loaded(openai(), at(server.url)) as runner,
            aclosing(runner.generate(hello())) as chunks,
        ):
            with pytest.raises(StreamCut):
                [_ async for _ in chunks]
        await server.hung_up.wait()


async def test_a_stream_of_an_ollama_that_does_not_end_is_cut() -> None:
    line = {"message": {"role": "assistant", "content": PIECE}, "done": False}
    data = json.dumps(line).encode() + b"\n"
    async with faulty(
        {**WELL, "/api/chat": endless("application/x-ndjson", data * PIECES)}
    ) as server:
        async with loaded(engine(), spec(server.url)) as runner:
            with pytest.raises(StreamCut):
                await answer(runner, hello())
        await server.hung_up.wait()
