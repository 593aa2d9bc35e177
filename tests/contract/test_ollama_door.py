"""The Ollama door for answers: the official client, and the bytes that it receives."""

from __future__ import annotations

import asyncio

import ollama
import pytest
from tests.contract.door_support import (
    DECIDED,
    DECISION,
    ScriptedHouse,
    at_the_door,
    post,
    request,
)
from tests.contract.ollama_door_support import CHAT, CLOCK, GENERATE, MESSAGES, body, client_of

from arbiter.errors import (
    Busy,
    EngineError,
    NothingCapable,
    ShuttingDown,
    StreamCut,
    UnknownModel,
)
from arbiter.inference import (
    Called,
    Chat,
    Completion,
    Delta,
    Embedding,
    Finish,
    FinishReason,
    Message,
    Odds,
    Thought,
    Timings,
    Usage,
    Vectors,
)

TIMED = Finish(
    reason=FinishReason.STOP,
    usage=Usage(prompt_tokens=7, completion_tokens=2),
    timings=Timings(prefill_ms=1.5, decode_ms=20.0, load_ms=0.25),
)

CALLS = (
    Delta(text="so"),
    Called(index=0, id="c1", name="clock", arguments='{"zone":'),
    Called(index=0, arguments='"UTC"}'),
    Called(index=1, name="clock"),
    Finish(reason=FinishReason.TOOL_CALLS),
)


async def streamed(client: ollama.AsyncClient) -> str:
    parts = await client.chat("x", MESSAGES, stream=True)
    return "".join([part.message.content or "" async for part in parts])


# The official client


async def test_the_official_client_talks() -> None:
    async with client_of(ScriptedHouse(script=(Delta(text="Hello"), TIMED))) as client:
        answer = await client.chat(model="tiny", messages=MESSAGES)
    assert answer.message.content == "Hello"
    assert answer.done
    assert answer.done_reason == "stop"
    assert answer.prompt_eval_count == 7
    assert answer.eval_count == 2
    assert answer.prompt_eval_duration == 1_500_000
    assert answer.eval_duration == 20_000_000
    assert answer.load_duration == 250_000


async def test_the_official_client_gets_a_stream() -> None:
    async with client_of(ScriptedHouse()) as client:
        stream = await client.chat(model="tiny", messages=MESSAGES, stream=True)
        parts = [part async for part in stream]
    assert "".join(part.message.content or "" for part in parts) == 'Hello "you"\n'
    assert [part.done for part in parts] == [False, False, True]
    assert parts[-1].eval_count == 2
    assert parts[-1].eval_duration is None


@pytest.mark.parametrize("stream", [False, True])
async def test_the_official_client_gets_thoughts_apart_from_the_answer(stream: bool) -> None:
    script = (Thought(text="hm"), Thought(text=", well"), Delta(text="yes"), TIMED)
    async with client_of(ScriptedHouse(script=script)) as client:
        if stream:
            parts = [
                part async for part in await client.chat("tiny", MESSAGES, stream=True, think=True)
            ]
        else:
            parts = [await client.chat("tiny", MESSAGES, think=True)]
    assert "".join(part.message.thinking or "" for part in parts) == "hm, well"
    assert "".join(part.message.content or "" for part in parts) == "yes"


@pytest.mark.parametrize("stream", [False, True])
async def test_the_official_client_gets_calls_of_tools_whole(stream: bool) -> None:
    async with client_of(ScriptedHouse(script=CALLS)) as client:
        if stream:
            parts = [
                p async for p in await client.chat("tiny", MESSAGES, tools=[CLOCK], stream=True)
            ]
        else:
            parts = [await client.chat("tiny", MESSAGES, tools=[CLOCK])]
    calls = [call for part in parts for call in part.message.tool_calls or ()]
    assert [(c.function.name, dict(c.function.arguments)) for c in calls] == [
        ("clock", {"zone": "UTC"}),
        ("clock", {}),
    ]
    assert "".join(part.message.content or "" for part in parts) == "so"


async def test_the_official_client_goes_on_from_a_prompt() -> None:
    house = ScriptedHouse(script=(Delta(text="Hello"), TIMED))
    async with client_of(house) as client:
        answer = await client.generate("tiny", "hi", system="be kind")
        raw = await client.generate("tiny", "Once", raw=True)
    assert answer.response == "Hello"
    assert raw.response == "Hello"
    assert house.asks[0].work == Chat(
        messages=(Message(role="system", content="be kind"), Message(role="user", content="hi"))
    )
    assert house.asks[1].work == Completion(prompt="Once")


async def test_the_official_client_gets_vectors() -> None:
    script = (
        Vectors(vectors=((0.5, -1.0), (0.25, 0.0))),
        Finish(reason=FinishReason.STOP, usage=Usage(prompt_tokens=4)),
    )
    house = ScriptedHouse(script=script)
    async with client_of(house) as client:
        answer = await client.embed("tiny", ["a", "b"], dimensions=2)
        old = await client.embeddings("tiny", "a")
    assert answer.embeddings == [[0.5, -1.0], [0.25, 0.0]]
    assert answer.prompt_eval_count == 4
    assert old.embedding == [0.5, -1.0]
    assert house.asks[0].work == Embedding(inputs=("a", "b"), dimensions=2)


ERRORS = [
    (UnknownModel("No model is called x.", param="model"), 404),
    (NothingCapable(), 422),
    (Busy(retry_after_s=3), 429),
    (ShuttingDown(), 503),
    (EngineError("/secret/path"), 502),
    (RuntimeError("/secret/path"), 500),
]


