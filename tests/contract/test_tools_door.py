"""Tools and shapes at the OpenAI door: what is asked of the house, and the bytes that come back."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionFunctionToolParam
from tests.contract.door_support import (
    DECISION,
    FINISH,
    USAGE,
    ScriptedHouse,
    at_the_door,
    post,
)

from arbiter.inference import (
    Called,
    Chat,
    Chunk,
    Delta,
    Finish,
    FinishReason,
    Message,
    Shape,
    Tool,
    ToolCall,
    Tools,
)

MESSAGES: Any = [{"role": "user", "content": "What time is it in Utrecht?"}]
SCHEMA: dict[str, object] = {
    "type": "object",
    "properties": {"zone": {"type": "string"}},
    "required": ["zone"],
}
CLOCK: ChatCompletionFunctionToolParam = {
    "type": "function",
    "function": {"name": "clock", "description": "Tells the time", "parameters": SCHEMA},
}
DICE: ChatCompletionFunctionToolParam = {"type": "function", "function": {"name": "dice"}}
CLOCK_TOOL = Tool(
    name="clock",
    description="Tells the time",
    parameters='{"type":"object","properties":{"zone":{"type":"string"}},"required":["zone"]}',
)
WANTS = Finish(reason=FinishReason.TOOL_CALLS, usage=USAGE)
CALLING: tuple[Chunk, ...] = (
    Called(index=0, id="call_a", name="clock"),
    Called(index=0, arguments='{"zone":'),
    Called(index=0, arguments='"cet"}'),
    Called(index=1, id="call_b", name="dice", arguments="{}"),
    WANTS,
)


@asynccontextmanager
async def client_of(house: ScriptedHouse) -> AsyncIterator[openai.AsyncOpenAI]:
    async with (
        at_the_door(house) as address,
        openai.AsyncOpenAI(base_url=f"{address.url}/v1", api_key="unused", max_retries=0) as client,
    ):
        yield client


def chat(**fields: object) -> bytes:
    """A chat request with these fields."""
    return json.dumps({"model": "tiny", "messages": MESSAGES, **fields}).encode()


async def asked(**fields: object) -> Chat:
    """The work that the house is asked for."""
    house = ScriptedHouse()
    async with at_the_door(house) as address:
        answered = await post(address, chat(**fields))
    assert answered.status == 200, answered.text
    work = house.asks[0].work
    assert isinstance(work, Chat)
    return work


# The official client


async def test_the_official_client_gets_tool_calls() -> None:
    async with client_of(ScriptedHouse(script=CALLING)) as client:
        answer = await client.chat.completions.create(
            model="tiny", messages=MESSAGES, tools=[CLOCK, DICE]
        )
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    calls = [
        (call.id, call.function.name, call.function.arguments)
        for call in choice.message.tool_calls or []
        if call.type == "function"
    ]
    assert calls == [("call_a", "clock", '{"zone":"cet"}'), ("call_b", "dice", "{}")]


async def test_the_official_clients_own_helper_puts_a_streamed_call_together() -> None:
    async with (
        client_of(ScriptedHouse(script=CALLING)) as client,
        client.chat.completions.stream(
            model="tiny", messages=MESSAGES, tools=[CLOCK, DICE]
        ) as stream,
    ):
        done = [e async for e in stream if e.type == "tool_calls.function.arguments.done"]
        final = await stream.get_final_completion()
    assert [(e.index, e.name, e.arguments) for e in done] == [
        (0, "clock", '{"zone":"cet"}'),
        (1, "dice", "{}"),
    ]
    assert final.choices[0].finish_reason == "tool_calls"
    assert final.choices[0].message.content is None


async def test_a_call_without_arguments_has_an_empty_object_of_them() -> None:
    """Some engines leave them out, and clients read them as JSON."""
    script = (Called(index=0, id="call_a", name="dice"), WANTS)
    async with client_of(ScriptedHouse(script=script)) as client:
        whole = await client.chat.completions.create(model="tiny", messages=MESSAGES, tools=[DICE])
        async with client.chat.completions.stream(
            model="tiny", messages=MESSAGES, tools=[DICE]
        ) as stream:
            streamed = await stream.get_final_completion()
    for answer in (whole, streamed):
        calls = answer.choices[0].message.tool_calls or []
        assert [one.function.arguments for one in calls if one.type == "function"] == ["{}"]


# Bytes


async def test_a_tool_call_is_these_bytes() -> None:
    async with at_the_door(ScriptedHouse(script=CALLING)) as address:
        answered = await post(address, chat(tools=[CLOCK, DICE]))
    assert answered.text.partition('"choices":')[2].partition(',"usage"')[0] == (
        '[{"index":0,"message":{"role":"assistant","content":null,"refusal":null,"tool_calls":['
        '{"id":"call_a","type":"function","function":{"name":"clock",'
        '"arguments":"{\\"zone\\":\\"cet\\"}"}},'
        '{"id":"call_b","type":"function","function":{"name":"dice","arguments":"{}"}}]},'
        '"logprobs":null,"finish_reason":"tool_calls"}]'
    )


def deltas(text: str) -> list[str]:
    """The deltas of a stream's events, as they came."""
    events = [event for event in text.split("\n\n") if '"delta":' in event]
    return [event.partition('"delta":')[2].partition(',"logprobs"')[0] for event in events]


