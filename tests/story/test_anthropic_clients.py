"""Anthropic's own client at the door of a house that serves real models."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anthropic
import pytest
from tests.contract.test_engine_work import CALLS
from tests.story.houses import MODELS, house_with

from arbiter.house import House
from arbiter.refs import parse_name

ASKED: Any = [{"role": "user", "content": "Review: the soup was lovely."}]
COOL = {"temperature": 0}
CLOCK: Any = {
    "name": "clock",
    "input_schema": {
        "type": "object",
        "properties": {"zone": {"enum": ["utc", "cet"]}},
        "required": ["zone"],
        "additionalProperties": False,
    },
}
BUTLER = {
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
    (tmp_path / "butler.json").write_text(json.dumps(BUTLER), encoding="utf-8")
    async with house_with(tmp_path / "data", ["sparrow"], ["sentiment"]) as house:
        await house.add(tmp_path / "butler.json", "butler")
        await house.admission.register(
            MODELS / "sparrow.gguf", parse_name("caller"), options={"chat_template": CALLS}
        )
        yield house


@pytest.fixture
async def client(house: House) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with (
        house.door() as address,
        anthropic.AsyncAnthropic(base_url=address.url, api_key="unused", max_retries=0) as client,
    ):
        yield client


async def test_an_answer_comes_with_who_gave_it_and_why(
    client: anthropic.AsyncAnthropic, house: House
) -> None:
    raw = await client.messages.with_raw_response.create(
        model="task:sentiment", messages=ASKED, max_tokens=20, extra_body=COOL
    )
    answer = await raw.parse()
    assert answer.content[0].type == "text"
    assert answer.content[0].text == "positive"
    assert answer.stop_reason == "end_turn"
    record = await house.record(raw.headers["x-arbiter-decision"])
    assert record.outcome is not None
    assert record.outcome.usage.completion_tokens == answer.usage.output_tokens


async def test_a_stream_says_the_same(client: anthropic.AsyncAnthropic) -> None:
    async with client.messages.stream(
        model="sparrow", messages=ASKED, max_tokens=20, extra_body=COOL
    ) as stream:
        text = "".join([piece async for piece in stream.text_stream])
        final = await stream.get_final_message()
    assert text == "positive"
    assert final.usage.output_tokens
    cut = await client.messages.create(model="sparrow", messages=ASKED, max_tokens=1)
    assert cut.stop_reason in {"max_tokens", "end_turn"}


async def test_tokens_are_counted_by_the_model_that_would_answer(
    client: anthropic.AsyncAnthropic,
) -> None:
    counted = await client.messages.count_tokens(model="sparrow", messages=ASKED, system="Be kind.")
    answer = await client.messages.create(
        model="sparrow", messages=ASKED, system="Be kind.", max_tokens=1
    )
    read = answer.usage.input_tokens + (answer.usage.cache_read_input_tokens or 0)
    assert counted.input_tokens == read
    more = await client.messages.count_tokens(model="butler", messages=ASKED, tools=[CLOCK])
    assert more.input_tokens > 0


async def test_a_tool_is_called_and_its_result_is_answered(
    client: anthropic.AsyncAnthropic,
) -> None:
    asked: Any = [{"role": "user", "content": "What time is it?"}]
    first = await client.messages.create(
        model="butler", messages=asked, tools=[CLOCK], max_tokens=50
    )
    assert first.stop_reason == "tool_use"
    call = first.content[-1]
    assert call.type == "tool_use"
    assert (call.name, call.input) == ("clock", {"zone": "cet"})
    result: Any = {"type": "tool_result", "tool_use_id": call.id, "content": "12:00"}
    second = await client.messages.create(
        model="butler",
        messages=[
            *asked,
            {"role": "assistant", "content": first.content},
            {"role": "user", "content": [result]},
        ],
        tools=[CLOCK],
        max_tokens=50,
    )
    assert second.content[0].type == "text"
    assert second.content[0].text == "It is noon."


async def test_llama_cpp_is_made_to_call_the_tool_that_is_named(
    client: anthropic.AsyncAnthropic,
) -> None:
    async with client.messages.stream(
        model="caller",
        messages=[{"role": "user", "content": "Add 29 and 27"}],
        tools=[CLOCK],
        tool_choice={"type": "tool", "name": "clock"},
        max_tokens=90,
        extra_body=COOL,
    ) as stream:
        final = await stream.get_final_message()
    calls: list[Any] = [block for block in final.content if block.type == "tool_use"]
    assert {call.name for call in calls} == {"clock"}
    assert calls[0].input["zone"] in {"utc", "cet"}


async def test_what_a_model_cannot_do_is_refused_clearly(client: anthropic.AsyncAnthropic) -> None:
    picture = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgoAAAAN"}
    seen: Any = [{"role": "user", "content": [{"type": "image", "source": picture}]}]
    with pytest.raises(anthropic.BadRequestError, match="sparrow cannot do vision"):
        await client.messages.create(model="sparrow", messages=seen, max_tokens=9)
    with pytest.raises(anthropic.NotFoundError, match="Known: butler, caller, sparrow"):
        await client.messages.create(model="ghost", messages=ASKED, max_tokens=9)
    long: Any = [{"role": "user", "content": "word " * 300}]
    with pytest.raises(anthropic.BadRequestError, match="tokens"):
        await client.messages.create(model="sparrow", messages=long, max_tokens=9)


async def test_a_prompt_that_is_too_long_says_so_in_anthropics_words_and_by_how_much(
    client: anthropic.AsyncAnthropic,
) -> None:
    long: Any = [{"role": "user", "content": "word " * 40_000}]
    for model in ("auto", "sparrow"):
        with pytest.raises(
            anthropic.BadRequestError,
            match=r"prompt is too long: [0-9]{5,6} tokens > [0-9]+ maximum",
        ):
            await client.messages.create(model=model, messages=long, max_tokens=9)
