"""Tools, shapes, texts and vectors through the whole house, by the official `openai` client."""

from __future__ import annotations

import json
import math
import struct
from base64 import b64decode
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import openai
import pytest
from openai.types.chat import ChatCompletionFunctionToolParam, ChatCompletionMessageParam
from tests.contract.test_engine_work import CALLS
from tests.standins.embedder import embedder
from tests.story.houses import MODELS, house_with

from arbiter.errors import CannotDo, InvalidField, NothingCapable
from arbiter.house import House
from arbiter.inference import Chat, Completion, Limits, Message, Sampling, Tool, Tools
from arbiter.refs import parse_name

ASKED: list[ChatCompletionMessageParam] = [{"role": "user", "content": "What time is it?"}]
ZONE: dict[str, object] = {
    "type": "object",
    "properties": {"zone": {"enum": ["utc", "cet"]}},
    "required": ["zone"],
    "additionalProperties": False,
}
CLOCK: ChatCompletionFunctionToolParam = {
    "type": "function",
    "function": {"name": "clock", "parameters": ZONE},
}
TOOL_USER = {
    "arbiter_script": 1,
    "name": "butler",
    "capabilities": ["chat", "tools"],
    "rules": [
        {"match": "time", "call": {"name": "clock", "arguments": {"zone": "cet"}}},
        {"match": "^12:00$", "reply": "It is noon."},
    ],
}


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """A model that writes, one that makes vectors, and a script that calls a tool."""
    (tmp_path / "ferret.gguf").write_bytes(embedder((MODELS / "owl.gguf").read_bytes()))
    (tmp_path / "butler.json").write_text(json.dumps(TOOL_USER), encoding="utf-8")
    async with house_with(tmp_path / "data", ["sparrow"], ["sum"]) as house:
        await house.add(tmp_path / "ferret.gguf", "ferret")
        await house.add(tmp_path / "butler.json", "butler")
        yield house


@pytest.fixture
async def client(house: House) -> AsyncIterator[openai.AsyncOpenAI]:
    async with (
        house.door() as address,
        openai.AsyncOpenAI(base_url=f"{address.url}/v1", api_key="unused", max_retries=0) as client,
    ):
        yield client


def likeness(one: Sequence[float], other: Sequence[float]) -> float:
    inner = sum(a * b for a, b in zip(one, other, strict=True))
    return inner / (math.hypot(*one) * math.hypot(*other))


# Tools


@pytest.mark.parametrize("model", ["auto", "butler"])
async def test_a_tool_is_called_its_result_is_taken_and_an_answer_comes(
    client: openai.AsyncOpenAI, model: str
) -> None:
    first = await client.chat.completions.create(model=model, messages=ASKED, tools=[CLOCK])
    said = first.choices[0].message
    assert first.choices[0].finish_reason == "tool_calls"
    assert said.tool_calls is not None
    call = said.tool_calls[0]
    assert call.type == "function"
    assert json.loads(call.function.arguments) == {"zone": "cet"}
    second = await client.chat.completions.create(
        model=model,
        messages=[
            *ASKED,
            said.model_dump(exclude_none=True),  # type: ignore[list-item]  # as the client's guide does
            {"role": "tool", "tool_call_id": call.id, "content": "12:00"},
        ],
        tools=[CLOCK],
    )
    assert second.choices[0].message.content == "It is noon."


async def test_a_streamed_call_is_the_same_call(client: openai.AsyncOpenAI) -> None:
    async with client.chat.completions.stream(
        model="butler", messages=ASKED, tools=[CLOCK]
    ) as stream:
        final = await stream.get_final_completion()
    calls = final.choices[0].message.tool_calls or []
    assert [(c.function.name, c.function.arguments) for c in calls] == [("clock", '{"zone":"cet"}')]


async def test_a_model_without_tools_that_is_named_is_refused_before_it_is_asked(
    client: openai.AsyncOpenAI,
) -> None:
    with pytest.raises(openai.BadRequestError, match="sparrow cannot do tools") as caught:
        await client.chat.completions.create(model="sparrow", messages=ASKED, tools=[CLOCK])
    assert (caught.value.code, caught.value.param) == ("cannot_do", "model")


async def test_a_real_model_with_a_template_for_tools_calls_one(
    house: House, client: openai.AsyncOpenAI
) -> None:
    await house.admission.register(
        MODELS / "sparrow.gguf", parse_name("caller"), options={"chat_template": CALLS}
    )
    answer = await client.chat.completions.create(
        model="caller",
        messages=[{"role": "user", "content": "Add 29 and 27"}],
        tools=[CLOCK],
        tool_choice="required",
        temperature=0,
        max_tokens=90,
    )
    calls = answer.choices[0].message.tool_calls or []
    assert calls[0].type == "function"
    assert calls[0].function.name == "clock"
    assert json.loads(calls[0].function.arguments)["zone"] in {"utc", "cet"}


# Shapes


@pytest.mark.parametrize("model", ["auto", "sparrow"])
async def test_a_real_model_answers_in_the_shape_that_was_asked_for(
    client: openai.AsyncOpenAI, model: str
) -> None:
    answer = await client.chat.completions.create(
        model=model,
        messages=ASKED,
        temperature=0,
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "zone", "schema": ZONE, "strict": True},
        },
    )
    said = json.loads(answer.choices[0].message.content or "")
    assert said.keys() == {"zone"}
    assert said["zone"] in {"utc", "cet"}


