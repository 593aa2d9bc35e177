"""The contract of an engine, over every engine that ships: scripted, the stand-in, llama.cpp."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import pytest
from tests.contract.engines_support import (
    ENDLESS,
    HAS_LLAMA,
    HOUSE,
    LLAMA,
    LLAMA_TCP,
    OLLAMA,
    PROMPTS,
    SCRIPTED,
    SERVED,
    STAND_IN,
    STAND_IN_TCP,
    Kind,
    answer,
    asking,
    begun,
    exhaust,
    load_spec,
    loaded,
)

from arbiter.clock import SystemClock
from arbiter.engines.base import GROUP, EngineContext, Runner, build_engines, installed_engines
from arbiter.errors import ConfigError, EngineRefused, InstanceLost, LoadFailed, StreamCut
from arbiter.inference import Chat, Finish, FinishReason, Message, Sampling

needs_llama = pytest.mark.skipif(not HAS_LLAMA, reason="llama.cpp is not installed")
KINDS = [
    SCRIPTED,
    STAND_IN,
    STAND_IN_TCP,
    pytest.param(LLAMA, marks=needs_llama),
    pytest.param(LLAMA_TCP, marks=needs_llama),
    pytest.param(SERVED, marks=needs_llama),
    pytest.param(OLLAMA, marks=needs_llama),
    pytest.param(HOUSE, marks=needs_llama),
]
WITH_SLOTS = [
    SCRIPTED,
    pytest.param(LLAMA, marks=needs_llama),
    pytest.param(SERVED, marks=needs_llama),
]
over_every_engine = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
over_engines_with_slots = pytest.mark.parametrize("kind", WITH_SLOTS, ids=lambda kind: kind.name)


@pytest.fixture
async def runner(kind: Kind, tmp_path: Path) -> AsyncIterator[Runner]:
    engine = kind.engine(SystemClock(), tmp_path / "run")
    async with loaded(engine, load_spec(kind.model(tmp_path))) as runner:
        yield runner


@over_every_engine
async def test_a_stream_ends_with_exactly_one_finish(runner: Runner) -> None:
    for prompt in PROMPTS:
        text, finish = await answer(runner, asking(prompt))
        assert text
        assert finish.reason is FinishReason.STOP


@over_every_engine
async def test_an_answer_in_one_piece_is_the_streamed_one(runner: Runner) -> None:
    for prompt in PROMPTS:
        streamed, _ = await answer(runner, asking(prompt))
        whole, _ = await answer(runner, asking(prompt, stream=False))
        assert whole == streamed


@over_every_engine
@pytest.mark.parametrize("stream", [True, False])
async def test_a_stop_string_ends_the_answer_before_it(runner: Runner, stream: bool) -> None:
    text, _ = await answer(runner, asking(PROMPTS[1]))
    stop = text[len(text) // 2 :][:2]
    sampling = Sampling(temperature=0.0, stop=(stop, "never said"))
    cut, finish = await answer(runner, asking(PROMPTS[1], stream=stream, sampling=sampling))
    assert cut == text[: text.index(stop)]
    assert finish.reason is FinishReason.STOP


@over_every_engine
@pytest.mark.parametrize("stream", [True, False])
async def test_max_tokens_ends_the_answer_for_its_length(runner: Runner, stream: bool) -> None:
    sampling = Sampling(temperature=0.0, max_tokens=2)
    text, finish = await answer(runner, asking(PROMPTS[1], stream=stream, sampling=sampling))
    assert finish.reason is FinishReason.LENGTH
    assert finish.usage.completion_tokens == 2
    assert text


@over_every_engine
async def test_tokens_are_counted(runner: Runner, kind: Kind) -> None:
    _, short = await answer(runner, asking(PROMPTS[0]))
    _, long = await answer(runner, asking(PROMPTS[1], stream=False))
    for finish in (short, long):
        assert finish.usage.prompt_tokens
        assert finish.usage.completion_tokens
        assert (finish.usage.cached_tokens is not None) == kind.tells_cached
    assert (short.usage.prompt_tokens or 0) < (long.usage.prompt_tokens or 0)


@over_every_engine
async def test_the_same_seed_gives_the_same_answer(kind: Kind, tmp_path: Path) -> None:
    engine = kind.engine(SystemClock(), tmp_path / "run")
    # a cached prompt is computed in other batches, and their rounding may differ
    options: Mapping[str, str] = {} if kind is SCRIPTED else {"cache_prompt": "false"}
    sampling = Sampling(temperature=1.5, top_p=1.0, seed=-7, max_tokens=40)
    async with loaded(engine, load_spec(kind.model(tmp_path), options=options)) as runner:
        answers = {
            (await answer(runner, asking(PROMPTS[1], sampling=sampling)))[0] for _ in range(5)
        }
    assert len(answers) == 1


@over_every_engine
async def test_answers_at_the_same_time_do_not_mix(runner: Runner) -> None:
    alone = [(await answer(runner, asking(prompt)))[0] for prompt in PROMPTS]
    together = await asyncio.gather(
        *(
            answer(runner, asking(PROMPTS[n % 4], stream=bool(n % 3)))
            for n in range(4 * len(PROMPTS))
        )
    )
    assert [text for text, _ in together] == alone * 4


@over_every_engine
async def test_every_message_of_a_conversation_is_taken(runner: Runner) -> None:
    talk = asking(PROMPTS[0])
    talk = type(talk)(
        work=Chat(
            messages=(
                Message(role="system", content="You are a bird."),
                Message(role="user", content='Quote " and \\ and \n and é and 🙂'),
                Message(role="assistant", content="Done."),
                Message(role="user", content=PROMPTS[0]),
            )
        ),
        sampling=talk.sampling,
    )
    text, _ = await answer(runner, talk)
    assert text


@over_every_engine
async def test_a_prompt_longer_than_the_context_is_refused_with_both_numbers(
    runner: Runner,
) -> None:
    with pytest.raises(EngineRefused, match=r"The prompt has \d+ tokens.*room for \d+"):
        await answer(runner, asking("too long " * 6000))
    assert (await answer(runner, asking(PROMPTS[0])))[0]


@over_engines_with_slots
async def test_leaving_an_answer_frees_its_slot(kind: Kind, tmp_path: Path) -> None:
    engine = kind.engine(SystemClock(), tmp_path / "run")
    spec = load_spec(kind.endless_model(tmp_path), slots=1, context=4096)
    short = Sampling(temperature=0.0, max_tokens=3)
    async with loaded(engine, spec) as runner:
        async with begun(runner, asking(ENDLESS)):
            waiting = asyncio.create_task(answer(runner, asking(PROMPTS[0], sampling=short)))
        _, finish = await waiting
    assert finish.usage.completion_tokens == 3


@over_every_engine
async def test_unloading_twice_is_unloading_once(kind: Kind, tmp_path: Path) -> None:
    runner = await kind.engine(SystemClock(), tmp_path / "run").load(
        load_spec(kind.model(tmp_path))
    )
    assert await runner.is_healthy()
    await asyncio.gather(runner.unload(), runner.unload())
    await runner.unload()
    assert not await runner.is_healthy()
    with pytest.raises(InstanceLost):
        await answer(runner, asking(PROMPTS[0]))


@over_every_engine
async def test_an_unload_that_was_asked_for_is_no_loss(kind: Kind, tmp_path: Path) -> None:
    runner = await kind.engine(SystemClock(), tmp_path / "run").load(
        load_spec(kind.model(tmp_path))
    )
    watching = asyncio.create_task(runner.wait_lost())
    await runner.unload()
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    assert watching.cancelled()


@over_every_engine
async def test_a_broken_file_fails_the_load_and_names_no_path(kind: Kind, tmp_path: Path) -> None:
    engine = kind.engine(SystemClock(), tmp_path / "run")
    for path in kind.broken_models(tmp_path):
        with pytest.raises(LoadFailed, match="could not be loaded") as failed:
            await engine.load(load_spec(path))
        assert str(tmp_path) not in failed.value.sentence
    assert not list((tmp_path / "run").glob("*"))


@over_every_engine
async def test_a_death_in_the_middle_cuts_the_stream_and_is_noticed(
    kind: Kind, tmp_path: Path
) -> None:
    engine = kind.engine(SystemClock(), tmp_path / "run")
    async with loaded(engine, load_spec(kind.endless_model(tmp_path), context=4096)) as runner:
        watching = asyncio.create_task(runner.wait_lost())
        async with begun(runner, asking(ENDLESS)) as chunks:
            kind.kill(runner)
            with pytest.raises(StreamCut):
                await exhaust(chunks)
        assert kind.last_words in (await watching).lower()
        with pytest.raises(InstanceLost):
            await answer(runner, asking(PROMPTS[0]))
        assert not await runner.is_healthy()


def test_every_engine_that_ships_is_found_by_its_entry_point(tmp_path: Path) -> None:
    found = installed_engines(EngineContext(clock=SystemClock(), run_dir=tmp_path))
    assert {"llama_cpp", "ollama", "openai_server", "scripted"} <= {engine.name for engine in found}
    for engine in found:
        assert engine.formats
        assert engine.availability().reason
    assert not list(tmp_path.iterdir())


def test_two_engines_of_one_name_are_a_configuration_error(tmp_path: Path) -> None:
    points = tuple(p for p in entry_points(group=GROUP) if p.name == "scripted")
    second = EntryPoint(name="other", value="arbiter.engines.scripted:engine", group=GROUP)
    with pytest.raises(ConfigError, match="'scripted'"):
        build_engines((*points, second), EngineContext(clock=SystemClock(), run_dir=tmp_path))


@over_every_engine
async def test_the_finish_of_a_real_stopwatch_is_plausible(runner: Runner) -> None:
    _, finish = await answer(runner, asking(PROMPTS[1]))
    assert isinstance(finish, Finish)
    for duration in (finish.timings.prefill_ms, finish.timings.decode_ms):
        assert duration is None or 0 <= duration < 60_000
