"""The server that stands in for Ollama, as Ollama's own client and a hasty client see it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path

import ollama as official
import pytest
from tests.contract.engines_support import answer, demo_model, loaded, never_ending, saved
from tests.contract.ollama_support import (
    MODEL,
    engine,
    hello,
    needs_llama,
    spec,
    two_models,
)
from tests.standins.ollamas import Ollama, ollama

from arbiter.clock import SystemClock


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Ollama]:
    async with two_models(tmp_path) as one:
        yield one


@needs_llama
async def test_ollamas_own_client_understands_the_stand_in(server: Ollama) -> None:
    async with official.AsyncClient(server.url) as client:
        listed = {one.model: one.digest for one in (await client.list()).models}
        assert set(listed) == {MODEL, "embeds:latest"}
        assert (await client.show(MODEL)).capabilities == ["completion"]
        asked = [official.Message(role="user", content="Add 29 and 27")]
        pieces = [piece async for piece in await client.chat(MODEL, asked, stream=True)]
        whole = await client.chat(MODEL, asked, options={"temperature": 0.0})
        assert pieces[-1].done_reason == "stop"
        assert whole.message.content
        assert whole.eval_count
        raw = await client.generate(MODEL, "Add", raw=True, options={"num_predict": 3})
        assert (raw.eval_count, raw.done_reason) == (3, "length")
        assert len((await client.embed("embeds", ["a", "b"])).embeddings) == 2
        running = {one.name: one.expires_at for one in (await client.ps()).models}
        assert set(running) == {MODEL, "embeds:latest"}
        assert (running[MODEL] or datetime.min.replace(tzinfo=UTC)) > SystemClock().now()
        await client.generate(MODEL, keep_alive=0)
        await client.embed("embeds", ["a"], keep_alive=0)
        with pytest.raises(official.ResponseError, match="model 'none' not found"):
            await client.chat("none", asked)
        await client.copy(MODEL, "second")
        await client.pull(MODEL)
        after = {one.model: one.digest for one in (await client.list()).models}
        assert after["second:latest"] == listed[MODEL] != after[MODEL]
        await client.delete("second")


@needs_llama
async def test_a_client_that_hangs_up_stops_the_stand_ins_model(tmp_path: Path) -> None:
    endless = saved(tmp_path / "endless.gguf", never_ending(demo_model().read_bytes()))
    async with ollama({MODEL: endless}) as one, loaded(engine(), spec(one.url)) as runner:
        async with aclosing(runner.generate(hello(max_tokens=4000))) as chunks:
            await anext(chunks)
        await one.told("/stand-in/idle")
        waiting = asyncio.create_task(answer(runner, hello(max_tokens=4000, stream=False)))
        await one.told("/stand-in/busy")
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await one.told("/stand-in/idle")
