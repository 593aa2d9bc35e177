"""The OpenAI door for chat: the official client, and the bytes that it receives."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import openai
import pytest
from msgspec.structs import replace
from tests.contract.door_support import (
    DECIDED,
    DECISION,
    FINISH,
    STREAMED_CHAT,
    VERSION,
    ScriptedHouse,
    at_the_door,
    post,
)
from tests.contract.openai_door_support import MESSAGES, chat

from arbiter.errors import (
    Busy,
    InstanceLost,
    LoadFailed,
    NothingCapable,
    StreamCut,
    UnknownModel,
)
from arbiter.inference import (
    Delta,
    Odds,
    Thought,
    Usage,
)


@asynccontextmanager
async def client_of(house: ScriptedHouse) -> AsyncIterator[openai.AsyncOpenAI]:
    async with (
        at_the_door(house) as address,
        openai.AsyncOpenAI(base_url=f"{address.url}/v1", api_key="unused", max_retries=0) as client,
    ):
        yield client


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
