"""Ollama's own client at the door of a house that serves real models, and another house there."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import ollama
import pytest
from tests.standins.ollamas import ollama as stand_in
from tests.story.houses import MODELS, house_with

from arbiter.clock import SystemClock
from arbiter.engines.base import EngineContext, LoadSpec, Place
from arbiter.engines.ollama import OllamaEngine
from arbiter.errors import NotThisKind
from arbiter.house import House
from arbiter.inference import Chat, Delta, Finish, Generation, Message, Sampling
from arbiter.pool.instance import State
from arbiter.refs import ModelName, VersionId, parse_name

ASKED: Any = [{"role": "user", "content": "Review: the soup was lovely."}]
COOL = {"temperature": 0, "num_ctx": 512}
SHAPE = {
    "type": "object",
    "properties": {"mood": {"enum": ["positive", "negative"]}},
    "required": ["mood"],
    "additionalProperties": False,
}


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with house_with(tmp_path / "data", ["sparrow", "owl"], ["sentiment", "sum"]) as house:
        await house.admission.set_alias(parse_name("fast"), parse_name("sparrow"), who="test")
        yield house


@asynccontextmanager
async def client_of(house: House) -> AsyncIterator[ollama.AsyncClient]:
    async with house.door() as address:
        client = ollama.AsyncClient(host=address.url)
        try:
            yield client
        finally:
            await client.close()  # type: ignore[no-untyped-call]  # it has no types


@pytest.fixture
async def client(house: House) -> AsyncIterator[ollama.AsyncClient]:
    async with client_of(house) as client:
        yield client


async def test_an_answer_has_figures_that_were_measured(client: ollama.AsyncClient) -> None:
    answer = await client.chat("fast", ASKED, options=COOL)
    assert answer.message.content == "positive"
    assert answer.prompt_eval_count
    assert answer.eval_count
    assert answer.prompt_eval_duration
    assert answer.eval_duration
    assert answer.total_duration
    assert answer.prompt_eval_duration + answer.eval_duration <= answer.total_duration


async def test_a_stream_says_the_same_and_a_prompt_is_one_turn(client: ollama.AsyncClient) -> None:
    stream = await client.chat("fast", ASKED, options=COOL, stream=True)
    parts = [part async for part in stream]
    assert "".join(part.message.content or "" for part in parts) == "positive"
    assert parts[-1].done_reason == "stop"
    assert parts[-1].eval_duration
    prompted = await client.generate("fast:latest", ASKED[0]["content"], options=COOL)
    assert prompted.response == "positive"
    short = await client.generate("owl", "Once", raw=True, options={**COOL, "num_predict": 3})
    assert 1 <= (short.eval_count or 0) <= 3


async def test_the_house_picks_for_a_client_that_knows_only_ollama(
    client: ollama.AsyncClient,
) -> None:
    answer = await client.chat("task:sentiment", ASKED, options=COOL)
    assert answer.message.content == "positive"
    assert answer.model == "task:sentiment"


async def test_a_schema_is_heeded(client: ollama.AsyncClient) -> None:
    answer = await client.chat("owl", ASKED, format=SHAPE, options=COOL)
    assert json.loads(answer.message.content or "")["mood"] in {"positive", "negative"}
    told = await client.chat(
        "owl", ASKED, format=SHAPE, options=COOL, logprobs=True, top_logprobs=2
    )
    assert told.logprobs
    assert len(told.logprobs[0].top_logprobs or ()) == 2


async def test_what_a_model_cannot_do_is_refused_clearly(client: ollama.AsyncClient) -> None:
    seen = [{"role": "user", "content": "What is this?", "images": [b"\x89PNG\r\n\x1a\n0000"]}]
    with pytest.raises(ollama.ResponseError, match="fast cannot do vision") as caught:
        await client.chat("fast", seen)
    assert caught.value.status_code == 400
    tool = {"type": "function", "function": {"name": "clock"}}
    with pytest.raises(ollama.ResponseError, match="fast cannot do tools"):
        await client.chat("fast", ASKED, tools=[tool])
    with pytest.raises(ollama.ResponseError, match="cannot do embedding"):
        await client.embed("fast", "a text")
    with pytest.raises(ollama.ResponseError, match="not found") as unknown:
        await client.chat("ghost", ASKED)
    assert unknown.value.status_code == 404


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_who_waited_for_a_load_is_told_how_long(
    client: ollama.AsyncClient, house: House, stream: bool
) -> None:
    version = house.registry.resolve(ModelName("owl")).version
    await house.pool.unload(version, reason="test")

    async def figures() -> ollama.ChatResponse:
        if not stream:
            return await client.chat("owl", ASKED, options=COOL)
        lines = await client.chat("owl", ASKED, options=COOL, stream=True)
        return [line async for line in lines][-1]

    first, second = await figures(), await figures()
    assert first.load_duration is not None
    assert first.total_duration is not None
    assert 1_000_000 < first.load_duration < first.total_duration
    assert first.load_duration > first.total_duration / 2
    assert second.load_duration is None  # llama.cpp tells none, and nobody loaded anything


async def test_models_are_listed_loaded_let_go_and_taken_off(
    client: ollama.AsyncClient, house: House
) -> None:
    version = house.registry.resolve(ModelName("owl"))
    await house.pool.unload(version.version, reason="test")
    listed = {one.model: one for one in (await client.list()).models}
    assert sorted(name or "" for name in listed) == ["auto", "fast", "owl", "sparrow"]
    assert listed["owl"].digest == version.version.removeprefix("sha256:")
    assert listed["owl"].size == (MODELS / "owl.gguf").stat().st_size
    shown = await client.show("owl")
    assert "completion" in (shown.capabilities or ())

    loaded = await client.generate("owl")
    assert loaded.done_reason == "load"
    running = {one.model: one for one in (await client.ps()).models}
    assert running["owl"].size
    gone = await client.generate("owl", keep_alive=0)
    assert gone.done_reason == "unload"
    assert house.pool.states()[version.version] is State.COLD

    await client.delete("owl")
    assert ModelName("owl") not in {one.name for one in house.registry.names()}
    with pytest.raises(ollama.ResponseError, match="not found"):
        await client.delete("owl")


async def test_an_ollama_behind_the_house_pulls_for_its_clients(tmp_path: Path) -> None:
    newer = MODELS / "owl.gguf"
    models = {"bird:latest": MODELS / "sparrow.gguf"}
    async with (
        stand_in(models, "--library", f"bird:latest={newer}") as server,
        house_with(
            tmp_path / "data",
            [],
            [],
            discovery__usual=False,
            discovery__servers=(server.url,),
        ) as house,
    ):
        await house.scout.look(register="all")
        async with client_of(house) as client:
            steps = [step.status async for step in await client.pull("bird", stream=True)]
            answer = await client.chat("bird", ASKED, options={"temperature": 0})
            with pytest.raises(ollama.ResponseError, match="file does not exist"):
                await client.pull("nobody-has-this")
    assert steps[-1] == "success"
    assert answer.message.content


async def test_another_house_can_have_this_one_for_an_ollama(house: House, tmp_path: Path) -> None:
    engine = OllamaEngine(EngineContext(clock=SystemClock(), run_dir=tmp_path))
    version = house.registry.resolve(ModelName("sparrow"))
    async with house.door() as address:
        with pytest.raises(NotThisKind, match="house like this one"):
            await engine.look(address.url)
        runner = await engine.load(
            LoadSpec(
                version=VersionId("sha256:" + "0" * 64),
                path=Path(),
                context=512,
                places=(Place(engine="ollama", url=address.url, model="sparrow"),),
                digest=version.version,
                capabilities=version.artifact.capabilities,
            )
        )
        try:
            said = Message(role="user", content=ASKED[0]["content"])
            for stream in (True, False):
                asked = Generation(
                    work=Chat(messages=(said,)), sampling=Sampling(temperature=0.0), stream=stream
                )
                chunks = [chunk async for chunk in runner.generate(asked)]
                assert "".join(c.text for c in chunks if isinstance(c, Delta)) == "positive"
                finish = chunks[-1]
                assert isinstance(finish, Finish)
                assert finish.usage.completion_tokens
                assert finish.timings.decode_ms
        finally:
            await runner.unload()
