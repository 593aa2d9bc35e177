"""Embeddings at the OpenAI door, by OpenAI's own client and byte by byte."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import openai
import pytest
from msgspec.structs import replace
from tests.contract.door_support import (
    DECISION,
    ScriptedHouse,
    at_the_door,
    post,
    request,
)

from arbiter.errors import CannotDo
from arbiter.inference import Ask, Auto, Chunk, Embedding, Finish, FinishReason, Usage, Vectors

PATH = "/v1/embeddings"
MADE = Vectors(vectors=((1.0, -0.5, 0.25), (0.0, 1e-3, 1e300)))
END = Finish(reason=FinishReason.STOP, usage=Usage(prompt_tokens=5))
SCRIPT: tuple[Chunk, ...] = (MADE, END)


@asynccontextmanager
async def client_of(house: ScriptedHouse) -> AsyncIterator[openai.AsyncOpenAI]:
    async with (
        at_the_door(house) as address,
        openai.AsyncOpenAI(base_url=f"{address.url}/v1", api_key="unused", max_retries=0) as client,
    ):
        yield client


def body(**fields: object) -> bytes:
    return json.dumps({"model": "auto", "input": ["a", "b"], **fields}).encode()


async def asked(**fields: object) -> Ask:
    house = ScriptedHouse(script=SCRIPT)
    async with at_the_door(house) as address:
        answered = await post(address, body(**fields), path=PATH)
    assert answered.status == 200, answered.text
    return house.asks[0]


async def test_the_official_client_gets_vectors_packed_as_it_asks_by_itself() -> None:
    house = ScriptedHouse(script=SCRIPT)
    async with client_of(house) as client:
        answer = await client.embeddings.create(model="auto", input=["a", "b"])
    assert [list(one.embedding) for one in answer.data] == [
        [1.0, -0.5, 0.25],
        [0.0, pytest.approx(1e-3), float("inf")],
    ]
    assert [one.index for one in answer.data] == [0, 1]
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (5, 5)


async def test_the_official_client_gets_vectors_as_numbers() -> None:
    async with client_of(ScriptedHouse(script=SCRIPT)) as client:
        answer = await client.embeddings.create(
            model="auto", input=["a", "b"], encoding_format="float"
        )
    assert answer.data[0].embedding == [1.0, -0.5, 0.25]


async def test_vectors_are_these_bytes() -> None:
    script = (Vectors(vectors=((1.0, -0.5),)), END)
    async with at_the_door(ScriptedHouse(script=script)) as address:
        numbers = await post(address, body(input="a"), path=PATH)
        packed = await post(address, body(input="a", encoding_format="base64"), path=PATH)
    assert numbers.headers["x-arbiter-decision"] == DECISION
    assert numbers.text == (
        '{"object":"list","data":[{"object":"embedding","index":0,"embedding":[1.0,-0.5]}],'
        '"model":"auto","usage":{"prompt_tokens":5,"total_tokens":5}}'
    )
    assert '"embedding":"AACAPwAAAL8="' in packed.text


async def test_tokens_that_the_engine_did_not_count_are_not_made_up() -> None:
    script = (MADE, replace(END, usage=Usage()))
    async with at_the_door(ScriptedHouse(script=script)) as address:
        answered = await post(address, body(), path=PATH)
    assert json.loads(answered.body)["usage"] is None


async def test_texts_reach_the_house_in_their_order() -> None:
    ask = await asked(dimensions=8, metadata={"task": "search"})
    assert ask.target == Auto()
    assert ask.work == Embedding(inputs=("a", "b"), dimensions=8)
    assert (ask.task, ask.stream) == ("search", False)


async def test_one_text_is_a_list_of_one() -> None:
    assert (await asked(input="a")).work == Embedding(inputs=("a",))


async def test_as_many_texts_as_openai_takes_are_taken() -> None:
    assert len((await asked(input=["a"] * 2048)).work.inputs) == 2048  # type: ignore[union-attr]  # it is an embedding


MISTAKES = [
    ({"input": ""}, "input", "invalid_field"),
    ({"input": []}, "input", "invalid_field"),
    ({"input": ["a"] * 2049}, "input", "invalid_field"),
    ({"input": ["a", ""]}, "input[1]", "invalid_field"),
    ({"input": ["a", None]}, "input[1]", "invalid_field"),
    ({"input": [1, 2]}, "input", "unsupported"),
    ({"input": [[1, 2]]}, "input", "unsupported"),
    ({"input": {}}, "input", "invalid_field"),
    ({"dimensions": 0}, "dimensions", "invalid_field"),
    ({"encoding_format": "int8"}, "encoding_format", "invalid_field"),
    ({"model": "task:a", "metadata": {"task": "b"}}, "task", "invalid_field"),
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


async def test_a_model_that_makes_no_vectors_is_the_clients_own_exception() -> None:
    failure = CannotDo("tiny cannot do embedding.", param="model")
    async with client_of(ScriptedHouse(fails_at=-1, failure=failure)) as client:
        with pytest.raises(openai.BadRequestError, match="cannot do embedding"):
            await client.embeddings.create(model="tiny", input="a")


async def test_a_client_that_hangs_up_ends_the_work_for_it() -> None:
    house = ScriptedHouse(script=SCRIPT, hold_at=1)
    async with at_the_door(house) as address:
        _, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(request("POST", PATH, address, body=body()))
        await asyncio.wait_for(house.is_held.wait(), 5)
        writer.close()
        await asyncio.wait_for(house.has_left.wait(), 5)
        assert house.closed_early == [True]