@pytest.mark.parametrize(("failure", "status"), ERRORS)
@pytest.mark.parametrize("stream", [False, True])
async def test_an_error_before_the_answer_is_the_clients_own_exception(
    failure: Exception, status: int, stream: bool
) -> None:
    async with client_of(ScriptedHouse(fails_at=-1, failure=failure)) as client:
        with pytest.raises(ollama.ResponseError) as caught:
            await (streamed(client) if stream else client.chat("x", MESSAGES))
    assert caught.value.status_code == status
    assert "secret" not in caught.value.error


async def test_an_error_within_a_stream_is_raised_by_the_client() -> None:
    async with client_of(ScriptedHouse(fails_at=1, failure=StreamCut())) as client:
        with pytest.raises(ollama.ResponseError, match="The engine died in the middle"):
            await streamed(client)


async def test_arguments_that_are_no_object_end_the_answer_with_an_error() -> None:
    script = (Called(index=0, id="c", name="clock", arguments="[1"), CALLS[-1])
    async with client_of(ScriptedHouse(script=script)) as client:
        with pytest.raises(ollama.ResponseError, match="no JSON object"):
            await client.chat("x", MESSAGES)
        with pytest.raises(ollama.ResponseError, match="no JSON object"):
            await streamed(client)


# Bytes

NOW = b'"created_at":"2026-01-01T00:00:00.000000Z"'


async def test_an_answer_is_these_bytes() -> None:
    async with at_the_door(ScriptedHouse(script=(Delta(text="hi"), TIMED))) as address:
        answer = await post(address, body(messages=MESSAGES), path=CHAT)
    assert answer.body == (
        b'{"model":"tiny",' + NOW + b',"message":{"role":"assistant","content":"hi"},'
        b'"done":true,"done_reason":"stop","total_duration":0,"load_duration":250000,'
        b'"prompt_eval_count":7,"prompt_eval_duration":1500000,'
        b'"eval_count":2,"eval_duration":20000000}'
    )
    assert answer.headers["content-type"] == "application/json"


async def test_a_stream_is_these_bytes_and_the_default() -> None:
    streamed = b'{"model":"tiny","prompt":"hi"}'
    async with at_the_door(ScriptedHouse(script=(Delta(text="hi"), TIMED))) as address:
        answer = await post(address, streamed, path=GENERATE)
    head = b'{"model":"tiny",' + NOW
    assert answer.body == (
        head + b',"response":"hi","done":false}\n' + head + b',"response":"","done":true,'
        b'"done_reason":"stop","total_duration":0,"load_duration":250000,"prompt_eval_count":7,'
        b'"prompt_eval_duration":1500000,"eval_count":2,"eval_duration":20000000}\n'
    )
    assert answer.headers["content-type"] == "application/x-ndjson"


async def test_calls_are_these_bytes() -> None:
    async with at_the_door(ScriptedHouse(script=CALLS)) as address:
        answer = await post(address, body(messages=MESSAGES, tools=[CLOCK]), path=CHAT)
    assert answer.body == (
        b'{"model":"tiny",' + NOW + b',"message":{"role":"assistant","content":"so",'
        b'"tool_calls":[{"id":"c1","function":{"index":0,"name":"clock",'
        b'"arguments":{"zone":"UTC"}}},{"id":"call_' + DECISION.encode() + b'_1",'
        b'"function":{"index":1,"name":"clock","arguments":{}}}]},'
        b'"done":true,"done_reason":"stop","total_duration":0}'
    )


async def test_a_stream_that_breaks_off_ends_with_a_line_that_says_so() -> None:
    async with at_the_door(ScriptedHouse(fails_at=1, failure=StreamCut())) as address:
        answer = await post(address, b'{"model":"tiny","prompt":"hi"}', path=GENERATE)
    assert answer.text.splitlines()[1] == (
        '{"error":"The engine died in the middle of its answer.",'
        '"arbiter":{"code":"stream_cut","ours":false,"decision":"' + DECISION + '"}}'
    )


async def test_the_odds_of_tokens_are_told_when_they_are_asked_for() -> None:
    odds = (Odds(token="hi", logprob=-0.5, raw=(104, 105), others=(Odds(token="ho", logprob=-2),)),)
    house = ScriptedHouse(script=(Delta(text="hi", odds=odds), TIMED))
    async with client_of(house) as client:
        whole = await client.chat("tiny", MESSAGES, logprobs=True, top_logprobs=1)
        parts = [
            part async for part in await client.chat("tiny", MESSAGES, logprobs=True, stream=True)
        ]
    assert [ask.sampling.odds for ask in house.asks] == [1, 0]
    for told in (whole.logprobs, parts[0].logprobs):
        assert told is not None
        assert told[0].token == "hi"
        assert told[0].logprob == -0.5
        assert told[0].top_logprobs is not None
        assert told[0].top_logprobs[0].token == "ho"


async def test_every_reply_says_what_was_decided() -> None:
    async with at_the_door(ScriptedHouse()) as address:
        for path, sent in (
            (CHAT, body(messages=MESSAGES)),
            (GENERATE, b'{"model":"tiny","prompt":"hi"}'),
        ):
            answer = await post(address, sent, path=path)
            assert answer.headers["x-arbiter-decision"] == DECISION
            assert answer.headers["x-arbiter-version"] == DECIDED.version


async def test_a_client_that_hangs_up_ends_the_work_for_it() -> None:
    house = ScriptedHouse(hold_at=1)
    async with at_the_door(house) as address:
        reader, writer = await asyncio.open_connection(address.host, address.port)
        streamed = b'{"model":"tiny","prompt":"hi"}'
        writer.write(request("POST", GENERATE, address, body=streamed))
        await reader.readuntil(b"Hel")
        await house.is_held.wait()
        writer.close()
        await asyncio.wait_for(house.has_left.wait(), 5)
    assert house.closed_early == [True]