async def test_a_streamed_tool_call_is_these_bytes() -> None:
    async with at_the_door(ScriptedHouse(script=CALLING)) as address:
        answered = await post(address, chat(tools=[CLOCK, DICE], stream=True))
    assert deltas(answered.text) == [
        '{"role":"assistant","content":null}',
        (
            '{"tool_calls":[{"index":0,"id":"call_a","type":"function",'
            '"function":{"name":"clock","arguments":""}}]}'
        ),
        '{"tool_calls":[{"index":0,"function":{"arguments":"{\\"zone\\":"}}]}',
        '{"tool_calls":[{"index":0,"function":{"arguments":"\\"cet\\"}"}}]}',
        (
            '{"tool_calls":[{"index":1,"id":"call_b","type":"function",'
            '"function":{"name":"dice","arguments":"{}"}}]}'
        ),
        "{}",
    ]
    assert '"delta":{},"logprobs":null,"finish_reason":"tool_calls"' in answered.text
    assert answered.text.endswith("data: [DONE]\n\n")


async def test_what_is_said_before_a_call_is_kept() -> None:
    script = (Delta(text="Let me see."), Called(index=0, id="a", name="clock"), WANTS)
    async with at_the_door(ScriptedHouse(script=script)) as address:
        whole = await post(address, chat(tools=[CLOCK]))
        stream = await post(address, chat(tools=[CLOCK], stream=True))
    assert json.loads(whole.body)["choices"][0]["message"]["content"] == "Let me see."
    assert deltas(stream.text)[:2] == [
        '{"role":"assistant","content":""}',
        '{"content":"Let me see."}',
    ]


async def test_an_engine_that_names_no_id_and_says_stop_is_made_up_for() -> None:
    script = (Called(index=0, name="clock", arguments="{}"), FINISH)
    async with at_the_door(ScriptedHouse(script=script)) as address:
        whole = json.loads((await post(address, chat(tools=[CLOCK]))).body)
        stream = await post(address, chat(tools=[CLOCK], stream=True))
    choice = whole["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["tool_calls"][0]["id"] == f"call_{DECISION}_0"
    assert f'"id":"call_{DECISION}_0"' in stream.text
    assert '"finish_reason":"tool_calls"' in stream.text


async def test_half_a_surrogate_pair_in_a_call_does_not_break_the_answer() -> None:
    script = (Called(index=0, id="a", name="clock", arguments="\ud83d"), WANTS)
    async with at_the_door(ScriptedHouse(script=script)) as address:
        whole = await post(address, chat(tools=[CLOCK]))
        stream = await post(address, chat(tools=[CLOCK], stream=True))
    assert '"arguments":"?"' in whole.text
    assert '"arguments":"?"' in stream.text


# What is asked of the house

CHOICES = [
    ({}, Tools(offered=(CLOCK_TOOL,))),
    ({"tool_choice": None}, Tools(offered=(CLOCK_TOOL,))),
    ({"tool_choice": "auto"}, Tools(offered=(CLOCK_TOOL,))),
    ({"tool_choice": "none"}, Tools(offered=(CLOCK_TOOL,), choice="none")),
    (
        {"tool_choice": "required", "parallel_tool_calls": False},
        Tools(offered=(CLOCK_TOOL,), choice="required", parallel=False),
    ),
    (
        {"tool_choice": {"type": "function", "function": {"name": "clock"}}},
        Tools(offered=(CLOCK_TOOL,), choice="required", named="clock"),
    ),
]


@pytest.mark.parametrize(("fields", "tools"), CHOICES)
async def test_tools_and_the_choice_among_them_reach_the_house(
    fields: dict[str, object], tools: Tools
) -> None:
    assert (await asked(tools=[CLOCK], **fields)).tools == tools


async def test_a_schema_keeps_the_order_in_which_it_was_written() -> None:
    schema = {"type": "object", "properties": {"why": {}, "answer": {}, "by": {}}}
    work = await asked(
        tools=[{"type": "function", "function": {"name": "f", "parameters": schema}}]
    )
    assert work.tools is not None
    text = work.tools.offered[0].parameters
    assert text == '{"type":"object","properties":{"why":{},"answer":{},"by":{}}}'


FORMATS = [
    (None, None),
    ({"type": "text"}, None),
    ({"type": "json_object"}, Shape()),
    ({"type": "json_object", "schema": {"type": "object"}}, Shape(schema='{"type":"object"}')),
    (
        {"type": "json_schema", "json_schema": {"name": "a", "schema": {}, "strict": True}},
        Shape(schema="{}", name="a", strict=True),
    ),
]


@pytest.mark.parametrize(("given", "shape"), FORMATS)
async def test_the_shape_of_the_answer_reaches_the_house(
    given: dict[str, object] | None, shape: Shape | None
) -> None:
    assert (await asked(response_format=given)).shape == shape


def call(**fields: object) -> dict[str, object]:
    function = {"name": "clock", "arguments": '{"zone": "cet"}'}
    return {"id": "call_a", "type": "function", "function": function, **fields}


CALLER = {"role": "assistant", "content": None, "tool_calls": [call()]}


async def test_calls_and_their_results_reach_the_house() -> None:
    result = {
        "role": "tool",
        "tool_call_id": "call_a",
        "content": [{"type": "text", "text": "12:00"}],
    }
    work = await asked(messages=[*MESSAGES, CALLER, result])
    assert work.messages[1:] == (
        Message(
            role="assistant",
            content="",
            calls=(ToolCall(id="call_a", name="clock", arguments='{"zone": "cet"}'),),
        ),
        Message(role="tool", content="12:00", answers="call_a", name="clock"),
    )


async def test_a_call_of_an_earlier_turn_without_arguments_has_an_empty_object_of_them() -> None:
    made = {"role": "assistant", "tool_calls": [call(function={"name": "dice", "arguments": ""})]}
    work = await asked(messages=[*MESSAGES, made])
    assert work.messages[1].calls == (ToolCall(id="call_a", name="dice", arguments="{}"),)


def tool(**function: object) -> dict[str, object]:
    return {"type": "function", "function": {"name": "f", **function}}


def of_schema(**fields: object) -> dict[str, object]:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "a", **fields}}}


