"""Serving from an Ollama: a stand-in over the real llama.cpp, and servers that misbehave."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path

import pytest
from tests.contract.engines_support import answer, demo_model, loaded, saved
from tests.contract.ollama_support import (
    DIGEST,
    EMBEDS,
    END,
    HASTY,
    MODEL,
    SAID,
    TAG,
    WELL,
    engine,
    failing,
    hello,
    needs_llama,
    nobody,
    served,
    spec,
    two_models,
)
from tests.contract.test_engine_work import CALLS, ZONE
from tests.standins.faulty import SILENT, Broken, Reply, begun, faulty, reply
from tests.standins.ollamas import Ollama, ollama

from arbiter.cost import Method
from arbiter.errors import (
    ArbiterError,
    Busy,
    EngineError,
    EngineRefused,
    EngineTimeout,
    InstanceLost,
    LoadFailed,
    ServerCut,
    ServerGone,
    StreamCut,
)
from arbiter.inference import (
    Called,
    Chat,
    Completion,
    Delta,
    Embedding,
    Finish,
    FinishReason,
    Generation,
    Message,
    Sampling,
    Shape,
    Tool,
    Tools,
)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Ollama]:
    async with two_models(tmp_path) as one:
        yield one


@needs_llama
async def test_what_was_loaded_for_the_house_is_unloaded_by_it(server: Ollama) -> None:
    async with loaded(engine(), spec(server.url)) as runner:
        assert await server.loaded() == [MODEL]
        assert runner.reported is not None
        assert runner.reported.method is Method.ENGINE
        assert (runner.reported.total_bytes or 0) > demo_model().stat().st_size
    assert await server.loaded() == []


@needs_llama
async def test_what_was_loaded_before_is_left_as_it_was_found(server: Ollama) -> None:
    await server.said("/api/generate", {"model": MODEL})
    runner = await engine().load(spec(server.url))
    await runner.unload()
    assert await server.loaded() == [MODEL]


@needs_llama
async def test_a_model_that_only_embeds_is_loaded_and_unloaded_too(server: Ollama) -> None:
    async with loaded(engine(), spec(server.url, model="embeds:latest", capabilities=EMBEDS)):
        assert await server.loaded() == ["embeds:latest"]
    assert await server.loaded() == []


@needs_llama
async def test_nothing_that_is_asked_of_a_version_makes_its_server_load_again(
    server: Ollama,
) -> None:
    async with loaded(engine(), spec(server.url, num_ctx="256", keep_alive="-1")) as runner:
        for request in (hello(), hello(stream=False, max_tokens=3)):
            await answer(runner, request)
        await answer(runner, Generation(work=Completion(prompt="Add"), sampling=Sampling(top_k=1)))
        assert (await server.told())["loads"] == {MODEL: 1}


async def test_a_version_without_options_sends_none() -> None:
    async with served({"/api/chat": reply(END)}) as (runner, one):
        work = Chat(messages=(Message(role="user", content="hi"),))
        await answer(runner, Generation(work=work))
        (load,) = one.bodies("/api/generate")
        assert json.loads(load) == {"model": MODEL, "stream": False}
        (asked,) = one.bodies("/api/chat")
        assert {"options", "keep_alive"}.isdisjoint(json.loads(asked))


@needs_llama
async def test_the_first_place_that_is_there_serves(server: Ollama) -> None:
    async with loaded(engine(), spec(nobody(), server.url)) as runner:
        assert (await answer(runner, hello()))[0]


async def test_when_no_place_answers_each_is_told() -> None:
    one, other = nobody(), nobody()
    with pytest.raises(ServerGone) as gone:
        await engine().load(spec(one, other))
    assert one in gone.value.message
    assert other in gone.value.message
    with pytest.raises(ServerGone, match="No server is known"):
        await engine().load(spec())


async def test_a_port_that_now_belongs_to_something_else_is_a_server_that_is_gone() -> None:
    async with faulty({"/": reply("hi")}) as other:
        with pytest.raises(ServerGone, match="no Ollama"):
            await engine().load(spec(other.url))


async def test_a_name_that_stands_for_another_content_is_refused_with_both() -> None:
    async with faulty(WELL) as one:
        with pytest.raises(LoadFailed) as failed:
            await engine().load(spec(nobody(), one.url, digest="sha256:" + "b" * 64))
        assert f"{MODEL} at {one.url} is now sha256:aaaaaaaaaaaa, not sha256:bbbbbbbbbbbb" in str(
            failed.value
        )
        assert "arbiter models discover" in failed.value.sentence
        assert one.bodies("/api/generate") == []


async def test_the_next_place_serves_when_one_has_another_content() -> None:
    changed = {**WELL, "/api/tags": reply({"models": [{**TAG, "digest": "c" * 64}]})}
    async with (
        faulty(changed) as one,
        faulty(WELL) as other,
        loaded(engine(), spec(one.url, other.url, digest=f"sha256:{DIGEST}")),
    ):
        assert other.bodies("/api/generate")


@pytest.mark.parametrize(
    ("replies", "words"),
    [
        ({"/api/tags": reply({"models": []})}, f"has no {MODEL} any more"),
        (
            {"/api/generate": reply({"error": "requires more system memory"}, status=500)},
            "could not be loaded at .*: requires more system memory",
        ),
        ({"/api/generate": SILENT}, "could not be loaded at .* in 0.5 s"),
        ({"/api/generate": Broken(b"HTTP/1.1")}, "broke off while it loaded"),
    ],
)
async def test_a_load_that_fails_says_why(replies: Mapping[str, Reply], words: str) -> None:
    async with faulty({**WELL, **replies}) as one:
        with pytest.raises(LoadFailed, match=words):
            await engine(HASTY).load(spec(one.url))


async def test_an_option_that_there_is_not_fails_the_load() -> None:
    with pytest.raises(LoadFailed, match="no option 'gpu_layers'"):
        await engine().load(spec(nobody(), gpu_layers="1"))


async def test_what_nobody_knows_to_be_ours_is_not_unloaded() -> None:
    async with served({"/api/ps": reply({}, status=500)}) as (runner, one):
        assert runner.reported is None
        await runner.unload()
        assert len(one.bodies("/api/generate")) == 1


async def test_leaving_a_server_that_is_gone_is_no_error() -> None:
    async with faulty(WELL) as one:
        runner = await engine(HASTY).load(spec(one.url))
    await runner.unload()
    assert not await runner.is_healthy()


@needs_llama
async def test_an_answer_has_ollamas_counts_and_durations(server: Ollama) -> None:
    async with loaded(engine(), spec(server.url)) as runner:
        text, finish = await answer(runner, hello())
        whole, _ = await answer(runner, hello(stream=False))
        assert text == whole != ""
        assert finish.usage.prompt_tokens
        assert finish.usage.completion_tokens
        assert None not in {
            finish.timings.prefill_ms,
            finish.timings.decode_ms,
            finish.timings.load_ms,
        }


@needs_llama
async def test_an_answer_has_the_shape_that_was_asked_for(server: Ollama) -> None:
    async with loaded(engine(), spec(server.url)) as runner:
        asked = (Message(role="user", content="hi"),)
        for stream in (True, False):
            work = Chat(messages=asked, shape=Shape(schema=ZONE))
            text, _ = await answer(runner, Generation(work=work, stream=stream))
            assert json.loads(text)["zone"] in {"utc", "cet"}


@needs_llama
@pytest.mark.parametrize("stream", [True, False])
async def test_tools_are_called_whole(stream: bool, tmp_path: Path) -> None:
    template = saved(tmp_path / "calls.jinja", CALLS.encode())
    tools = Tools(offered=(Tool(name="clock", parameters=ZONE),))
    request = Generation(
        work=Chat(messages=(Message(role="user", content="Add 29 and 27"),), tools=tools),
        sampling=Sampling(temperature=0.0, max_tokens=90),
        stream=stream,
    )
    given = ("--template", f"{MODEL}={template}", "--must-call")
    async with (
        ollama({MODEL: demo_model()}, *given) as one,
        loaded(engine(), spec(one.url)) as runner,
    ):
        chunks = [chunk async for chunk in runner.generate(request)]
    first = next(chunk for chunk in chunks if isinstance(chunk, Called))
    assert (first.index, first.name) == (0, "clock")
    assert first.id
    assert json.loads(first.arguments)["zone"] in {"utc", "cet"}
    finish = chunks[-1]
    assert isinstance(finish, Finish)
    assert finish.reason is FinishReason.TOOL_CALLS


async def test_no_second_call_comes_when_calls_are_wanted_one_by_one() -> None:
    call = {"function": {"name": "clock", "arguments": {}}}
    both = {"message": {"role": "assistant", "content": "", "tool_calls": [call, call]}}
    tools = Tools(offered=(Tool(name="clock"),), parallel=False)
    work = Chat(messages=(Message(role="user", content="hi"),), tools=tools)
    async with served({"/api/chat": reply({**both, "done": True})}) as (runner, _):
        chunks = [chunk async for chunk in runner.generate(Generation(work=work))]
    assert [chunk.name for chunk in chunks if isinstance(chunk, Called)] == ["clock"]


@needs_llama
async def test_a_prompt_that_does_not_fit_is_refused_and_never_cut(server: Ollama) -> None:
    async with loaded(engine(), spec(server.url)) as runner:
        with pytest.raises(EngineRefused, match=r"The prompt has \d+ tokens.*room for 512"):
            await answer(runner, hello(prompt="too long " * 6000))
        (asked,) = await server.asked("/api/chat")
        assert (asked["truncate"], asked["shift"]) == (False, False)


async def test_leaving_an_answer_closes_its_connection() -> None:
    endless = begun(SAID, closes=False)
    async with served({"/api/chat": endless}) as (runner, one):
        async with aclosing(runner.generate(hello())) as chunks:
            assert await anext(chunks) == Delta(text="hi")
        await one.hung_up.wait()


@needs_llama
async def test_a_name_that_changes_under_a_version_does_not_answer_for_it(server: Ollama) -> None:
    looking = engine()
    offer = next(o for o in (await looking.look(server.url)).offers if o.model == MODEL)
    async with loaded(looking, spec(server.url, digest=offer.digest)) as runner:
        assert (await answer(runner, hello()))[0]
        await server.said("/api/pull", {"model": MODEL})
        for stream in (True, False):
            with pytest.raises(InstanceLost, match=f"{MODEL} at .* is now sha256:"):
                await answer(runner, hello(stream=stream, prompt="a"))
        assert "is now" in await runner.wait_lost()


async def test_a_content_that_its_server_does_not_tell_is_not_doubted() -> None:
    tags = [reply({"models": [TAG]}), reply("<html>")]
    replies: Mapping[str, Reply | Sequence[Reply]] = {"/api/tags": tags, "/api/chat": reply(END)}
    async with served(replies, digest=f"sha256:{DIGEST}") as (runner, _):
        assert (await answer(runner, hello()))[1].reason is FinishReason.STOP


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("chat", "kind", "words"),
    [
        (reply({"error": "bad"}, status=400), EngineRefused, "refused the request: bad"),
        (reply({"error": "gone"}, status=404), InstanceLost, "does not have gemma3:1b any more"),
        (reply({"error": "died"}, status=500), EngineError, "status 500: died"),
        (reply({"error": "busy"}, status=503), Busy, "is busy: busy"),
        (reply("", status=307, more="Location: http://a/\r\n"), EngineError, "sends requests else"),
        (reply({"error": "it died"}), EngineError, "broke off: it died"),
        (reply("<html>"), EngineError, "cannot be understood"),
        (reply(b""), EngineError, "cannot be understood"),
        (SILENT, EngineTimeout, ""),
        (Broken(b"HTTP/1.1 200 OK\r\n"), InstanceLost, "broke off before"),
    ],
)
async def test_what_goes_wrong_before_an_answer_is_told(
    chat: Reply, kind: type[ArbiterError], words: str, stream: bool
) -> None:
    async with served({"/api/chat": chat}) as (runner, _):
        error = await failing(runner, hello(stream=stream))
    assert type(error) is kind
    assert words in error.message


@pytest.mark.parametrize(
    ("chat", "words"),
    [
        (begun(SAID), "died in the middle"),
        (begun(SAID, closes=False), "fell silent"),
        (begun(SAID, {"error": "out of memory"}, closes=False), "broke off: out of memory"),
        (begun(SAID, "nonsense", closes=False), "died in the middle"),
        (reply(json.dumps(SAID).encode() + b"\n"), "died in the middle"),
    ],
)
async def test_what_goes_wrong_in_an_answer_cuts_it(chat: Reply, words: str) -> None:
    async with served({"/api/chat": chat}) as (runner, _):
        error = await failing(runner, hello())
    assert isinstance(error, StreamCut)
    assert words in error.message


async def test_an_answer_that_breaks_off_with_its_server_says_that_the_server_is_gone() -> None:
    async with faulty({**WELL, "/api/chat": begun(SAID, closes=False)}) as one:
        runner = await engine(HASTY).load(spec(one.url))
        chunks = runner.generate(hello())
        await anext(chunks)
    with pytest.raises(ServerCut, match="does not answer any more"):
        await anext(chunks)
    await runner.unload()


async def test_a_model_that_was_removed_is_lost_for_its_runner() -> None:
    missing = reply({"error": f"model '{MODEL}' not found"}, status=404)
    async with served({"/api/chat": missing}) as (runner, _):
        assert isinstance(await failing(runner, hello()), InstanceLost)
        assert "not found" in await runner.wait_lost()
        assert not await runner.is_healthy()


async def test_a_server_that_went_away_is_lost_at_the_next_request() -> None:
    async with faulty(WELL) as one:
        runner = await engine(HASTY).load(spec(one.url))
        assert await runner.is_healthy()
    assert isinstance(await failing(runner, hello()), InstanceLost)
    assert "does not answer any more" in await runner.wait_lost()
    await runner.unload()


async def test_a_connection_that_broke_at_a_server_that_lives_is_no_loss() -> None:
    first: Reply = Broken(b"HTTP/1.1 200 OK\r\n")
    replies = {"/api/chat": [first, reply(END)]}
    async with served(replies) as (runner, _):
        await failing(runner, hello())
        assert (await answer(runner, hello()))[1].reason is FinishReason.STOP


async def test_an_unload_cuts_what_still_runs() -> None:
    async with served({"/api/chat": begun(SAID, closes=False)}) as (runner, _):
        async with aclosing(runner.generate(hello())) as chunks:
            await anext(chunks)
            await runner.unload()
            with pytest.raises(StreamCut):
                await anext(chunks)
        assert isinstance(await failing(runner, hello()), InstanceLost)


@needs_llama
async def test_vectors_keep_the_order_of_their_texts(server: Ollama) -> None:
    async with loaded(
        engine(), spec(server.url, model="embeds:latest", capabilities=EMBEDS)
    ) as runner:
        made, finish = await runner.embed(Embedding(inputs=("one", "two", "one")))
        first, second, third = made.vectors
        assert first == pytest.approx(third)
        assert first != pytest.approx(second)
        assert finish.usage.prompt_tokens
        short, _ = await runner.embed(Embedding(inputs=("one",), dimensions=8))
        assert len(short.vectors[0]) == 8
        with pytest.raises(EngineRefused, match=f"have {len(first)} numbers") as refused:
            await runner.embed(Embedding(inputs=("one",), dimensions=10_000))
        assert refused.value.param == "dimensions"


@pytest.mark.parametrize(
    ("embed", "kind"),
    [
        (reply({"error": "too long"}, status=400), EngineRefused),
        (reply({"error": "gone"}, status=404), InstanceLost),
        (reply({"embeddings": []}), EngineError),
        (reply("<html>"), EngineError),
        (SILENT, EngineTimeout),
        (Broken(b"HTTP"), InstanceLost),
    ],
)
async def test_what_goes_wrong_with_vectors_is_told(embed: Reply, kind: type[ArbiterError]) -> None:
    async with served({"/api/embed": embed}) as (runner, _):
        with pytest.raises(ArbiterError) as failed:
            await runner.embed(Embedding(inputs=("a",)))
    assert type(failed.value) is kind


async def test_a_refused_text_is_the_inputs_fault() -> None:
    async with served({"/api/embed": reply({"error": "too long"}, status=400)}) as (runner, _):
        with pytest.raises(EngineRefused) as refused:
            await runner.embed(Embedding(inputs=("a",)))
    assert refused.value.param == "input"
