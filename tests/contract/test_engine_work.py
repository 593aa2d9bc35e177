"""What engines do besides chatting: going on with a text, making vectors, calling tools, shapes."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from tests.contract.engines_support import (
    HAS_LLAMA,
    HOUSE,
    LLAMA,
    OLLAMA,
    PROMPTS,
    SCRIPTED,
    SERVED,
    STAND_IN,
    Kind,
    answer,
    asking,
    demo_model,
    load_spec,
    loaded,
    saved,
)

from arbiter.clock import SystemClock
from arbiter.engines.base import Runner
from arbiter.errors import EngineRefused, InstanceLost, LoadFailed
from arbiter.inference import (
    Called,
    Chat,
    Completion,
    Embedding,
    Finish,
    Generation,
    Message,
    Sampling,
    Shape,
    Tool,
    Tools,
)

needs_llama = pytest.mark.skipif(not HAS_LLAMA, reason="llama.cpp is not installed")
KINDS = [
    SCRIPTED,
    STAND_IN,
    pytest.param(LLAMA, marks=needs_llama),
    pytest.param(SERVED, marks=needs_llama),
    pytest.param(OLLAMA, marks=needs_llama),
    pytest.param(HOUSE, marks=needs_llama),
]
over_every_engine = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)

CALLS = """\
{%- if tools -%}{%- for tool in tools -%}{{- tool.function.name + ' ' -}}{%- endfor -%}{%- endif -%}
{%- for message in messages -%}
{%- if message.role == 'assistant' -%}
{{- '<|assistant|>' + (message.content or '') -}}
{%- if message.tool_calls -%}{%- for call in message.tool_calls -%}
{{- 'n{"name": "' + call.function.name + '", "arguments": ' -}}
{{- call.function.arguments | tojson -}}{{- '}!' -}}
{%- endfor -%}{%- endif -%}
{{- '<|end|>' -}}
{%- else -%}{{- '<|user|>' + message.content -}}{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}
"""
"""A template whose calls begin with a letter that the small model says by itself."""

ZONE = json.dumps(
    {
        "type": "object",
        "properties": {"zone": {"enum": ["utc", "cet"]}},
        "required": ["zone"],
        "additionalProperties": False,
    }
)
CLOCK, CALENDAR = Tool(name="clock", parameters=ZONE), Tool(name="calendar", parameters=ZONE)


def completing(prompt: str, *, stream: bool = True) -> Generation:
    return Generation(
        work=Completion(prompt=prompt),
        sampling=Sampling(temperature=0.0, max_tokens=8),
        stream=stream,
    )


def likeness(one: Sequence[float], other: Sequence[float]) -> float:
    """The cosine of the angle between two vectors."""
    inner = sum(a * b for a, b in zip(one, other, strict=True))
    return inner / (math.hypot(*one) * math.hypot(*other))


@pytest.fixture
async def embedding(kind: Kind, tmp_path: Path) -> AsyncIterator[Runner]:
    engine = kind.engine(SystemClock(), tmp_path / "run")
    spec = load_spec(kind.embedder(tmp_path), capabilities=frozenset({"embedding"}))
    async with loaded(engine, spec) as runner:
        yield runner


@over_every_engine
async def test_a_text_is_gone_on_with_in_pieces_or_whole(kind: Kind, tmp_path: Path) -> None:
    engine = kind.engine(SystemClock(), tmp_path / "run")
    async with loaded(engine, load_spec(kind.model(tmp_path))) as runner:
        streamed, finish = await answer(runner, completing(PROMPTS[1]))
        whole, _ = await answer(runner, completing(PROMPTS[1], stream=False))
    assert streamed == whole != ""
    assert finish.usage.prompt_tokens
    assert finish.usage.completion_tokens


@over_every_engine
async def test_equal_texts_have_equal_vectors_and_the_order_is_kept(embedding: Runner) -> None:
    texts = ("the soup felt wonderful", "kumub", "the soup felt wonderful")
    made, finish = await embedding.embed(Embedding(inputs=texts))
    alone, _ = await embedding.embed(Embedding(inputs=texts[1:2]))
    first, second, third = made.vectors
    assert likeness(first, third) == pytest.approx(1.0, abs=1e-5)
    assert likeness(second, alone.vectors[0]) == pytest.approx(1.0, abs=1e-5)
    assert likeness(first, second) < 0.999
    assert isinstance(finish, Finish)
    assert finish.usage.prompt_tokens


@over_every_engine
async def test_a_text_longer_than_the_context_cannot_be_embedded(embedding: Runner) -> None:
    with pytest.raises(EngineRefused, match="room for 512") as refused:
        await embedding.embed(Embedding(inputs=("short", "too long " * 6000)))
    assert refused.value.param == "input"
    assert (await embedding.embed(Embedding(inputs=("short",))))[0].vectors


@over_every_engine
async def test_nothing_is_embedded_after_an_unload(embedding: Runner) -> None:
    await embedding.unload()
    with pytest.raises(InstanceLost):
        await embedding.embed(Embedding(inputs=("short",)))


@pytest.mark.parametrize("kind", [STAND_IN, pytest.param(LLAMA, marks=needs_llama)], ids=str)
async def test_vectors_are_not_cut_short(embedding: Runner) -> None:
    made, _ = await embedding.embed(Embedding(inputs=("a",)))
    size = len(made.vectors[0])
    same, _ = await embedding.embed(Embedding(inputs=("a",), dimensions=size))
    assert len(same.vectors[0]) == size
    with pytest.raises(EngineRefused, match=f"have {size} numbers") as refused:
        await embedding.embed(Embedding(inputs=("a",), dimensions=size - 1))
    assert refused.value.param == "dimensions"


async def test_a_scripted_vector_is_cut_short_and_made_whole_again(tmp_path: Path) -> None:
    engine = SCRIPTED.engine(SystemClock(), tmp_path)
    async with loaded(engine, load_spec(SCRIPTED.model(tmp_path))) as runner:
        made, _ = await runner.embed(Embedding(inputs=("a b",), dimensions=4))
    assert len(made.vectors[0]) == 4
    assert math.hypot(*made.vectors[0]) == pytest.approx(1.0)


@needs_llama
@pytest.mark.parametrize("stream", [True, False])
async def test_llama_cpp_gives_the_shape_that_was_asked_for(stream: bool, tmp_path: Path) -> None:
    engine = LLAMA.engine(SystemClock(), tmp_path / "run")
    shape = Shape(schema=ZONE)
    work = Chat(messages=(Message(role="user", content=PROMPTS[0]),), shape=shape)
    request = Generation(work=work, sampling=Sampling(temperature=0.0), stream=stream)
    async with loaded(engine, load_spec(demo_model())) as runner:
        text, _ = await answer(runner, request)
    assert json.loads(text)["zone"] in {"utc", "cet"}


@needs_llama
async def test_llama_cpp_refuses_a_schema_that_it_does_not_know(tmp_path: Path) -> None:
    engine = LLAMA.engine(SystemClock(), tmp_path / "run")
    work = Chat(messages=(Message(role="user", content="hi"),), shape=Shape(schema='{"type":"no"}'))
    async with loaded(engine, load_spec(demo_model())) as runner:
        with pytest.raises(EngineRefused, match="type no"):
            await answer(runner, Generation(work=work))


LARGE = json.dumps({"enum": ["x" * 70_000]})
TOO_LARGE = [
    (Chat(messages=(), shape=Shape(schema=LARGE)), "response_format"),
    (
        Chat(messages=(), tools=Tools(offered=(CLOCK, Tool(name="t", parameters=LARGE)))),
        "tools[1].function.parameters",
    ),
]


@pytest.mark.parametrize(("work", "field"), TOO_LARGE)
async def test_a_schema_that_would_keep_the_model_busy_is_refused(
    work: Chat, field: str, tmp_path: Path
) -> None:
    engine = STAND_IN.engine(SystemClock(), tmp_path / "run")
    async with loaded(engine, load_spec(demo_model())) as runner:
        with pytest.raises(EngineRefused, match="at most 65536") as refused:
            await answer(runner, Generation(work=work))
    assert refused.value.param == field


CHOICES = [
    (Tools(offered=(CLOCK,), choice="required"), "clock"),
    (Tools(offered=(CLOCK, CALENDAR), named="calendar"), "calendar"),
]


@needs_llama
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("tools", "name"), CHOICES)
async def test_llama_cpp_calls_the_tool_that_must_be_called(
    tools: Tools, name: str, stream: bool, tmp_path: Path
) -> None:
    engine = LLAMA.engine(SystemClock(), tmp_path / "run")
    request = Generation(
        work=Chat(messages=(Message(role="user", content=PROMPTS[0]),), tools=tools),
        sampling=Sampling(temperature=0.0, max_tokens=90),
        stream=stream,
    )
    spec = load_spec(demo_model(), options={"chat_template": CALLS})
    async with loaded(engine, spec) as runner:
        pieces = [c async for c in runner.generate(request) if isinstance(c, Called)]
    assert pieces[0].id
    assert {piece.name for piece in pieces} - {None} == {name}
    said = "".join(piece.arguments for piece in pieces if piece.index == 0)
    assert json.loads(said)["zone"] in {"utc", "cet"}


@needs_llama
async def test_a_template_that_cannot_be_read_fails_the_load(tmp_path: Path) -> None:
    engine = LLAMA.engine(SystemClock(), tmp_path / "run")
    with pytest.raises(LoadFailed, match="could not be loaded"):
        await engine.load(load_spec(demo_model(), options={"chat_template": "{% if %}"}))


@needs_llama
async def test_a_very_long_template_is_taken(tmp_path: Path) -> None:
    engine = LLAMA.engine(SystemClock(), tmp_path / "run")
    template = "{# " + "x" * 200_000 + " #}" + CALLS
    async with loaded(engine, load_spec(demo_model(), options={"chat_template": template})) as one:
        assert (await answer(one, asking(PROMPTS[0])))[0]


async def test_a_model_that_writes_makes_no_vectors(tmp_path: Path) -> None:
    engine = STAND_IN.engine(SystemClock(), tmp_path / "run")
    model = saved(tmp_path / "writes.gguf", demo_model().read_bytes())
    async with loaded(engine, load_spec(model)) as runner:
        with pytest.raises(EngineRefused, match="does not make vectors"):
            await runner.embed(Embedding(inputs=("a",)))