async def test_a_schema_that_nobody_knows_is_the_clients_own_exception(
    client: openai.AsyncOpenAI,
) -> None:
    with pytest.raises(openai.BadRequestError, match="type no"):
        await client.chat.completions.create(
            model="sparrow",
            messages=ASKED,
            response_format={
                "type": "json_schema",
                "json_schema": {"name": "a", "schema": {"type": "no"}},
            },
        )


async def test_what_each_can_do_is_on_its_card(client: openai.AsyncOpenAI) -> None:
    cards = {model.id: model.model_dump()["capabilities"] async for model in client.models.list()}
    assert cards == {
        # what any of them can do
        "auto": ["chat", "completion", "embedding", "json", "tools"],
        "butler": ["chat", "tools"],
        "ferret": ["embedding"],
        "sparrow": ["chat", "completion", "json"],
    }


# Texts


async def test_a_text_goes_on_streamed_as_whole(client: openai.AsyncOpenAI) -> None:
    whole = await client.completions.create(
        model="sparrow", prompt="Mood of this: the soup", max_tokens=6, temperature=0
    )
    stream = await client.completions.create(
        model="auto", prompt="Mood of this: the soup", max_tokens=6, temperature=0, stream=True
    )
    assert "".join([c.choices[0].text async for c in stream]) == whole.choices[0].text != ""
    assert whole.choices[0].finish_reason == "length"
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 6


async def test_a_text_with_a_gap_needs_a_model_that_fills_it(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="sparrow cannot do insert"):
        await client.completions.create(model="sparrow", prompt="a", suffix="b")
    with pytest.raises(openai.UnprocessableEntityError, match="cannot do insert"):
        await client.completions.create(model="auto", prompt="a", suffix="b")


# Vectors


@pytest.mark.parametrize("encoding", ["float", "base64"])
async def test_equal_texts_have_equal_vectors_in_the_order_of_the_texts(
    client: openai.AsyncOpenAI, encoding: str
) -> None:
    texts = ["the soup felt wonderful", "kumub", "the soup felt wonderful"]
    raw = await client.embeddings.with_raw_response.create(
        model="auto",
        input=texts,
        encoding_format=encoding,  # type: ignore[arg-type]  # a literal of the table above
    )
    alone = await client.embeddings.create(model="ferret", input="kumub")
    made = raw.parse()
    first, second, third = [_numbers(one.embedding) for one in made.data]
    assert raw.headers["x-arbiter-alias"] == "ferret"
    assert likeness(first, third) == pytest.approx(1.0, abs=1e-5)
    assert likeness(second, alone.data[0].embedding) == pytest.approx(1.0, abs=1e-5)
    assert likeness(first, second) < 0.999
    assert made.usage.prompt_tokens == made.usage.total_tokens > 0


def _numbers(packed: Sequence[float] | str) -> list[float]:
    """The client leaves base64 alone when it was asked for by name."""
    if not isinstance(packed, str):
        return list(packed)
    data = b64decode(packed)
    return list(struct.unpack(f"<{len(data) // 4}f", data))


async def test_who_cannot_make_vectors_or_write_is_refused(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="sparrow cannot do embedding"):
        await client.embeddings.create(model="sparrow", input="a")
    with pytest.raises(openai.BadRequestError, match="ferret cannot do chat"):
        await client.chat.completions.create(model="ferret", messages=ASKED)
    with pytest.raises(openai.BadRequestError, match="Leave dimensions out"):
        await client.embeddings.create(model="ferret", input="a", dimensions=3)


# From Python, and what the house does by itself


async def test_vectors_come_with_the_decision_that_led_to_them(house: House) -> None:
    made = await house.embed(["a", "b"])
    assert len(made.vectors) == 2
    assert made.reply.decided.alias == "ferret"
    assert (await house.embed("a")).vectors[0] == pytest.approx(made.vectors[0], abs=1e-5)
    with pytest.raises(InvalidField, match="empty text"):
        await house.embed(["a", ""])


async def test_any_work_can_be_asked_for_from_python(house: House) -> None:
    asked = (Message(role="user", content="What time is it?"),)
    tools = Tools(offered=(Tool(name="clock"),))
    answered = await house.ask(Chat(messages=asked, tools=tools))
    assert [(call.name, call.arguments) for call in answered.calls] == [("clock", '{"zone":"cet"}')]
    text = await house.ask(Completion(prompt="Mood"), sampling=Sampling(max_tokens=3))
    assert text.text
    with pytest.raises(CannotDo, match="butler cannot do insert"):
        await house.ask(Completion(prompt="Mood", suffix="x"), model="butler")
    with pytest.raises(NothingCapable, match="sparrow: cannot do tools"):
        await house.ask("hi", limits=_both())


async def test_tools_that_may_not_be_called_need_no_model_that_knows_tools(house: House) -> None:
    asked = (Message(role="user", content="hi"),)
    tools = Tools(offered=(Tool(name="clock"),), choice="none")
    answered = await house.ask(Chat(messages=asked, tools=tools), model="sparrow")
    assert (answered.calls, bool(answered.text)) == ((), True)


def _both() -> Limits:
    return Limits(needs=frozenset({"json", "tools"}))


async def test_a_version_that_cannot_chat_is_not_run_on_cases(house: House) -> None:
    ferret = house.registry.resolve(parse_name("ferret"))
    sparrow = house.registry.resolve(parse_name("sparrow"))
    task = house.tasks.all()[0].name
    assert house.profiles.get(ferret.version, task).samples == 0
    assert house.profiles.get(sparrow.version, task).samples > 0
