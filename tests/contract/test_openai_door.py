"""The OpenAI door, spoken to by OpenAI's own client and byte by byte."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any
from urllib.parse import quote

import hypothesis
import openai
import pytest
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.contract.door_support import (
    CHAT,
    CHAT_PATH,
    DECIDED,
    DECISION,
    FINISH,
    STREAMED_CHAT,
    VERSION,
    ScriptedHouse,
    at_the_door,
    exchanged,
    get,
    parsed,
    post,
    request,
)

from arbiter.errors import (
    Busy,
    InstanceLost,
    LoadFailed,
    NothingCapable,
    ShuttingDown,
    StreamCut,
    UnknownModel,
)
from arbiter.gateway.serving import Patience
from arbiter.inference import (
    Auto,
    Chat,
    Delta,
    Limits,
    Media,
    Message,
    Named,
    Odds,
    Pinned,
    Sampling,
    Thought,
    Usage,
    needed,
)

MESSAGES: Any = [{"role": "user", "content": "hi"}]


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


# The official client


async def test_the_official_client_gets_an_answer() -> None:
    async with client_of(ScriptedHouse()) as client:
        answer = await client.chat.completions.create(model="tiny", messages=MESSAGES)
    assert answer.choices[0].message.content == 'Hello "you"\n'
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == 9
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.prompt_tokens_details.cached_tokens == 3


async def test_the_official_client_gets_a_stream() -> None:
    async with client_of(ScriptedHouse()) as client:
        stream = await client.chat.completions.create(model="tiny", messages=MESSAGES, stream=True)
        chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == 'Hello "you"\n'
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert {chunk.id for chunk in chunks} == {f"chatcmpl-{DECISION}"}
    assert all(chunk.usage is None for chunk in chunks)


async def test_the_last_chunk_holds_the_usage_when_it_is_asked_for() -> None:
    async with client_of(ScriptedHouse()) as client:
        stream = await client.chat.completions.create(
            model="tiny", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 9


async def test_the_official_client_lists_models_and_finds_one_by_its_path() -> None:
    async with client_of(ScriptedHouse()) as client:
        listed = [model async for model in client.models.list()]
        found = await client.models.retrieve("org/tiny:1b")
        with pytest.raises(openai.NotFoundError, match="No model or alias is called"):
            await client.models.retrieve("other")
    assert [model.id for model in listed] == ["org/tiny:1b"]
    assert found.owned_by == "you"


ERRORS = [
    (UnknownModel("No model is called x.", param="model"), openai.NotFoundError),
    (NothingCapable(), openai.UnprocessableEntityError),
    (Busy(retry_after_s=3), openai.RateLimitError),
    (InstanceLost(), openai.InternalServerError),
    (RuntimeError("/secret/path"), openai.InternalServerError),
]


@pytest.mark.parametrize(("failure", "raised"), ERRORS)
@pytest.mark.parametrize("stream", [False, True])
async def test_an_error_before_the_answer_is_the_clients_own_exception(
    failure: Exception, raised: type[openai.APIStatusError], stream: bool
) -> None:
    async with client_of(ScriptedHouse(fails_at=-1, failure=failure)) as client:
        with pytest.raises(raised):
            await client.chat.completions.create(model="x", messages=MESSAGES, stream=stream)


async def test_a_bad_request_is_the_clients_own_exception_and_names_the_field() -> None:
    async with client_of(ScriptedHouse()) as client:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.chat.completions.create(model="x", messages=MESSAGES, temperature=3)
    assert caught.value.param == "temperature"
    assert caught.value.code == "invalid_field"


async def test_an_error_within_a_stream_is_raised_by_the_client() -> None:
    async with client_of(ScriptedHouse(fails_at=1, failure=StreamCut())) as client:
        stream = await client.chat.completions.create(model="x", messages=MESSAGES, stream=True)
        with pytest.raises(openai.APIError, match="The engine died in the middle"):
            [chunk async for chunk in stream]


# Bytes


async def test_an_answer_is_these_bytes() -> None:
    async with at_the_door(ScriptedHouse()) as address:
        answered = await post(address)
    assert answered.text == (
        '{"id":"chatcmpl-dec_01kdwzkm000000000000000000","object":"chat.completion",'
        '"created":1767225600,"model":"tiny","system_fingerprint":"abababababab",'
        '"choices":[{"index":0,"message":{"role":"assistant","content":"Hello \\"you\\"\\n",'
        '"refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":7,'
        '"completion_tokens":2,"total_tokens":9,"prompt_tokens_details":{"cached_tokens":3}}}'
    )


CHUNK = (
    'data: {"id":"chatcmpl-dec_01kdwzkm000000000000000000","object":"chat.completion.chunk",'
    '"created":1767225600,"model":"tiny","system_fingerprint":"abababababab","choices":['
)


async def test_a_stream_is_these_bytes() -> None:
    async with at_the_door(ScriptedHouse()) as address:
        answered = await post(address, STREAMED_CHAT)
    assert answered.text.split("\n\n") == [
        CHUNK + '{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,'
        '"finish_reason":null}]}',
        CHUNK + '{"index":0,"delta":{"content":"Hel"},"logprobs":null,"finish_reason":null}]}',
        CHUNK + '{"index":0,"delta":{"content":"lo \\"you\\"\\n"},"logprobs":null,'
        '"finish_reason":null}]}',
        CHUNK + '{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}]}',
        "data: [DONE]",
        "",
    ]
    assert answered.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answered.headers["cache-control"] == "no-cache"
    assert answered.headers["x-accel-buffering"] == "no"


async def test_an_error_after_the_first_byte_is_the_last_event_and_nothing_says_done() -> None:
    async with at_the_door(ScriptedHouse(fails_at=1, failure=StreamCut("at /x"))) as address:
        answered = await post(address, STREAMED_CHAT)
    assert answered.status == 200
    assert answered.text.endswith(
        'data: {"error":{"message":"The engine died in the middle of its answer.",'
        '"type":"server_error","param":null,"code":"stream_cut"},'
        '"arbiter":{"ours":false,"decision":"dec_01kdwzkm000000000000000000"}}\n\n'
    )
    assert "[DONE]" not in answered.text


async def test_an_answer_that_ends_without_saying_so_was_cut() -> None:
    async with at_the_door(ScriptedHouse(script=[Delta(text="Hel")])) as address:
        whole = await post(address)
        stream = await post(address, STREAMED_CHAT)
    assert (whole.status, "stream_cut" in whole.text) == (502, True)
    assert ("[DONE]" in stream.text, "stream_cut" in stream.text) == (False, True)


async def test_half_a_surrogate_pair_from_an_engine_does_not_break_the_answer() -> None:
    async with at_the_door(ScriptedHouse(script=[Delta(text="a\ud83db"), FINISH])) as address:
        answered = await post(address)
    assert '"content":"a?b"' in answered.text


async def test_an_empty_piece_is_not_sent_and_tokens_without_details_are_shown() -> None:
    finish = replace(FINISH, usage=Usage(prompt_tokens=1, completion_tokens=0))
    body = chat(stream=True, stream_options={"include_usage": True})
    async with at_the_door(ScriptedHouse(script=[Delta(text=""), finish])) as address:
        answered = await post(address, body)
    events = answered.text.split("\n\n")
    assert len(events) == 5
    assert events[2].endswith(
        '"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":0,"total_tokens":1}}'
    )


async def test_tokens_that_the_engine_did_not_count_are_not_made_up() -> None:
    finish = replace(FINISH, usage=Usage(completion_tokens=2))
    async with at_the_door(ScriptedHouse(script=[finish])) as address:
        answered = await post(address)
    assert json.loads(answered.body)["usage"] is None


async def test_every_reply_says_what_was_decided() -> None:
    decided = replace(DECIDED, reason="für 1\r\nX: y " + "z" * 300 + "→", probability=0.25)
    async with at_the_door(ScriptedHouse(decided=decided)) as address:
        whole = await post(address)
        stream = await post(address, STREAMED_CHAT)
    said = {name: text for name, text in whole.headers.items() if name.startswith("x-arbiter-")}
    assert said == {
        "x-arbiter-decision": DECISION,
        "x-arbiter-task": "general",
        "x-arbiter-alias": "tiny",
        "x-arbiter-version": VERSION,
        "x-arbiter-arm": "none",
        "x-arbiter-reason": ("für 1  X: y " + "z" * 300)[:200],
        "x-arbiter-probability": "0.25",
    }
    assert said.items() <= stream.headers.items()


async def test_an_answer_in_one_piece_says_what_it_took() -> None:
    async with at_the_door(ScriptedHouse(tally="wall_ms=4.0 cpu_ms=3.1")) as address:
        whole = await post(address)
        stream = await post(address, STREAMED_CHAT)
    assert whole.headers["x-arbiter-receipt"] == "wall_ms=4.0 cpu_ms=3.1"
    assert "x-arbiter-receipt" not in stream.headers


async def test_busy_says_when_to_come_back_and_that_a_retry_makes_sense() -> None:
    async with at_the_door(ScriptedHouse(fails_at=-1, failure=Busy(retry_after_s=3))) as address:
        answered = await post(address)
    assert answered.headers["retry-after"] == "3"
    assert answered.headers["x-should-retry"] == "true"
    assert json.loads(answered.body)["error"]["type"] == "rate_limit_error"


async def test_an_error_before_the_answer_names_the_decision_that_it_ended() -> None:
    failure = InstanceLost()
    failure.decision = DECISION
    async with at_the_door(ScriptedHouse(fails_at=-1, failure=failure)) as address:
        answered = await post(address)
    assert answered.headers["x-arbiter-decision"] == DECISION
    assert json.loads(answered.body)["arbiter"] == {"ours": False, "decision": DECISION}


@pytest.mark.security("S-30")
async def test_a_failure_says_nothing_that_the_engine_said() -> None:
    failure = LoadFailed("could not open /home/you/model.gguf at 0x7f12")
    async with at_the_door(ScriptedHouse(fails_at=-1, failure=failure)) as address:
        answered = await post(address)
    assert json.loads(answered.body)["error"]["message"] == "The model could not be loaded."


# What is asked of the house


async def asked(body: bytes, *headers: str) -> Any:
    house = ScriptedHouse()
    async with at_the_door(house) as address:
        answered = await post(address, body, headers)
    assert answered.status == 200, answered.text
    return house.asks[0]


async def refused(body: bytes, *headers: str) -> dict[str, Any]:
    async with at_the_door(house := ScriptedHouse()) as address:
        answered = await post(address, body, headers)
    assert (answered.status, house.asks) == (400, []), answered.text
    error: dict[str, Any] = json.loads(answered.body)["error"]
    return error


TARGETS = [
    ("gemma3n:e2b", Named(name="gemma3n:e2b"), None),  # type: ignore[arg-type]  # a literal name
    ("auto", Auto(), None),
    ("task:triage", Auto(), "triage"),
    ("a/b@0123ab", Pinned(name="a/b", digest_prefix="0123ab"), None),  # type: ignore[arg-type]  # as above
    ("a@" + VERSION, Pinned(name="a", digest_prefix="ab" * 32), None),  # type: ignore[arg-type]  # as above
]


@pytest.mark.parametrize(("model", "target", "task"), TARGETS)
async def test_the_model_says_who_is_to_answer(model: str, target: object, task: object) -> None:
    ask = await asked(chat(model=model))
    assert (ask.target, ask.task) == (target, task)


@pytest.mark.parametrize(
    "model", ["", "a b", "../x", "task:", "task:auto", "x@", "x@zz", "@0123ab"]
)
async def test_a_model_that_is_no_name_is_refused(model: str) -> None:
    assert (await refused(chat(model=model)))["param"] in {"model", "task"}


async def test_sampling_reaches_the_house() -> None:
    ask = await asked(
        chat(
            temperature=1,
            top_p=0.5,
            seed=-7,
            max_tokens=5,
            max_completion_tokens=6,
            stop=["a", ""],
            presence_penalty=-2,
            frequency_penalty=2,
            top_k=-1,
            min_p=0.05,
            repeat_penalty=1.1,
        )
    )
    assert ask.sampling == Sampling(
        temperature=1.0,
        top_p=0.5,
        seed=-7,
        max_tokens=6,
        stop=("a",),
        presence_penalty=-2.0,
        frequency_penalty=2.0,
        top_k=0,
        min_p=0.05,
        repeat_penalty=1.1,
    )


async def test_roles_and_parts_of_text_become_plain_messages() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    ask = await asked(
        chat(
            messages=[
                {"role": "developer", "content": "be short"},
                {"role": "user", "content": parts, "name": "ann"},
                {"role": "assistant", "content": None, "refusal": None, "tool_calls": None},
            ]
        )
    )
    said = [(message.role, message.content) for message in ask.work.messages]
    assert said == [("system", "be short"), ("user", "a\nb"), ("assistant", "")]


async def test_headers_say_more_and_come_before_metadata() -> None:
    ask = await asked(
        chat(metadata={"task": "other", "needs": "chat, tools", "threshold": "0.75"}),
        "X-Arbiter-Task: triage",
        "X-Arbiter-Expected: " + quote("größer"),
        "X-Arbiter-Conversation: c-1",
        "X-Arbiter-Max-Latency-Ms: 1500",
        "X-Arbiter-Max-Memory-Mb: 900.5",
    )
    assert (ask.task, ask.expected, ask.conversation) == ("triage", "größer", "c-1")
    assert ask.limits == Limits(
        needs=frozenset({"chat", "tools"}),
        threshold=0.75,
        max_latency_ms=1500.0,
        max_memory_mb=900.5,
    )


EXTRAS = [
    ("X-Arbiter-Expected: %ff", "expected"),
    ("X-Arbiter-Task: a b", "task"),
    ("X-Arbiter-Threshold: 1.5", "threshold"),
    ("X-Arbiter-Helper: perhaps", "helper"),
    ("X-Arbiter-Max-Latency-Ms: nan", "max_latency_ms"),
    ("X-Arbiter-Needs: a!", "needs"),
    ("X-Arbiter-Conversation: " + "x" * 257, "conversation"),
    ("X-Arbiter-Task: a\r\nX-Arbiter-Task: b", "task"),
]


@pytest.mark.parametrize(("header", "param"), EXTRAS)
async def test_a_header_that_makes_no_sense_is_refused(header: str, param: str) -> None:
    assert (await refused(CHAT, header))["param"] == param


async def test_a_model_and_a_header_may_not_name_two_tasks() -> None:
    assert (await refused(chat(model="task:a"), "X-Arbiter-Task: b"))["param"] == "task"


async def test_a_conversation_is_known_by_metadata_else_user_else_how_it_began() -> None:
    longer = [*MESSAGES, {"role": "assistant", "content": "a"}, {"role": "user", "content": "b"}]
    assert (await asked(chat(metadata={"conversation": "m"}, user="u"))).conversation == "m"
    assert (await asked(chat(user="u"))).conversation == "u"
    first = (await asked(CHAT)).conversation
    assert (await asked(chat(messages=longer))).conversation == first
    assert (await asked(chat(messages=longer[1:]))).conversation != first


async def test_who_names_only_a_user_has_many_talks_and_each_keeps_its_model() -> None:
    longer = [*MESSAGES, {"role": "assistant", "content": "a"}, {"role": "user", "content": "b"}]
    first = (await asked(chat(user="u"))).talk
    assert first is not None
    assert (await asked(chat(user="u", messages=longer))).talk == first
    assert (await asked(chat(user="u", messages=longer[1:]))).talk != first
    assert (await asked(chat(metadata={"conversation": "m"}, user="u"))).talk is None
    assert (await asked(CHAT)).talk is None


PICTURE_AT = "messages[0].content[0].image_url.url"


def content(*parts: object) -> dict[str, object]:
    """Fields of a request whose one message has these parts."""
    return {"messages": [{"role": "user", "content": list(parts)}]}


REFUSALS = [
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "bard", "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": [{"content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "function", "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "user", "content": 1}]}, "messages[0].content"),
    (
        {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
        "messages[0].content[0].text",
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
        "messages[0].content[0].image_url.url",
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {}}]}]},
        "messages[0].content[0].type",
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
        "messages[0].content[0].image_url",
    ),
    (content({"type": "image_url", "image_url": {"url": "http://x/a.png"}}), PICTURE_AT),
    (content({"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}), PICTURE_AT),
    (
        content({"type": "image_url", "image_url": {"url": "data:image/tiff;base64,AAAA"}}),
        PICTURE_AT,
    ),
    (content({"type": "image_url", "image_url": {"url": "data:image/png;base64,A"}}), PICTURE_AT),
    (
        content({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "midi"}}),
        "messages[0].content[0].input_audio",
    ),
    ({"reasoning_effort": "much"}, "reasoning_effort"),
    ({"top_logprobs": 2}, "top_logprobs"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    ({"logit_bias": {"5": 101}}, "logit_bias[...]"),
    ({"logit_bias": {"five": 1}}, "logit_bias"),
    ({"logit_bias": {"5": 1}, "model": "auto"}, "logit_bias"),
    ({"repeat_last_n": -2}, "repeat_last_n"),
    ({"typical_p": 2}, "typical_p"),
    ({"temperature": -0.1}, "temperature"),
    ({"temperature": True}, "temperature"),
    ({"top_p": 1.1}, "top_p"),
    ({"n": 2}, "n"),
    ({"seed": 2**64}, "seed"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_completion_tokens": -1}, "max_completion_tokens"),
    ({"stop": ["a"] * 17}, "stop"),
    ({"presence_penalty": 2.1}, "presence_penalty"),
    ({"stream": "yes"}, "stream"),
    ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
    ({"metadata": {"a": 1}}, "metadata[...]"),
    ({"functions": [{"name": "clock"}]}, "functions"),
    ({"function_call": {"name": "clock"}}, "function_call"),
    ({"top_k": -2}, "top_k"),
    ({"min_p": 1.5}, "min_p"),
    ({"repeat_penalty": 0}, "repeat_penalty"),
    ({"api_base": "http://127.0.0.1:1"}, "api_base"),
    ({"n_discard": -1}, "n_discard"),
    ({"chat_template_kwargs": None}, "chat_template_kwargs"),
]


@pytest.mark.security("S-31")
@pytest.mark.parametrize(("fields", "param"), REFUSALS)
async def test_what_cannot_be_served_is_refused_by_name(
    fields: dict[str, object], param: str
) -> None:
    assert (await refused(chat(**fields)))["param"] == param


async def test_what_asks_for_nothing_is_taken_and_what_is_unknown_is_ignored() -> None:
    ask = await asked(
        chat(
            n=1,
            tools=[],
            tool_choice="auto",
            logprobs=False,
            response_format={"type": "text"},
            modalities=["text"],
            store=True,
            service_tier="auto",
            parallel_tool_calls=True,
            mirostat=2,
        )
    )
    assert ask.sampling == Sampling()


PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ"


async def test_pictures_sounds_and_thoughts_reach_the_house() -> None:
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    sound = {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "see"}, picture, sound]},
        {"role": "assistant", "content": "so", "reasoning_content": "hm"},
        {"role": "user", "content": "and?"},
    ]
    ask = await asked(chat(messages=messages, reasoning_effort="xhigh"))
    assert isinstance(ask.work, Chat)
    seen = Media(kind="image", format="png", data=PNG)
    heard = Media(kind="audio", format="wav", data="UklGRg==")
    assert ask.work.messages[0] == Message(role="user", content="see", parts=("see", seen, heard))
    assert ask.work.messages[1].thought == "hm"
    assert ask.work.effort == "max"
    assert needed(ask.work) == {"chat", "vision", "audio"}


async def test_odds_and_biases_reach_the_house() -> None:
    ask = await asked(chat(logprobs=True, top_logprobs=2, logit_bias={"5": -100}))
    assert ask.sampling == Sampling(odds=2, bias=((5, -100.0),))


async def test_the_official_client_gets_the_odds_of_tokens() -> None:
    odds = (Odds(token="hi", logprob=-0.5, raw=(104, 105), others=(Odds(token="ho", logprob=-2),)),)
    async with client_of(ScriptedHouse(script=(Delta(text="hi", odds=odds), FINISH))) as client:
        whole = await client.chat.completions.create(
            model="tiny", messages=MESSAGES, logprobs=True, top_logprobs=1
        )
        stream = await client.chat.completions.create(
            model="tiny", messages=MESSAGES, logprobs=True, top_logprobs=1, stream=True
        )
        chunks = [chunk async for chunk in stream]
    for told in (
        whole.choices[0].logprobs,
        chunks[0].choices[0].logprobs or chunks[1].choices[0].logprobs,
    ):
        assert told is not None
        assert told.content is not None
        assert (told.content[0].token, told.content[0].logprob) == ("hi", -0.5)
        assert told.content[0].top_logprobs[0].token == "ho"


async def test_the_official_client_gets_thoughts_apart_from_the_answer() -> None:
    script = (Thought(text="hm"), Delta(text="yes"), FINISH)
    async with client_of(ScriptedHouse(script=script)) as client:
        whole = await client.chat.completions.create(model="tiny", messages=MESSAGES)
        stream = await client.chat.completions.create(model="tiny", messages=MESSAGES, stream=True)
        chunks = [chunk async for chunk in stream]
    assert whole.choices[0].message.content == "yes"
    assert whole.choices[0].message.model_dump()["reasoning_content"] == "hm"
    deltas = [chunk.choices[0].delta.model_dump() for chunk in chunks]
    assert "".join(delta.get("reasoning_content") or "" for delta in deltas) == "hm"
    assert "".join(delta["content"] or "" for delta in deltas) == "yes"


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


# Hanging up


WINDOWS = [
    (CHAT, -1),
    (CHAT, 1),
    (STREAMED_CHAT, -1),
    (STREAMED_CHAT, 1),
    (STREAMED_CHAT, 2),
]


@pytest.mark.parametrize(("body", "hold_at"), WINDOWS)
async def test_a_client_that_hangs_up_ends_the_work_for_it(body: bytes, hold_at: int) -> None:
    house = ScriptedHouse(hold_at=hold_at)
    async with at_the_door(house) as address:
        _, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(request("POST", CHAT_PATH, address, body=body))
        await asyncio.wait_for(house.is_held.wait(), 5)
        writer.close()
        await asyncio.wait_for(house.has_left.wait(), 5)
        assert house.closed_early == [True]


async def test_a_client_that_waits_is_answered_and_nothing_is_closed_early() -> None:
    house = ScriptedHouse(hold_at=1)
    async with at_the_door(house) as address:
        waiting = asyncio.create_task(post(address, STREAMED_CHAT))
        await asyncio.wait_for(house.is_held.wait(), 5)
        house.go_on.set()
        answered = await waiting
    assert answered.text.endswith("data: [DONE]\n\n")
    assert house.closed_early == [False]


async def test_each_piece_of_a_stream_is_sent_before_the_next_is_there() -> None:
    house = ScriptedHouse(hold_at=1)
    async with at_the_door(house) as address:
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(request("POST", CHAT_PATH, address, body=STREAMED_CHAT))
        first = await asyncio.wait_for(reader.readuntil(b'"Hel"'), 5)
        house.go_on.set()
        rest = await asyncio.wait_for(reader.read(), 5)
        writer.close()
    assert b'"role":"assistant"' in first
    assert b"[DONE]" in rest


async def test_one_connection_serves_one_request_after_another() -> None:
    async with at_the_door(ScriptedHouse()) as address:
        reader, writer = await asyncio.open_connection(address.host, address.port)
        kept = request("POST", CHAT_PATH, address, body=CHAT).replace(b"Connection: close\r\n", b"")
        for _ in range(3):
            writer.write(kept)
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
            length = int(parsed(head).headers["content-length"])
            assert b'"object":"chat.completion"' in await reader.readexactly(length)
        writer.close()


# Closing


async def test_a_request_that_is_going_on_may_end_while_the_door_closes() -> None:
    house = ScriptedHouse(hold_at=1)
    async with at_the_door(house) as address:
        waiting = asyncio.create_task(post(address, STREAMED_CHAT))
        await asyncio.wait_for(house.is_held.wait(), 5)
        asyncio.get_running_loop().call_soon(house.go_on.set)
    assert (await waiting).text.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize("body", [CHAT, STREAMED_CHAT])
async def test_a_request_that_outlasts_the_closing_is_told_so(body: bytes) -> None:
    house = ScriptedHouse(hold_at=1)
    async with at_the_door(house, patience=Patience(drain_s=0)) as address:
        waiting = asyncio.create_task(post(address, body))
        await asyncio.wait_for(house.is_held.wait(), 5)
    answered = await waiting
    assert ShuttingDown.code in answered.text
    assert "[DONE]" not in answered.text
    assert house.closed_early == [True]


async def test_a_closed_door_lets_nobody_in() -> None:
    async with at_the_door(ScriptedHouse()) as address:
        pass
    with pytest.raises(ConnectionRefusedError):
        await get(address, "/")


async def test_a_web_origin_that_asks_beforehand_learns_nothing() -> None:
    async with at_the_door(ScriptedHouse()) as address:
        preflight = request("OPTIONS", CHAT_PATH, address, headers=["Origin: https://evil.example"])
        answered = await exchanged(address, preflight)
    assert answered.status == 405
    assert answered.headers["allow"] == "POST"
    assert not [name for name in answered.headers if name.startswith("access-control")]
