"""Text completions at the OpenAI door, by OpenAI's own client and byte by byte."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import openai
import pytest
from tests.contract.door_support import (
    DECISION,
    FINISH,
    ScriptedHouse,
    at_the_door,
    post,
    request,
)

from arbiter.errors import CannotDo, StreamCut
from arbiter.inference import Ask, Called, Completion, Delta, Finish, FinishReason, Odds, Sampling

PATH = "/v1/completions"


@asynccontextmanager
async def client_of(house: ScriptedHouse) -> AsyncIterator[openai.AsyncOpenAI]:
    async with (
        at_the_door(house) as address,
        openai.AsyncOpenAI(base_url=f"{address.url}/v1", api_key="unused", max_retries=0) as client,
    ):
        yield client


def body(**fields: object) -> bytes:
    return json.dumps({"model": "tiny", "prompt": "Once", **fields}).encode()


async def asked(**fields: object) -> Ask:
    house = ScriptedHouse()
    async with at_the_door(house) as address:
        answered = await post(address, body(**fields), path=PATH)
    assert answered.status == 200, answered.text
    return house.asks[0]


async def test_the_official_client_gets_a_text() -> None:
    async with client_of(ScriptedHouse()) as client:
        answer = await client.completions.create(model="tiny", prompt="Once")
    assert answer.choices[0].text == 'Hello "you"\n'
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == 9


async def test_the_official_client_gets_a_stream_and_its_usage() -> None:
    async with client_of(ScriptedHouse()) as client:
        stream = await client.completions.create(
            model="tiny", prompt="Once", stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].text for chunk in chunks[:-1]) == 'Hello "you"\n'
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert {chunk.id for chunk in chunks} == {f"cmpl-{DECISION}"}
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 9


async def test_a_text_is_these_bytes() -> None:
    async with at_the_door(ScriptedHouse()) as address:
        answered = await post(address, body(), path=PATH)
    assert answered.headers["x-arbiter-decision"] == DECISION
    assert answered.text == (
        '{"id":"cmpl-dec_01kdwzkm000000000000000000","object":"text_completion",'
        '"created":1767225600,"model":"tiny","system_fingerprint":"abababababab",'
        '"choices":[{"text":"Hello \\"you\\"\\n","index":0,"logprobs":null,'
        '"finish_reason":"stop"}],"usage":{"prompt_tokens":7,'
        '"completion_tokens":2,"total_tokens":9,"prompt_tokens_details":{"cached_tokens":3}}}'
    )


async def test_a_streamed_text_is_these_bytes() -> None:
    script = (Delta(text="a"), Delta(text=""), Called(index=0), Finish(reason=FinishReason.LENGTH))
    head = (
        'data: {"id":"cmpl-dec_01kdwzkm000000000000000000","object":"text_completion",'
        '"created":1767225600,"model":"tiny","system_fingerprint":"abababababab","choices":['
    )
    async with at_the_door(ScriptedHouse(script=script)) as address:
        answered = await post(address, body(stream=True), path=PATH)
    assert answered.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answered.text.split("\n\n") == [
        head + '{"text":"a","index":0,"logprobs":null,"finish_reason":null}]}',
        head + '{"text":"","index":0,"logprobs":null,"finish_reason":"length"}]}',
        "data: [DONE]",
        "",
    ]


LIKELY = (
    Delta(
        text="a b",
        odds=(
            Odds(token="a", logprob=-0.5, others=(Odds(token="x", logprob=-1.0),)),
            Odds(token=" b", logprob=-0.25, others=(Odds(token=" y", logprob=-2.0),)),
        ),
    ),
    Delta(text="c", odds=(Odds(token="c", logprob=-9e9),)),
    FINISH,
)


async def test_the_official_client_gets_the_odds_of_tokens_side_by_side() -> None:
    async with client_of(ScriptedHouse(script=LIKELY)) as client:
        answer = await client.completions.create(model="tiny", prompt="Once", logprobs=1)
        stream = await client.completions.create(
            model="tiny", prompt="Once", logprobs=1, stream=True
        )
        told = [c.choices[0].logprobs async for c in stream if c.choices[0].logprobs]
    whole = answer.choices[0].logprobs
    assert whole is not None
    assert whole.tokens == ["a", " b", "c"]
    assert whole.token_logprobs == [-0.5, -0.25, -9999.0]
    assert whole.top_logprobs == [{"x": -1.0, "a": -0.5}, {" y": -2.0, " b": -0.25}, {"c": -9999.0}]
    assert whole.text_offset == [0, 1, 3]
    assert [one.text_offset for one in told] == [[0, 1], [3]]
    assert [one.tokens for one in told] == [["a", " b"], ["c"]]


async def test_how_probable_tokens_are_is_asked_of_the_house() -> None:
    assert (await asked(logprobs=0)).sampling.odds == 0
    assert (await asked(logprobs=5)).sampling.odds == 5
    assert (await asked()).sampling.odds is None


async def test_a_prompt_and_how_to_go_on_reach_the_house() -> None:
    ask = await asked(prompt=["Once"], suffix="end.", max_tokens=3, stop="x", top_k=5, user="u")
    assert ask.work == Completion(prompt="Once", suffix="end.")
    assert ask.sampling == Sampling(max_tokens=3, stop=("x",), top_k=5)
    assert ask.conversation == "u"


async def test_what_asks_for_nothing_is_taken() -> None:
    ask = await asked(suffix="", echo=False, best_of=1, n=1, logprobs=None, logit_bias={})
    assert ask.work == Completion(prompt="Once")
    assert ask.sampling == Sampling()


async def test_a_conversation_is_known_by_its_prompt() -> None:
    assert (await asked()).conversation == (await asked()).conversation
    assert (await asked()).conversation != (await asked(prompt="Twice")).conversation


MISTAKES = [
    ({"prompt": None}, "prompt", "invalid_field"),
    ({"prompt": []}, "prompt", "invalid_field"),
    ({"prompt": ["a"] * 129}, "prompt", "invalid_field"),
    ({"prompt": ["a"] * 65, "n": 2}, "prompt", "invalid_field"),
    ({"prompt": [1, 2]}, "prompt", "unsupported"),
    ({"prompt": ["a", 2]}, "prompt", "unsupported"),
    ({"prompt": ["a", "b"], "metadata": {"expected": "c"}}, "expected", "invalid_field"),
    ({"prompt": [[1, 2]]}, "prompt", "unsupported"),
    ({"suffix": 1}, "suffix", "invalid_field"),
    ({"echo": True, "logprobs": 0}, "echo", "unsupported"),
    ({"echo": 1}, "echo", "invalid_field"),
    ({"best_of": 2}, "best_of", "unsupported"),
    ({"n": 0}, "n", "invalid_field"),
    ({"n": 129}, "n", "invalid_field"),
    ({"logprobs": 21}, "logprobs", "invalid_field"),
    ({"logprobs": True}, "logprobs", "invalid_field"),
    ({"max_tokens": 0}, "max_tokens", "invalid_field"),
    ({"model": "a b"}, "model", "invalid_field"),
    ({"model_path": "/x"}, "model_path", "invalid_field"),
]


@pytest.mark.parametrize(("fields", "param", "code"), MISTAKES)
async def test_a_mistake_is_refused_and_names_its_field(
    fields: dict[str, object], param: str, code: str
) -> None:
    async with at_the_door(house := ScriptedHouse()) as address:
        answered = await post(address, body(**fields), path=PATH)
    assert (answered.status, house.asks) == (400, []), answered.text
    error = json.loads(answered.body)["error"]
    assert (error["param"], error["code"]) == (param, code)


async def test_an_error_within_a_stream_is_raised_by_the_client() -> None:
    async with client_of(ScriptedHouse(fails_at=1, failure=StreamCut())) as client:
        stream = await client.completions.create(model="x", prompt="a", stream=True)
        with pytest.raises(openai.APIError, match="The engine died in the middle"):
            [chunk async for chunk in stream]


async def test_a_model_that_cannot_is_the_clients_own_exception() -> None:
    failure = CannotDo("tiny cannot do insert.", param="model")
    async with client_of(ScriptedHouse(fails_at=-1, failure=failure)) as client:
        with pytest.raises(openai.BadRequestError, match="cannot do insert") as caught:
            await client.completions.create(model="tiny", prompt="a", suffix="b")
    assert (caught.value.param, caught.value.code) == ("model", "cannot_do")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_hangs_up_ends_the_work_for_it(stream: bool) -> None:
    house = ScriptedHouse(hold_at=1)
    async with at_the_door(house) as address:
        _, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(request("POST", PATH, address, body=body(stream=stream)))
        await asyncio.wait_for(house.is_held.wait(), 5)
        writer.close()
        await asyncio.wait_for(house.has_left.wait(), 5)
        assert house.closed_early == [True]