def turns(*more: object) -> dict[str, object]:
    return {"messages": [*MESSAGES, *more]}


NAME = "tools[0].function.name"
MISTAKES = [
    ({"tools": [{}]}, "tools[0].type"),
    ({"tools": [{"type": "custom"}]}, "tools[0].type"),
    ({"tools": [{"type": "function"}]}, "tools[0].function"),
    ({"tools": [{"type": "function", "function": {}}]}, NAME),
    ({"tools": [tool(name="")]}, NAME),
    ({"tools": [tool(name="a b")]}, NAME),
    ({"tools": [tool(name="x" * 65)]}, NAME),
    ({"tools": [tool(parameters="{}")]}, "tools[0].function.parameters"),
    ({"tools": [tool(parameters=[])]}, "tools[0].function.parameters"),
    ({"tools": [tool(), tool()]}, "tools[1].function.name"),
    ({"tools": [tool(name=f"f{n}") for n in range(513)]}, "tools"),
    ({"tools": {}}, "tools"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tools": [tool()], "tool_choice": "f"}, "tool_choice"),
    ({"tools": [tool()], "tool_choice": 1}, "tool_choice"),
    ({"tools": [tool()], "tool_choice": {"type": "custom"}}, "tool_choice.type"),
    ({"tools": [tool()], "tool_choice": {"type": "function"}}, "tool_choice.function"),
    (
        {"tools": [tool()], "tool_choice": {"type": "function", "function": {"name": "g"}}},
        "tool_choice.function.name",
    ),
    ({"tools": [tool()], "parallel_tool_calls": "no"}, "parallel_tool_calls"),
    ({"response_format": "json"}, "response_format"),
    ({"response_format": {"type": "grammar"}}, "response_format.type"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
    (of_schema(), "response_format.json_schema.schema"),
    (of_schema(schema="{}"), "response_format.json_schema.schema"),
    (of_schema(schema={}, name="a b"), "response_format.json_schema.name"),
    (turns({"role": "tool", "content": "x"}), "messages[1].tool_call_id"),
    (turns({"role": "tool", "content": "x", "tool_call_id": "a"}), "messages[1].tool_call_id"),
    (turns(CALLER, {"role": "tool", "tool_call_id": "call_a"}), "messages[2].content"),
    (turns({**CALLER, "role": "user", "content": "x"}), "messages[1].tool_calls"),
    (turns({**CALLER, "tool_calls": [{}]}), "messages[1].tool_calls[0].id"),
    (turns({**CALLER, "tool_calls": [call(id="")]}), "messages[1].tool_calls[0].id"),
    (turns({**CALLER, "tool_calls": [call(type="x")]}), "messages[1].tool_calls[0].type"),
    (turns({**CALLER, "tool_calls": [call(function=None)]}), "messages[1].tool_calls[0].function"),
    (turns({"role": "assistant", "function_call": {"name": "f"}}), "messages[1].function_call"),
]


@pytest.mark.parametrize(("fields", "param"), MISTAKES)
async def test_a_mistake_is_refused_and_names_its_field(
    fields: dict[str, object], param: str
) -> None:
    async with at_the_door(house := ScriptedHouse()) as address:
        answered = await post(address, chat(**fields))
    assert (answered.status, house.asks) == (400, []), answered.text
    assert json.loads(answered.body)["error"]["param"] == param
