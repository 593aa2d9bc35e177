"""Bodies that are traps, made up or mangled: none of them breaks the OpenAI door."""

from __future__ import annotations

import asyncio
import json
from random import Random

import hypothesis
import pytest
from hypothesis import strategies as st
from tests.contract.door_support import (
    CHAT,
    ScriptedHouse,
    at_the_door,
    post,
)
from tests.contract.openai_door_support import PNG, asked, chat, refused

TRAPS = [
    b"",
    b"  ",
    b"null",
    b"[]",
    b"\xef\xbb\xbf" + CHAT,
    CHAT.decode().encode("utf-16"),
    CHAT + b" x",
    CHAT[:-1],
    chat(seed=float("nan")),
    chat(temperature=float("inf")),
    chat(unknown=float("nan")),
    CHAT[:-1] + b',"temperature":1e999}',
    CHAT[:-1] + b',"unknown":1e999}',
    CHAT[:-1] + b',"seed":' + b"9" * 5000 + b"}",
    CHAT[:-1] + b',"unknown":' + b"9" * 5000 + b"}",
    CHAT[:-1] + b',"model":"other"}',
    CHAT[:-1] + b',"m\\u006fdel":"other"}',
    CHAT[:-1] + b',"unknown":{"a":1,"a":2}}',
    CHAT[:-1] + b',"user":"\\ud800"}',
    CHAT[:-1] + b',"user":"\\udc00\\ud800"}',
    CHAT[:-1] + b',"user":"\\u0000"}',
    CHAT[:-1] + b',"user":"\\\\\\u0000"}',
    CHAT[:-1] + b',"user":"\x00"}',
    CHAT[:-1] + b',"user":"\xff"}',
    CHAT[:-1] + b',"unknown":"\xc0\x80"}',
    CHAT[:-1] + b',"unknown":"\xed\xa0\x80"}',
    CHAT[:-1] + b',"unknown":' + b"[" * 65 + b"]" * 65 + b"}",
    CHAT[:-1] + b',"unknown":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    b"[" * 100_000,
    CHAT[:-1] + b',"unknown":[' + b"{}," * 50_000 + b"0]}",
]


@pytest.mark.security("S-29")
@pytest.mark.parametrize("body", TRAPS, ids=range(len(TRAPS)))
async def test_a_trap_in_json_is_a_bad_request(body: bytes) -> None:
    assert (await refused(body))["code"] in {"invalid_json", "invalid_field"}


async def test_what_only_looks_like_a_trap_is_taken() -> None:
    content = "[" * 500 + '\\"{' * 100 + "\\u0000 \U0001f600"
    ask = await asked(chat(messages=[{"role": "user", "content": content}]))
    assert ask.work.messages[0].content == content


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
A_WORD = st.sampled_from(["", "c1", "clock", "auto", "json_schema", "{}", PNG])
A_PART = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "image_url", "input_audio", "refusal", "file"])},
    optional={
        "text": A_WORD,
        "refusal": A_WORD,
        "image_url": st.fixed_dictionaries(
            {"url": A_WORD | st.just(f"data:image/png;base64,{PNG}")}
        )
        | ANYTHING,
        "input_audio": st.fixed_dictionaries({"data": A_WORD, "format": st.just("wav")}) | ANYTHING,
    },
)
A_CALL = st.fixed_dictionaries(
    {"id": A_WORD, "type": st.just("function")},
    optional={"function": st.fixed_dictionaries({"name": A_WORD, "arguments": A_WORD})},
)
A_TURN = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "developer", "user", "assistant", "tool", "function"])},
    optional={
        "content": A_WORD | st.lists(A_PART, max_size=3) | ANYTHING,
        "tool_calls": st.lists(A_CALL, max_size=2) | ANYTHING,
        "tool_call_id": A_WORD,
        "reasoning_content": A_WORD,
    },
)
A_CHAT = st.fixed_dictionaries(
    {"model": st.just("tiny"), "messages": st.lists(A_TURN, min_size=1, max_size=4)},
    optional=dict.fromkeys(
        (
            *("tools", "tool_choice", "response_format", "reasoning_effort", "logprobs"),
            *("top_logprobs", "logit_bias", "stop", "seed", "metadata", "stream_options", "user"),
        ),
        A_WORD | ANYTHING,
    ),
)


@hypothesis.settings(max_examples=150, deadline=None, derandomize=True)
@hypothesis.given(A_CHAT)
def test_no_request_breaks_the_door(fields: dict[str, object]) -> None:
    async def ask() -> int:
        async with at_the_door(ScriptedHouse()) as address:
            return (await post(address, json.dumps(fields).encode())).status

    assert asyncio.run(ask()) in {200, 400}


@pytest.mark.security("S-30")
async def test_five_hundred_mangled_bodies_never_break_the_door(dice: Random) -> None:
    sound = chat(temperature=0.5, stop=["x"], metadata={"needs": "chat"}, stream_options={})
    statuses = set()
    async with at_the_door(ScriptedHouse()) as address:
        for _ in range(500):
            answered = await post(address, _mangled(sound, dice))
            statuses.add(answered.status)
            assert "Traceback" not in answered.text
            assert "0x7f" not in answered.text
    assert statuses == {200, 400}


def _mangled(body: bytes, dice: Random) -> bytes:
    data = bytearray(body)
    for _ in range(dice.randrange(1, 4)):
        at = dice.randrange(len(data))
        match dice.randrange(4):
            case 0:
                data[at] = dice.randrange(256)
            case 1:
                del data[at : at + dice.randrange(1, 9)]
            case 2:
                data[at:at] = dice.choice([b'"', b"\\", b"[", b"}", b"null", b"-1e9", b"\xff"])
            case _:
                data[at:at] = data[dice.randrange(len(data)) :][:20]
    return bytes(data)
