"""/v1/responses, spoken to by OpenAI's own client and byte by byte."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.contract.door_support import (
    DECISION,
    FINISH,
    ScriptedHouse,
    at_the_door,
    post,
)

from arbiter.errors import StreamCut, UnknownModel
from arbiter.inference import (
    Called,
    Chat,
    Delta,
    Finish,
    FinishReason,
    Media,
    Message,
    Odds,
    Sampling,
    Shape,
    Thought,
    Tool,
    ToolCall,
    Tools,
)

PATH = "/v1/responses"
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ"
CLOCK: Any = {"type": "function", "name": "clock", "parameters": {"type": "object"}}
CALLS = (
    Thought(text="hm"),
    Delta(text="so"),
    Called(index=0, id="c1", name="clock", arguments='{"zone":'),
    Called(index=0, arguments='"UTC"}'),
    Called(index=1, name="clock"),
    FINISH,
)


@asynccontextmanager
async def client_of(house: ScriptedHouse) -> AsyncIterator[openai.AsyncOpenAI]:
    async with (
        at_the_door(house) as address,
        openai.AsyncOpenAI(base_url=f"{address.url}/v1", api_key="unused", max_retries=0) as client,
    ):
        yield client


def body(**fields: object) -> bytes:
    return json.dumps({"model": "tiny", "input": "hi", **fields}).encode()


async def asked(**fields: object) -> Any:
    """What the house is asked by a request with these fields."""
    house = ScriptedHouse()
    async with at_the_door(house) as address:
        answer = await post(address, body(**fields), path=PATH)
        assert answer.status == 200, answer.text
    return house.asks[0]


async def test_the_official_client_gets_an_answer() -> None:
    async with client_of(ScriptedHouse()) as client:
        answer = await client.responses.create(model="tiny", input="hi")
    assert answer.output_text == 'Hello "you"\n'
    assert answer.status == "completed"
    assert answer.usage is not None
    assert answer.usage.total_tokens == 9
    assert answer.usage.input_tokens_details.cached_tokens == 3


async def test_the_official_client_gets_thoughts_text_and_calls() -> None:
    async with client_of(ScriptedHouse(script=CALLS)) as client:
        answer = await client.responses.create(model="tiny", input="hi", tools=[CLOCK])
    thought, message, call, bare = answer.output
    assert thought.type == "reasoning"
    assert thought.content is not None
    assert thought.content[0].text == "hm"
    assert message.type == "message"
    assert call.type == "function_call"
    assert (call.call_id, call.name, call.arguments) == ("c1", "clock", '{"zone":"UTC"}')
    assert bare.type == "function_call"
    assert (bare.call_id, bare.arguments) == (f"call_{DECISION}_1", "{}")


async def test_the_official_client_puts_a_stream_together() -> None:
    async with (
        client_of(ScriptedHouse(script=CALLS)) as client,
        client.responses.stream(model="tiny", input="hi", tools=[CLOCK]) as stream,
    ):
        events = [event async for event in stream]
        final = await stream.get_final_response()
    assert final.output_text == "so"
    assert [item.type for item in final.output] == [
        "reasoning",
        "message",
        "function_call",
        "function_call",
    ]
    numbers = [event.sequence_number for event in events]
    assert numbers == sorted(set(numbers))


async def test_an_answer_that_is_cut_off_is_incomplete() -> None:
    script = (Delta(text="hi"), Finish(reason=FinishReason.LENGTH))
    async with client_of(ScriptedHouse(script=script)) as client:
        answer = await client.responses.create(model="tiny", input="hi", max_output_tokens=1)
        stream = await client.responses.create(model="tiny", input="hi", stream=True)
        events = [event async for event in stream]
    assert answer.status == "incomplete"
    assert answer.incomplete_details is not None
    assert answer.incomplete_details.reason == "max_output_tokens"
    assert answer.usage is None
    assert events[-1].type == "response.incomplete"


async def test_errors_are_the_clients_own_exceptions() -> None:
    async with client_of(ScriptedHouse(fails_at=-1, failure=UnknownModel())) as client:
        with pytest.raises(openai.NotFoundError):
            await client.responses.create(model="x", input="hi")
    async with client_of(ScriptedHouse(fails_at=1, failure=StreamCut())) as client:
        stream = await client.responses.create(model="x", input="hi", stream=True)
        with pytest.raises(openai.APIError, match="died in the middle"):
            [event async for event in stream]


async def test_a_stream_is_these_events_in_this_order() -> None:
    async with at_the_door(ScriptedHouse(script=CALLS)) as address:
        answer = await post(address, body(stream=True), path=PATH)
    assert answer.headers["x-arbiter-decision"] == DECISION
    events = [json.loads(x[6:]) for x in answer.text.split("\n") if x.startswith("data: ")]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"].removeprefix("response.") for event in events] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "reasoning_text.delta",
        "reasoning_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    names = [x[7:] for x in answer.text.split("\n") if x.startswith("event: ")]
    assert names == [event["type"] for event in events]


async def test_a_piece_of_text_is_these_bytes() -> None:
    async with at_the_door(ScriptedHouse(script=(Delta(text="hi"), FINISH))) as address:
        answer = await post(address, body(stream=True), path=PATH)
    item = f"msg_{DECISION}_0"
    assert (
        'event: response.output_text.delta\ndata: {"type":"response.output_text.delta",'
        f'"sequence_number":4,"item_id":"{item}","output_index":0,"content_index":0,'
        '"delta":"hi","logprobs":[]}\n\n'
    ) in answer.text


async def test_a_whole_answer_is_these_bytes() -> None:
    async with at_the_door(ScriptedHouse(script=(Delta(text="hi"), FINISH))) as address:
        answer = await post(address, body(), path=PATH)
    assert answer.text == (
        f'{{"id":"resp_{DECISION}","object":"response","created_at":1767225600,'
        '"status":"completed","error":null,"incomplete_details":null,"instructions":null,'
        '"max_output_tokens":null,"metadata":{},"model":"tiny",'
        f'"output":[{{"id":"msg_{DECISION}_0","type":"message","status":"completed",'
        '"role":"assistant","content":[{"type":"output_text","text":"hi","annotations":[],'
        '"logprobs":[]}]}],"parallel_tool_calls":true,"previous_response_id":null,'
        '"reasoning":null,"store":false,"temperature":null,"text":{"format":{"type":"text"}},'
        '"tool_choice":"auto","tools":[],"top_p":null,"truncation":"disabled",'
        '"usage":{"input_tokens":7,"input_tokens_details":{"cached_tokens":3},'
        '"output_tokens":2,"total_tokens":9},"user":null}'
    )


async def test_half_a_surrogate_pair_does_not_break_the_answer() -> None:
    script = (Delta(text="a\ud800b"), Called(index=0, id="c", name="f", arguments="\ud800"), FINISH)
    async with at_the_door(ScriptedHouse(script=script)) as address:
        whole = await post(address, body(), path=PATH)
        stream = await post(address, body(stream=True), path=PATH)
    assert '"a?b"' in whole.text
    assert '"a?b"' in stream.text


async def test_the_odds_of_tokens_are_told_when_they_are_asked_for() -> None:
    odds = (Odds(token="hi", logprob=-0.5, others=(Odds(token="ho", logprob=-2),)),)
    house = ScriptedHouse(script=(Delta(text="hi", odds=odds), FINISH))
    async with client_of(house) as client:
        answer = await client.responses.create(
            model="tiny", input="hi", top_logprobs=1, include=["message.output_text.logprobs"]
        )
    message = answer.output[0]
    assert message.type == "message"
    assert message.content[0].type == "output_text"
    assert message.content[0].logprobs is not None
    assert message.content[0].logprobs[0].top_logprobs[0].token == "ho"
    assert house.asks[0].sampling.odds == 1


async def test_a_whole_conversation_reaches_the_house() -> None:
    ask = await asked(
        instructions="be kind",
        input=[
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "look"},
                    {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"},
                ],
            },
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
            {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "so"}],
            },
            {"type": "function_call", "call_id": "c1", "name": "clock", "arguments": "{}"},
            {"type": "function_call", "call_id": "c2", "name": "clock", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c2", "output": "one"},
            {
                "type": "function_call_output",
                "call_id": "c1",
                "output": [{"type": "input_text", "text": "noon"}],
            },
            {"role": "developer", "content": "be brief"},
            {"role": "user", "content": "and?"},
        ],
        tools=[CLOCK],
        tool_choice={"type": "function", "name": "clock"},
        parallel_tool_calls=False,
        text={"format": {"type": "json_schema", "name": "a", "schema": {"a": 1}}},
        reasoning={"effort": "minimal"},
    )  # fmt: skip
    assert ask.work.messages == (
        Message(role="system", content="be kind"),
        Message(
            role="user",
            content="look",
            parts=("look", Media(kind="image", format="png", data=PNG)),
        ),
        Message(
            role="assistant",
            content="so",
            thought="hm",
            calls=(
                ToolCall(id="c1", name="clock", arguments="{}"),
                ToolCall(id="c2", name="clock", arguments="{}"),
            ),
        ),
        Message(role="tool", content="one", answers="c2", name="clock"),
        Message(role="tool", content="noon", answers="c1", name="clock"),
        Message(role="system", content="be brief"),
        Message(role="user", content="and?"),
    )
    assert ask.work.tools == Tools(
        offered=(Tool(name="clock", parameters='{"type":"object"}'),),
        choice="required",
        named="clock",
        parallel=False,
    )
    assert ask.work.shape == Shape(schema='{"a":1}', name="a")
    assert ask.work.effort == "minimal"


async def test_instructions_and_a_developers_first_words_are_one_message() -> None:
    """Many chat templates refuse a second one; clients that write programs send both."""
    said = [
        {"role": "developer", "content": "Use tools."},
        {"role": "user", "content": "hi"},
        {"role": "developer", "content": "Be quick."},
    ]
    ask = await asked(instructions="Be kind.", input=said)
    assert ask.work.messages == (
        Message(role="system", content="Be kind.\n\nUse tools."),
        Message(role="user", content="hi"),
        Message(role="system", content="Be quick."),
    )


async def test_how_to_answer_reaches_the_house() -> None:
    ask = await asked(
        temperature=0.5,
        top_p=0.9,
        max_output_tokens=9,
        metadata={"task": "triage"},
        user="u",
        store=True,
        truncation="auto",
        include=["reasoning.encrypted_content"],
        prompt_cache_key="k",
    )
    assert ask.sampling == Sampling(temperature=0.5, top_p=0.9, max_tokens=9)
    assert (ask.task, ask.conversation) == ("triage", "u")


async def test_tools_that_others_run_are_left_out_and_the_response_says_which_were_offered() -> (
    None
):
    house = ScriptedHouse()
    sent = [{"type": "web_search", "external_web_access": False}, CLOCK]
    sent += [{"type": "namespace", "name": "files", "tools": [CLOCK]}]
    async with at_the_door(house) as address:
        answer = await post(address, body(tools=sent), path=PATH)
        alone = await post(address, body(tools=[{"type": "web_search"}]), path=PATH)
    assert [answer.status, alone.status] == [200, 200]
    with_clock, without = (ask.work for ask in house.asks)
    assert isinstance(with_clock, Chat)
    assert isinstance(without, Chat)
    assert with_clock.tools is not None
    assert [one.name for one in with_clock.tools.offered] == ["clock"]
    assert without.tools is None
    assert json.loads(answer.body)["tools"] == [CLOCK]
    assert json.loads(alone.body)["tools"] == []


def said(*parts: object) -> dict[str, object]:
    return {"input": [{"role": "user", "content": list(parts)}]}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": []}, "input"),
        ({"input": None}, "input"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "c"}, "conversation"),
        ({"background": True}, "background"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"content": "x"}]}, "input[0].role"),
        (
            {"input": [{"type": "function_call_output", "call_id": "x", "output": ""}]},
            "input[0].call_id",
        ),
        ({"input": [{"type": "function_call", "call_id": "x", "name": "a b"}]}, "input[0].name"),
        (said({"type": "input_file"}), "input[0].content[0].type"),
        (
            said({"type": "input_image", "image_url": "http://x"}),
            "input[0].content[0].image_url",
        ),
        ({"tools": [{"type": "gadget"}]}, "tools[0].type"),
        ({"tools": [{"type": "web_search"}, {"type": "gadget"}]}, "tools[1].type"),
        ({"tools": [{"type": "web_search"}, CLOCK, CLOCK]}, "tools[2].name"),
        ({"tools": [{"type": "web_search"}], "tool_choice": "required"}, "tool_choice"),
        ({"tools": [CLOCK], "tool_choice": {"type": "web_search"}}, "tool_choice.type"),
        ({"tools": [{"type": "function"}]}, "tools[0]"),
        ({"tools": [CLOCK, CLOCK]}, "tools[1].name"),
        ({"tools": [CLOCK], "tool_choice": {"type": "function", "name": "x"}}, "tool_choice.name"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format"),
        ({"reasoning": {"effort": "much"}}, "reasoning.effort"),
        ({"temperature": 3}, "temperature"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"top_logprobs": 30}, "top_logprobs"),
    ],
)  # fmt: skip
async def test_a_mistake_is_refused_and_names_its_field(
    fields: dict[str, object], param: str
) -> None:
    async with at_the_door(ScriptedHouse()) as address:
        answer = await post(address, body(**fields), path=PATH)
    assert answer.status == 400
    assert json.loads(answer.body)["error"]["param"] == param


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
WORDS = st.sampled_from(["", "c1", "clock", "user", "assistant", "{}"])
KINDS = ["message", "reasoning", "function_call", "function_call_output", "item_reference"]
PART = st.fixed_dictionaries(
    {"type": st.sampled_from(["input_text", "output_text", "refusal", "input_image"])},
    optional={"text": WORDS, "refusal": WORDS, "image_url": WORDS},
)
ITEM = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(KINDS),
        "role": st.sampled_from(["user", "assistant", "developer"]),
        "content": st.lists(PART, max_size=3) | WORDS | JSON,
        "call_id": WORDS,
        "name": WORDS,
        "arguments": WORDS,
        "output": st.lists(PART, max_size=2) | WORDS | JSON,
        "summary": st.lists(PART, max_size=2) | JSON,
    },
)
BODY = st.fixed_dictionaries(
    {"model": st.just("tiny"), "input": st.lists(ITEM, max_size=5) | JSON},
    optional={
        "tools": st.lists(st.just(CLOCK), max_size=1) | JSON,
        "tool_choice": WORDS | JSON,
        "text": JSON,
        "reasoning": JSON,
        "include": JSON,
        "metadata": JSON,
        "stream": st.booleans(),
    },
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(BODY)
def test_no_request_breaks_the_door(fields: dict[str, object]) -> None:
    async def ask() -> int:
        async with at_the_door(ScriptedHouse()) as address:
            return (await post(address, json.dumps(fields).encode(), path=PATH)).status

    assert asyncio.run(ask()) in {200, 400}
