"""What a request of Ollama's clients asks of the house, and what is refused."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.contract.door_support import (
    ScriptedHouse,
    at_the_door,
    post,
)
from tests.contract.ollama_door_support import CHAT, CLOCK, GENERATE, MESSAGES, body

from arbiter.inference import (
    Auto,
    Completion,
    Named,
    Sampling,
    Shape,
    Tool,
    ToolCall,
    Tools,
)

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ"


async def asked(path: str = CHAT, **fields: object) -> Any:
    """What the house is asked by a request with these fields."""
    house = ScriptedHouse()
    async with at_the_door(house) as address:
        answer = await post(address, body(**fields), path=path)
        assert answer.status == 200, answer.text
    return house.asks[0]


async def refused(path: str = CHAT, **fields: object) -> str:
    async with at_the_door(ScriptedHouse()) as address:
        answer = await post(address, body(**fields), path=path)
    assert answer.status == 400, answer.text
    return str(json.loads(answer.body)["error"])


# What reaches the house


@pytest.mark.parametrize("model", ["auto", "auto:latest"])
async def test_the_house_picks_when_it_is_asked_to(model: str) -> None:
    assert (await asked(model=model, messages=MESSAGES)).target == Auto()


async def test_headers_say_more() -> None:
    house = ScriptedHouse()
    async with at_the_door(house) as address:
        await post(address, body(messages=MESSAGES), ["X-Arbiter-Task: triage"], path=CHAT)
    assert house.asks[0].task == "triage"
    assert house.asks[0].target == Named(name=house.asks[0].target.name)  # type: ignore[union-attr]


@pytest.mark.security("S-31")
async def test_options_of_sampling_reach_the_house_and_those_of_loading_do_not() -> None:
    options = {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 40.0,
        "min_p": 0.1,
        "typical_p": 0.8,
        "seed": 7,
        "num_predict": 9,
        "stop": ["x"],
        "repeat_penalty": 1.1,
        "repeat_last_n": 64,
        "presence_penalty": 0.25,
        "frequency_penalty": -0.25,
        "num_ctx": 8192,
        "mirostat": 2,
    }
    ask = await asked(messages=MESSAGES, options=options)
    assert ask.sampling == Sampling(
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        min_p=0.1,
        typical_p=0.8,
        seed=7,
        max_tokens=9,
        stop=("x",),
        repeat_penalty=1.1,
        repeat_last_n=64,
        presence_penalty=0.25,
        frequency_penalty=-0.25,
    )


@pytest.mark.parametrize(
    ("path", "work"), [("/api/embed", {"input": "hi"}), ("/api/embeddings", {"prompt": "hi"})]
)
@pytest.mark.parametrize(
    ("options", "counted"),
    [({"num_ctx": 8192, "seed": 1}, (("num_ctx", "8192"),)), ("nonsense", ()), (None, ())],
)
async def test_options_of_loading_that_come_with_a_text_for_a_vector_are_only_counted(
    path: str, work: dict[str, object], options: object, counted: tuple[tuple[str, str], ...]
) -> None:
    house = ScriptedHouse()
    async with at_the_door(house) as address:
        sent = json.dumps({"model": "tiny", "options": options, **work}).encode()
        await post(address, sent, path=path)
    assert house.asks[0].load_options == counted


async def test_ollamas_words_for_no_bound_are_no_bound() -> None:
    ask = await asked(messages=MESSAGES, options={"num_predict": -1, "seed": -1, "top_k": -5})
    assert ask.sampling == Sampling(top_k=0)


async def test_turns_with_calls_results_thoughts_and_pictures_reach_the_house() -> None:
    ask = await asked(
        messages=[
            {"role": "user", "content": "look", "images": [PNG]},
            {
                "role": "assistant",
                "content": "",
                "thinking": "hm",
                "tool_calls": [
                    {"function": {"name": "clock", "arguments": {"zone": "UTC"}}},
                    {"id": "mine", "function": {"name": "clock", "arguments": {}}},
                ],
            },
            {"role": "tool", "content": "noon", "tool_name": "clock"},
            {"role": "tool", "content": "one", "tool_call_id": "mine"},
            {"role": "tool", "content": "lost", "tool_name": "other"},
        ],
        tools=[CLOCK],
        format={"type": "object"},
        think="high",
    )
    work = ask.work
    assert work.effort == "high"
    assert work.shape == Shape(schema='{"type":"object"}')
    assert work.tools == Tools(offered=(Tool(name="clock", parameters='{"type":"object"}'),))
    assert [m.content for m in work.messages] == ["look", "", "noon", "one", "lost"]
    assert [one.format for one in work.messages[0].media] == ["png"]
    assert work.messages[1].thought == "hm"
    assert work.messages[1].calls == (
        ToolCall(id="call_1_0", name="clock", arguments='{"zone":"UTC"}'),
        ToolCall(id="mine", name="clock", arguments="{}"),
    )
    assert [m.answers for m in work.messages[2:]] == ["call_1_0", "mine", "call_4"]


async def test_a_prompt_with_a_gap_is_a_completion() -> None:
    ask = await asked(GENERATE, prompt="def f(", suffix="return 1")
    assert ask.work == Completion(prompt="def f(", suffix="return 1")


@pytest.mark.parametrize(
    ("path", "fields", "words"),
    [
        (CHAT, {"messages": MESSAGES, "model": ""}, "model is required"),
        (CHAT, {"messages": MESSAGES, "options": {"temperature": 9}}, "temperature"),
        (CHAT, {"messages": MESSAGES, "options": {"top_k": "many"}}, "top_k"),
        (CHAT, {"messages": MESSAGES, "format": "yaml"}, "format is json"),
        (CHAT, {"messages": MESSAGES, "think": "hard"}, "think is true"),
        (CHAT, {"messages": MESSAGES, "keep_alive": "soon"}, "no duration"),
        (CHAT, {"messages": [{"role": "narrator", "content": "x"}]}, "role"),
        (CHAT, {"messages": [{"role": "user", "content": "x", "images": ["??"]}]}, "not base64"),
        (
            CHAT,
            {"messages": [{"role": "user", "content": "x", "images": ["AAAA"]}]},
            "form 'unknown'",
        ),
        (
            CHAT,
            {"messages": [{"role": "user", "tool_calls": [{"function": {"name": "f"}}]}]},
            "Only the assistant",
        ),
        (CHAT, {"messages": MESSAGES, "tools": [{"type": "web"}]}, "only functions"),
        (GENERATE, {"prompt": "x", "template": "{{ .Prompt }}"}, "template"),
        (GENERATE, {"prompt": "x", "context": [1, 2]}, "context"),
        (GENERATE, {"prompt": "x", "raw": True, "format": "json"}, "neither raw"),
        (GENERATE, {"prompt": "x", "api_base": "http://x"}, "api_base"),
        ("/api/embed", {"input": ["a", ""]}, "empty text"),
        ("/api/show", {"model": ""}, "model is required"),
    ],
)  # fmt: skip
async def test_a_mistake_is_refused_in_ollamas_shape(
    path: str, fields: dict[str, object], words: str
) -> None:
    assert words in await refused(path, **fields)


# Whatever is sent

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
FIELDS = [
    "model",
    "name",
    "messages",
    "prompt",
    "suffix",
    "system",
    "raw",
    "images",
    "format",
    "options",
    "keep_alive",
    "think",
    "logprobs",
    "top_logprobs",
    "tools",
    "input",
    "dimensions",
    "template",
    "context",
    "stream",
]
TURN = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant", "tool"])},
    optional={
        "content": st.text(max_size=8) | JSON,
        "images": st.lists(st.text(max_size=8) | st.just(PNG), max_size=2) | JSON,
        "tool_calls": st.lists(st.just({"function": {"name": "f", "arguments": {}}}) | JSON),
        "tool_call_id": st.text(max_size=4),
        "tool_name": st.text(max_size=4),
        "thinking": st.text(max_size=4),
    },
)
BODY = st.fixed_dictionaries(
    {"model": st.sampled_from(["tiny", "auto", "task:x", "a@b", ""])},
    optional={
        "messages": st.lists(TURN, max_size=4),
        **dict.fromkeys(FIELDS[3:], JSON),
    },
)


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.sampled_from(["chat", "generate", "embed", "embeddings", "show", "pull", "create"]),
    st.dictionaries(st.sampled_from(FIELDS), JSON) | BODY,
)
def test_no_request_breaks_the_door(where: str, fields: dict[str, object]) -> None:
    sent = json.dumps(fields).encode()

    async def ask() -> int:
        async with at_the_door(ScriptedHouse()) as address:
            return (await post(address, sent, path=f"/api/{where}")).status

    assert asyncio.run(ask()) in {200, 400, 404, 501}
