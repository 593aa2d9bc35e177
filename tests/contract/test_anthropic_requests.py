"""What a request of Anthropic's clients asks of the house, and what is refused."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.contract.anthropic_door_support import COUNT, PATH, TOOL, body
from tests.contract.door_support import (
    ADMIN_KEY,
    USE_KEY,
    ScriptedHouse,
    at_the_door,
    exchanged,
    post,
    request,
)

from arbiter.gateway.security import Policy, Ring
from arbiter.inference import (
    Message,
    Sampling,
    Shape,
    Tool,
    ToolCall,
    Tools,
)

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ"


async def asked(**fields: object) -> Any:
    """What the house is asked by a request with these fields."""
    house = ScriptedHouse()
    async with at_the_door(house) as address:
        answer = await post(address, body(**fields), path=PATH)
        assert answer.status == 200, answer.text
    return house.asks[0]


# What reaches the house


async def test_a_whole_conversation_reaches_the_house() -> None:
    ask = await asked(
        system=[{"type": "text", "text": "be kind", "cache_control": {"type": "ephemeral"}}],
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "look"},
                    {
                        "type": "image",
                        "source": {"type": "base64", "media_type": "image/png", "data": PNG},
                    },
                    {"type": "document", "source": {"type": "text", "data": "a page"}},
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "x"},
                    {"type": "redacted_thinking", "data": "secret"},
                    {"type": "text", "text": "so"},
                    {"type": "tool_use", "id": "c1", "name": "clock", "input": {"zone": "UTC"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "c1",
                        "content": [{"type": "text", "text": "noon"}],
                    },
                    {"type": "text", "text": "and?"},
                ],
            },
        ],
        tools=[TOOL],
        tool_choice={"type": "tool", "name": "clock", "disable_parallel_tool_use": True},
    )
    first, *others = ask.work.messages[1:]
    assert ask.work.messages[0] == Message(role="system", content="be kind")
    assert (first.content, [one.format for one in first.media]) == ("look\na page", ["png"])
    assert others == [
        Message(
            role="assistant",
            content="so",
            thought="hm",
            calls=(ToolCall(id="c1", name="clock", arguments='{"zone":"UTC"}'),),
        ),
        Message(role="tool", content="noon", answers="c1", name="clock"),
        Message(role="user", content="and?"),
    ]
    assert ask.work.tools == Tools(
        offered=(Tool(name="clock", description="the time", parameters='{"type":"object"}'),),
        choice="required",
        named="clock",
        parallel=False,
    )


async def test_how_to_answer_reaches_the_house() -> None:
    ask = await asked(
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        stop_sequences=["x"],
        thinking={"type": "adaptive"},
        output_config={"effort": "xhigh", "format": {"type": "json_schema", "schema": {"a": 1}}},
        metadata={"user_id": "u", "task": "triage"},
        service_tier="auto",
    )
    assert ask.sampling == Sampling(temperature=0.5, top_p=0.9, top_k=40, max_tokens=9, stop=("x",))
    assert ask.work.effort == "max"
    assert ask.work.shape == Shape(schema='{"a":1}')
    assert (ask.task, ask.conversation) == ("triage", "u")
    assert ask.talk is not None


@pytest.mark.parametrize(
    ("thinking", "effort"),
    [
        ({"type": "enabled", "budget_tokens": 2000}, "some"),
        ({"type": "disabled"}, "none"),
        (None, None),
    ],
)
async def test_thinking_is_a_wish(thinking: object, effort: str | None) -> None:
    assert (await asked(thinking=thinking)).work.effort == effort


def turn(*blocks: object, role: str = "user") -> dict[str, object]:
    return {"messages": [{"role": role, "content": list(blocks)}]}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": 1.5}, "temperature"),
        ({"messages": []}, "messages"),
        (turn(), "needs content"),
        (
            turn({"type": "image", "source": {"type": "url", "url": "http://x"}}),
            "nothing is fetched",
        ),
        (turn({"type": "image"}), "nothing is fetched"),
        (turn({"type": "document", "source": {"type": "base64", "data": PNG}}), "'document'"),
        (turn({"type": "text"}), "missing"),
        (turn({"type": "tool_result", "tool_use_id": "c9"}), "No assistant turn"),
        (turn({"type": "tool_use", "id": "c", "name": "a b"}, role="assistant"), "not a name"),
        (turn({"type": "server_tool_use"}, role="assistant"), "server_tool_use"),
        ({"system": [{"type": "image"}]}, "'image'"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "run where the model"),
        ({"tools": [TOOL, TOOL]}, "Two tools"),
        ({"tools": [{"name": "a b"}]}, "not a name"),
        ({"tool_choice": {"type": "any"}}, "needs tools"),
        ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "x"}}, "none of the tools"),
        ({"mcp_servers": [{"url": "http://x"}]}, "mcp_servers"),
        ({"output_config": {"effort": "huge"}}, "effort"),
    ],
)  # fmt: skip
async def test_a_mistake_is_refused_in_anthropics_shape(
    fields: dict[str, object], words: str
) -> None:
    async with at_the_door(ScriptedHouse()) as address:
        answer = await post(address, body(**fields), path=PATH)
    told = json.loads(answer.body)
    assert answer.status == 400
    assert told["error"]["type"] == "invalid_request_error"
    assert words in told["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "key", "status", "kind"),
    [
        ("POST", PATH, None, 401, "authentication_error"),
        ("POST", PATH, "sk-wrong", 401, "authentication_error"),
        ("POST", COUNT, None, 401, "authentication_error"),
        ("POST", PATH + "/batches", "sk-use", 404, "not_found_error"),
        ("GET", PATH, "sk-use", 405, "invalid_request_error"),
        ("POST", PATH, "sk-use", 200, None),
    ],
)
async def test_whoever_may_not_is_told_so_in_anthropics_shape(
    method: str, path: str, key: str | None, status: int, kind: str | None
) -> None:
    headers = [] if key is None else [f"x-api-key: {key}"]
    sent = None if method == "GET" else body()
    async with at_the_door(ScriptedHouse(), Policy(ring=Ring((USE_KEY, ADMIN_KEY)))) as address:
        answer = await exchanged(
            address, request(method, path, address, body=sent, headers=headers)
        )
    assert answer.status == status
    if kind is not None:
        assert json.loads(answer.body)["error"]["type"] == kind


# Whatever is sent

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
KINDS = ["text", "image", "tool_use", "tool_result", "thinking", "document", "redacted_thinking"]
WORDS = st.sampled_from(["", "c1", "clock", "base64", "text", PNG])
BLOCK = st.fixed_dictionaries(
    {"type": st.sampled_from(KINDS)},
    optional={
        "text": WORDS | JSON,
        "thinking": WORDS,
        "id": WORDS,
        "name": WORDS,
        "tool_use_id": WORDS,
        "input": st.dictionaries(st.text(max_size=4), JSON, max_size=2) | JSON,
        "content": st.text(max_size=8) | JSON,
        "source": st.fixed_dictionaries({"type": WORDS}, optional={"data": WORDS}) | JSON,
    },
)
TURN = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["user", "assistant", "system"]),
        "content": st.text(max_size=8) | st.lists(BLOCK, max_size=4) | JSON,
    }
)
BODY = st.fixed_dictionaries(
    {"model": st.just("tiny"), "messages": st.lists(TURN, min_size=1, max_size=4)},
    optional={
        "max_tokens": st.just(5) | JSON,
        "system": st.text(max_size=8) | st.lists(BLOCK, max_size=2) | JSON,
        "tools": st.lists(st.just(TOOL), max_size=1) | JSON,
        "tool_choice": st.fixed_dictionaries({"type": WORDS}, optional={"name": WORDS}) | JSON,
        "thinking": JSON,
        "output_config": JSON,
        "metadata": JSON,
        "stream": st.booleans(),
        "stop_sequences": JSON,
    },
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.sampled_from([PATH, COUNT]), BODY)
def test_no_request_breaks_the_door(path: str, fields: dict[str, object]) -> None:
    async def ask() -> int:
        async with at_the_door(ScriptedHouse()) as address:
            return (await post(address, json.dumps(fields).encode(), path=path)).status

    assert asyncio.run(ask()) in {200, 400}
