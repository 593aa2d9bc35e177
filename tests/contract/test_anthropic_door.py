"""The Anthropic door: the official client, and the bytes that it receives."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anthropic
import pytest
from tests.contract.anthropic_door_support import COUNT, MESSAGES, PATH, TOOL, body
from tests.contract.door_support import (
    DECISION,
    FINISH,
    ScriptedHouse,
    at_the_door,
    post,
)

from arbiter.errors import (
    Busy,
    EngineError,
    LoadFailed,
    NothingCapable,
    StreamCut,
    TooLarge,
    UnknownModel,
)
from arbiter.inference import (
    Called,
    Delta,
    Finish,
    FinishReason,
    Thought,
    Usage,
)

CALLS = (
    Thought(text="hm"),
    Delta(text="so"),
    Called(index=0, id="c1", name="clock", arguments='{"zone":'),
    Called(index=0, arguments='"UTC"}'),
    Called(index=1, name="clock"),
    Finish(reason=FinishReason.STOP, usage=Usage(prompt_tokens=7, completion_tokens=2)),
)


@asynccontextmanager
async def client_of(house: ScriptedHouse) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with (
        at_the_door(house) as address,
        anthropic.AsyncAnthropic(base_url=address.url, api_key="unused", max_retries=0) as client,
    ):
        yield client


# The official client


async def test_the_official_client_gets_an_answer() -> None:
    async with client_of(ScriptedHouse()) as client:
        answer = await client.messages.create(model="tiny", messages=MESSAGES, max_tokens=9)
    assert answer.content[0].type == "text"
    assert answer.content[0].text == 'Hello "you"\n'
    assert answer.stop_reason == "end_turn"
    assert answer.usage.input_tokens == 4
    assert answer.usage.cache_read_input_tokens == 3
    assert answer.usage.output_tokens == 2


async def test_the_official_client_puts_a_stream_together() -> None:
    async with (
        client_of(ScriptedHouse(script=CALLS)) as client,
        client.messages.stream(
            model="tiny", messages=MESSAGES, max_tokens=9, tools=[TOOL]
        ) as stream,
    ):
        text = [piece async for piece in stream.text_stream]
        answer = await stream.get_final_message()
    assert text == ["so"]
    assert [block.type for block in answer.content] == ["thinking", "text", "tool_use", "tool_use"]
    thought, said, call, bare = answer.content
    assert thought.type == "thinking"
    assert thought.thinking == "hm"
    assert said.type == "text"
    assert said.text == "so"
    assert call.type == "tool_use"
    assert (call.id, call.name, call.input) == ("c1", "clock", {"zone": "UTC"})
    assert bare.type == "tool_use"
    assert (bare.id, bare.input) == (f"call_{DECISION}_1", {})
    assert answer.stop_reason == "tool_use"
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (7, 2)


async def test_the_official_client_gets_the_same_in_one_piece() -> None:
    async with client_of(ScriptedHouse(script=CALLS)) as client:
        answer = await client.messages.create(
            model="tiny", messages=MESSAGES, max_tokens=9, tools=[TOOL]
        )
    assert [block.type for block in answer.content] == ["thinking", "text", "tool_use", "tool_use"]
    assert answer.stop_reason == "tool_use"


async def test_the_official_client_counts_tokens_and_nothing_is_kept_of_it() -> None:
    house = ScriptedHouse(script=(FINISH,))
    async with client_of(house) as client:
        answer = await client.messages.count_tokens(model="tiny", messages=MESSAGES, tools=[TOOL])
    assert answer.input_tokens == 7
    assert (house.asks[0].counts, house.asks[0].rehearsal) == (True, True)


async def test_the_official_client_lists_models() -> None:
    async with client_of(ScriptedHouse()) as client:
        listed = [model async for model in client.models.list()]
        one = await client.models.retrieve("org/tiny:1b")
    assert [(m.id, m.type, m.display_name) for m in listed] == [
        ("org/tiny:1b", "model", "org/tiny:1b")
    ]
    assert one.created_at.year == 2026


ERRORS = [
    (
        UnknownModel("No model is called x.", param="model"),
        anthropic.NotFoundError,
        "not_found_error",
    ),
    (NothingCapable(), anthropic.UnprocessableEntityError, "invalid_request_error"),
    (Busy(retry_after_s=3), anthropic.RateLimitError, "rate_limit_error"),
    (LoadFailed("/secret"), anthropic.InternalServerError, "overloaded_error"),
    (EngineError("/secret"), anthropic.InternalServerError, "api_error"),
    (TooLarge(), anthropic.APIStatusError, "request_too_large"),
    (RuntimeError("/secret"), anthropic.InternalServerError, "api_error"),
]  # fmt: skip


@pytest.mark.parametrize(("failure", "raised", "kind"), ERRORS)
async def test_an_error_before_the_answer_is_the_clients_own_exception(
    failure: Exception, raised: type[anthropic.APIStatusError], kind: str
) -> None:
    async with client_of(ScriptedHouse(fails_at=-1, failure=failure)) as client:
        with pytest.raises(raised) as caught:
            await client.messages.create(model="x", messages=MESSAGES, max_tokens=9)
    told: Any = caught.value.body
    assert told["type"] == "error"
    assert told["error"]["type"] == kind
    assert "secret" not in caught.value.message


async def test_an_error_within_a_stream_is_raised_by_the_client() -> None:
    async with client_of(ScriptedHouse(fails_at=1, failure=StreamCut())) as client:
        stream = await client.messages.create(
            model="x", messages=MESSAGES, max_tokens=9, stream=True
        )
        with pytest.raises(anthropic.APIStatusError, match="died in the middle"):
            [event async for event in stream]


async def test_arguments_that_are_no_object_are_an_error_and_not_made_up() -> None:
    script = (Called(index=0, id="c", name="clock", arguments="[1"), FINISH)
    async with client_of(ScriptedHouse(script=script)) as client:
        with pytest.raises(anthropic.InternalServerError):
            await client.messages.create(model="x", messages=MESSAGES, max_tokens=9)


# Bytes


async def test_an_answer_is_these_bytes() -> None:
    async with at_the_door(ScriptedHouse()) as address:
        answer = await post(address, body(), path=PATH)
    assert answer.body == (
        b'{"id":"msg_' + DECISION.encode() + b'","type":"message","role":"assistant",'
        b'"model":"tiny","content":[{"type":"text","text":"Hello \\"you\\"\\n"}],'
        b'"stop_reason":"end_turn","stop_sequence":null,'
        b'"usage":{"input_tokens":4,"cache_read_input_tokens":3,"output_tokens":2}}'
    )
    assert answer.headers["x-arbiter-decision"] == DECISION


async def test_a_stream_is_these_events_in_this_order() -> None:
    async with at_the_door(ScriptedHouse(script=CALLS)) as address:
        answer = await post(address, body(stream=True), path=PATH)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["x-arbiter-decision"] == DECISION
    told = [line.removeprefix("data: ") for line in answer.text.split("\n") if line[:5] == "data:"]
    assert told == [
        '{"type":"message_start","message":{"id":"msg_' + DECISION + '","type":"message",'
        '"role":"assistant","model":"tiny","content":[],"stop_reason":null,"stop_sequence":null,'
        '"usage":{"input_tokens":0,"output_tokens":0}}}',
        (
            '{"type":"content_block_start","index":0,'
            '"content_block":{"type":"thinking","thinking":"","signature":""}}'
        ),
        '{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}',
        '{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":""}}',
        '{"type":"content_block_stop","index":0}',
        '{"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}',
        '{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"so"}}',
        '{"type":"content_block_stop","index":1}',
        (
            '{"type":"content_block_start","index":2,'
            '"content_block":{"type":"tool_use","id":"c1","name":"clock","input":{}}}'
        ),
        (
            '{"type":"content_block_delta","index":2,'
            '"delta":{"type":"input_json_delta","partial_json":"{\\"zone\\":"}}'
        ),
        (
            '{"type":"content_block_delta","index":2,'
            '"delta":{"type":"input_json_delta","partial_json":"\\"UTC\\"}"}}'
        ),
        '{"type":"content_block_stop","index":2}',
        '{"type":"content_block_start","index":3,"content_block":{"type":"tool_use",'
        '"id":"call_' + DECISION + '_1","name":"clock","input":{}}}',
        '{"type":"content_block_stop","index":3}',
        (
            '{"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},'
            '"usage":{"input_tokens":7,"output_tokens":2}}'
        ),
        '{"type":"message_stop"}',
    ]
    kinds = [json.loads(one)["type"] for one in told]
    assert [line[7:] for line in answer.text.split("\n") if line[:6] == "event:"] == kinds


async def test_a_stream_that_breaks_off_ends_with_an_event_that_says_so() -> None:
    async with at_the_door(ScriptedHouse(fails_at=1, failure=StreamCut())) as address:
        answer = await post(address, body(stream=True), path=PATH)
    assert answer.text.endswith(
        'event: error\ndata: {"type":"error","error":{"type":"api_error",'
        '"message":"The engine died in the middle of its answer."},'
        '"request_id":"' + DECISION + '","arbiter":{"code":"stream_cut","ours":false,'
        '"decision":"' + DECISION + '"}}\n\n'
    )


async def test_an_answer_with_nothing_in_it_still_begins_and_ends() -> None:
    async with at_the_door(ScriptedHouse(script=(FINISH,))) as address:
        answer = await post(address, body(stream=True), path=PATH)
    kinds = [line[7:] for line in answer.text.split("\n") if line[:6] == "event:"]
    assert kinds == ["message_start", "message_delta", "message_stop"]


async def test_tokens_that_nobody_counted_are_not_made_up() -> None:
    house = ScriptedHouse(script=(Delta(text="hi"), Finish(reason=FinishReason.LENGTH)))
    async with at_the_door(house) as address:
        whole = json.loads((await post(address, body(), path=PATH)).body)
        counting = await post(address, body(), path=COUNT)
    assert whole["usage"] == {"input_tokens": None, "output_tokens": None}
    assert whole["stop_reason"] == "max_tokens"
    assert counting.status == 502
