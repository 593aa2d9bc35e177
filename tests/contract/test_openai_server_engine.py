"""The engine for OpenAI's servers, at a real one and at those of every kind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.contract.engines_support import (
    HAS_LLAMA,
    PROMPTS,
    answer,
    asking,
    demo_model,
    loaded,
    saved,
)
from tests.contract.openai_server_support import (
    END,
    NOBODY,
    STREAM,
    at,
    event,
    made,
    named_flavour,
    offer_of,
    raw,
    said,
)
from tests.standins.embedder import embedder
from tests.standins.openai_servers import flavours, llama_server, serving
from tests.story.houses import MODELS

from arbiter.errors import (
    EngineRefused,
    KeyRefused,
)
from arbiter.inference import (
    Called,
    Chat,
    Completion,
    Embedding,
    FinishReason,
    Generation,
    Message,
    Sampling,
    Shape,
    Timings,
    Tool,
    Tools,
)

needs_llama = pytest.mark.skipif(not HAS_LLAMA, reason="llama.cpp is not installed")
KINDS = tuple(flavour.kind for flavour in flavours())


TOOL = Tools(offered=(Tool(name="clock"), Tool(name="bell")), named="bell")


@pytest.fixture
async def real() -> AsyncIterator[str]:
    async with llama_server(demo_model(), "--alias", "org/spar:row") as server:
        yield server.url


@needs_llama
async def test_a_llama_server_is_known_with_what_it_tells(real: str) -> None:
    site = await made().look(f"{real}/v1/")
    (offer,) = site.offers
    assert (site.kind, site.url, site.trouble) == ("llama-server", real, ())
    assert site.version
    assert offer.model == "org/spar:row"
    assert offer.capabilities == frozenset({"chat", "completion", "json"})
    assert (offer.parameters, offer.quantization, offer.context_length) == (599_936, "F16", 512)
    assert offer.template is not None
    assert "user" in offer.template
    assert offer.size_bytes is not None
    assert offer.loaded is True
    assert offer.details["slots"] == 4
    assert offer.digest is None


@needs_llama
async def test_claims_hold_over_a_new_start_and_tell_models_apart() -> None:
    claims = []
    for model, context in (("sparrow", "512"), ("sparrow", "256"), ("parrot", "512")):
        options = ("--alias", "m", "--context", context)
        async with llama_server(MODELS / f"{model}.gguf", *options) as server:
            site = await made().look(server.url)
            claims.append(dict(offer_of(site, "m").claims))
    assert claims[0] == claims[1]
    assert claims[0] != claims[2]


@pytest.mark.security("S-24")
@needs_llama
async def test_a_server_that_wants_a_key_gets_the_one_for_its_address() -> None:
    async with llama_server(demo_model(), "--key", "s3cret") as server:
        with pytest.raises(KeyRefused, match="wants a key") as refused:
            await made().look(server.url)
        assert "[discovery.keys]" in refused.value.sentence
        with pytest.raises(KeyRefused, match="refuses the key") as refused:
            await made(keys={server.url: "wrong"}).look(server.url)
        assert "wrong" not in refused.value.sentence
        engine = made(keys={f"{server.url}/v1": "s3cret"})
        site = await engine.look(server.url)
        async with loaded(engine, at((site.url, site.offers[0].model))) as runner:
            assert (await answer(runner, asking(PROMPTS[0])))[0]


@needs_llama
async def test_a_shape_that_is_asked_for_is_given(real: str) -> None:
    schema = '{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]}'
    work = Chat(messages=(Message(role="user", content="Add 2 and 2"),), shape=Shape(schema=schema))
    async with loaded(made(), at((real, "org/spar:row"))) as runner:
        text, _ = await answer(runner, Generation(work=work, sampling=Sampling(max_tokens=40)))
    assert list(json.loads(text)) == ["n"]


@needs_llama
async def test_the_servers_own_stopwatch_is_used_where_it_has_one(real: str) -> None:
    async with loaded(made(), at((real, "org/spar:row"))) as runner:
        _, finish = await answer(runner, asking(PROMPTS[0]))
    assert finish.timings.prefill_ms is not None
    assert finish.timings.decode_ms is not None


@needs_llama
async def test_a_connection_that_the_server_closes_after_a_stream_is_not_used_again(
    real: str,
) -> None:
    short = Sampling(temperature=0.0, max_tokens=3)
    async with loaded(made(), at((real, "org/spar:row"))) as runner:

        async def ask(times: int) -> int:
            for number in range(times):
                stream = bool(number % 3)
                await answer(runner, asking(PROMPTS[0], stream=stream, sampling=short))
            return times

        assert sum(await asyncio.gather(*(ask(30) for _ in range(6)))) == 180


@needs_llama
async def test_a_server_that_was_started_to_make_vectors_is_known_by_its_refusal(
    tmp_path: Path, real: str
) -> None:
    model = saved(tmp_path / "embedder.gguf", embedder(demo_model().read_bytes()))
    async with llama_server(model, "--embeddings", "--alias", "e") as server:
        assert (await made().look(server.url)).offers[0].capabilities == frozenset({"embedding"})
    talks = (await made().look(real)).offers[0].capabilities
    assert talks is not None
    assert "embedding" not in talks


@needs_llama
async def test_vectors_of_another_length_than_asked_for_are_refused(tmp_path: Path) -> None:
    model = saved(tmp_path / "embedder.gguf", embedder(demo_model().read_bytes()))
    async with (
        llama_server(model, "--embeddings", "--alias", "e") as server,
        loaded(made(), at((server.url, "e"))) as runner,
    ):
        assert (await runner.embed(Embedding(inputs=("a", "b"))))[0].vectors
        with pytest.raises(EngineRefused, match="dimensions"):
            await runner.embed(Embedding(inputs=("a",), dimensions=3))


@needs_llama
async def test_what_a_server_cannot_do_is_refused_in_its_words(real: str) -> None:
    async with loaded(made(), at((real, "org/spar:row"))) as runner:
        with pytest.raises(EngineRefused, match="does not support embeddings"):
            await runner.embed(Embedding(inputs=("a",)))


@needs_llama
async def test_every_kind_is_known_and_answers_as_the_model_behind_it(real: str) -> None:
    expected, _ = await _once(real, "org/spar:row", asking(PROMPTS[0]))
    for flavour in flavours():
        async with serving(flavour, real):
            site = await made().look(flavour.url)
            assert (site.kind, site.url) == (flavour.kind, flavour.url)
            for stream in (True, False):
                text, finish = await _once(
                    flavour.url, flavour.model, asking(PROMPTS[0], stream=stream)
                )
                assert text == expected, flavour.kind
                assert finish.reason is FinishReason.STOP
                assert (finish.timings == Timings()) is not flavour.has_timings
            text, _ = await _once(
                flavour.url, flavour.model, Generation(work=Completion(prompt="Add 2"))
            )
            assert text


async def _once(url: str, model: str, request: Generation) -> Any:
    async with loaded(made(), at((url, model))) as runner:
        return await answer(runner, request)


EVERY = Sampling(top_k=3, min_p=0.1, repeat_penalty=1.1, seed=-1)


@pytest.mark.parametrize(
    ("kind", "sent"),
    [
        ("vLLM", {"top_k": 3, "min_p": 0.1, "repetition_penalty": 1.1, "seed": -1}),
        ("SGLang", {"top_k": 3, "min_p": 0.1, "repetition_penalty": 1.1, "seed": -1}),
        ("LocalAI", {"top_k": 3, "min_p": 0.1, "repeat_penalty": 1.1, "seed": -1}),
    ],
)
@needs_llama
async def test_options_are_sent_in_the_servers_own_words(
    kind: str, sent: dict[str, object], real: str
) -> None:
    async with serving(named_flavour(kind), real) as flavour:
        await _once(flavour.url, flavour.model, asking(PROMPTS[0], sampling=EVERY))
    assert {name: flavour.asked[0].get(name) for name in sent} == sent
    assert flavour.asked[0].keys() - sent.keys() == {
        "model", "messages", "stream", "stream_options",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "refused"),
    [
        ("LM Studio", "min_p"),
        ("Lemonade", "min_p"),
        ("Docker Model Runner", "repeat_penalty"),
        ("OpenAI-compatible server", "min_p"),
    ],
)
async def test_an_option_that_would_be_ignored_is_refused_and_nothing_sent(
    kind: str, refused: str
) -> None:
    async with serving(named_flavour(kind), NOBODY) as flavour:
        with pytest.raises(EngineRefused, match=f"not known to heed {refused}") as error:
            await _once(flavour.url, flavour.model, asking("x", sampling=EVERY))
    assert error.value.param == refused
    assert not flavour.asked


@needs_llama
async def test_a_server_that_cannot_count_a_stream_is_asked_without(real: str) -> None:
    async with (
        serving(named_flavour("OpenAI-compatible server"), real) as flavour,
        loaded(made(), at((flavour.url, flavour.model))) as runner,
    ):
        for _ in range(2):
            text, finish = await answer(runner, asking(PROMPTS[0]))
            assert text
            assert finish.usage.prompt_tokens is None
    assert ["stream_options" in body for body in flavour.asked] == [True, False, False]


async def test_what_a_model_thinks_is_no_part_of_its_answer() -> None:
    pieces = event(reasoning_content="hm") + event(reasoning="well") + event(content="yes")
    async with raw(STREAM + pieces + END) as (_, runner):
        assert (await answer(runner, asking("x")))[0] == "yes"


async def test_a_tool_call_comes_in_the_pieces_that_the_server_sends() -> None:
    def call(**function: str) -> bytes:
        return event(tool_calls=[{"index": 0, "id": "c1", "function": function}])

    stream = STREAM + call(name="bell", arguments='{"a"') + call(arguments=":1}")
    end = END.replace(b'"stop"', b'"tool_calls"')
    async with raw(stream + end) as (server, runner):
        work = Chat(messages=(Message(role="user", content="x"),), tools=TOOL)
        chunks = [chunk async for chunk in runner.generate(Generation(work=work))]
    assert chunks[:2] == [
        Called(index=0, id="c1", name="bell", arguments='{"a"'),
        Called(index=0, id="c1", arguments=":1}"),
    ]
    sent = json.loads(server.asked[-1][1])
    assert sent["tool_choice"] == {"type": "function", "function": {"name": "bell"}}


async def test_an_answer_in_one_piece_is_taken_where_a_stream_was_asked_for() -> None:
    whole = {"choices": [{"message": {"content": "hi"}, "finish_reason": "length"}]}
    async with raw(said(whole)) as (_, runner):
        text, finish = await answer(runner, asking("x"))
    assert (text, finish.reason) == ("hi", FinishReason.LENGTH)


async def test_a_stream_of_no_declared_type_is_still_read() -> None:
    head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
    async with raw(head + event(content="hi") + END) as (_, runner):
        assert (await answer(runner, asking("x")))[0] == "hi"
