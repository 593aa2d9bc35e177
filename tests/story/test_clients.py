"""The official `openai` client at the door of a house that serves a real model."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
from tests.story.houses import house_with

from arbiter.house import House
from arbiter.refs import parse_name


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with house_with(tmp_path / "data", ["sparrow", "owl"], ["sentiment", "sum"]) as house:
        await house.admission.set_alias(parse_name("fast"), parse_name("sparrow"), who="test")
        yield house


@pytest.fixture
async def client(house: House) -> AsyncIterator[openai.AsyncOpenAI]:
    async with (
        house.door() as address,
        openai.AsyncOpenAI(base_url=f"{address.url}/v1", api_key="unused", max_retries=0) as client,
    ):
        yield client


ASKED: list[openai.types.chat.ChatCompletionMessageParam] = [
    {"role": "user", "content": "Review: the soup was lovely."}
]


async def test_an_answer_comes_with_who_gave_it_and_why(
    client: openai.AsyncOpenAI, house: House
) -> None:
    raw = await client.chat.completions.with_raw_response.create(
        model="task:sentiment", messages=ASKED, temperature=0
    )
    answer = raw.parse()
    assert answer.choices[0].message.content == "positive"
    assert raw.headers["x-arbiter-alias"] == "fast"
    assert raw.headers["x-arbiter-arm"] == "none"
    assert "is worth" in raw.headers["x-arbiter-reason"]
    record = await house.record(raw.headers["x-arbiter-decision"])
    assert record.outcome is not None
    assert answer.usage is not None
    assert record.outcome.usage.completion_tokens == answer.usage.completion_tokens
    assert record.outcome.cpu.value is not None
    assert record.outcome.cpu.method == "measured"


async def test_a_stream_says_the_same_and_ends_with_its_usage(client: openai.AsyncOpenAI) -> None:
    whole = await client.chat.completions.create(model="fast", messages=ASKED, temperature=0)
    stream = await client.chat.completions.create(
        model="fast",
        messages=ASKED,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage is not None
    assert whole.usage is not None
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


async def test_every_name_is_listed_and_auto_with_them(client: openai.AsyncOpenAI) -> None:
    listed = await client.models.list()
    assert [model.id for model in listed.data] == ["auto", "fast", "owl", "sparrow"]
    auto, *named = [set((model.model_extra or {})["capabilities"]) for model in listed.data]
    assert auto == set.union(*named) != set()


async def test_mistakes_are_the_errors_that_the_client_knows(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="Known: fast, owl, sparrow"):
        await client.chat.completions.create(model="ghost", messages=ASKED)
    with pytest.raises(openai.BadRequestError, match="temperature"):
        await client.chat.completions.create(model="fast", messages=ASKED, temperature=9)
    with pytest.raises(openai.UnprocessableEntityError, match="cannot do vision"):
        await client.chat.completions.create(
            model="auto", messages=ASKED, metadata={"needs": "vision"}
        )
    with pytest.raises(openai.BadRequestError, match="expected answer is none of"):
        await client.chat.completions.create(
            model="fast", messages=ASKED, metadata={"task": "sentiment", "expected": "meh"}
        )


async def test_a_prompt_that_is_too_long_for_the_model_says_so(
    client: openai.AsyncOpenAI,
) -> None:
    with pytest.raises(openai.BadRequestError, match="tokens"):
        await client.chat.completions.create(
            model="fast", messages=[{"role": "user", "content": "word " * 300}]
        )


async def test_a_prompt_that_is_too_long_for_every_model_has_the_code_that_agents_look_for(
    client: openai.AsyncOpenAI,
) -> None:
    long = "word " * 40_000
    with pytest.raises(
        openai.BadRequestError, match=r"maximum context length is .*estimated at"
    ) as chat:
        await client.chat.completions.create(
            model="auto", messages=[{"role": "user", "content": long}], stream=True
        )
    with pytest.raises(
        openai.BadRequestError, match=r"maximum context length is .*estimated at"
    ) as response:
        await client.responses.create(model="auto", input=long)
    with pytest.raises(
        openai.BadRequestError, match=r"maximum context length is .*estimated at"
    ) as completion:
        await client.completions.create(model="task:sum", prompt=long)
    codes = {one.value.code for one in (chat, response, completion)}
    assert codes == {"context_length_exceeded"}


async def test_each_answer_to_several_prompts_is_on_record_by_itself(
    client: openai.AsyncOpenAI, house: House
) -> None:
    answer = await client.completions.create(
        model="task:sum", prompt=["1+1=", "2+3="], echo=True, max_tokens=2, temperature=0
    )
    assert [choice.text[:4] for choice in answer.choices] == ["1+1=", "2+3="]
    decisions = [(choice.model_extra or {})["arbiter"]["decision"] for choice in answer.choices]
    records = [await house.record(one) for one in decisions]
    tokens = [one.outcome and one.outcome.usage.completion_tokens for one in records]
    assert len(set(decisions)) == 2
    assert all(tokens)
    assert answer.usage is not None
    assert answer.usage.completion_tokens == sum(one or 0 for one in tokens)
    assert await house.feedback(decisions[1], 1.0)


async def test_a_response_says_the_same_whole_and_streamed(client: openai.AsyncOpenAI) -> None:
    question = "Review: the soup was lovely."
    whole = await client.responses.create(model="fast", input=question, temperature=0)
    assert whole.output_text == "positive"
    assert whole.usage is not None
    assert whole.usage.output_tokens
    async with client.responses.stream(model="fast", input=question, temperature=0) as stream:
        final = await stream.get_final_response()
    assert final.output_text == whole.output_text
    again = await client.responses.create(
        model="fast",
        input=[
            {"role": "user", "content": question},
            *[item.model_dump() for item in whole.output],  # type: ignore[list-item]
            {"role": "user", "content": "Review: the soup was awful."},
        ],
        temperature=0,
    )
    assert again.output_text


@pytest.mark.parametrize("others", [0, 3])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_real_model_tells_how_probable_its_tokens_were(
    client: openai.AsyncOpenAI, stream: bool, others: int
) -> None:
    if stream:
        chunks = await client.chat.completions.create(
            model="fast",
            messages=ASKED,
            temperature=0,
            logprobs=True,
            top_logprobs=others,
            stream=True,
        )
        told = [
            one
            async for chunk in chunks
            for choice in chunk.choices
            for one in (choice.logprobs.content if choice.logprobs else None) or ()
        ]
    else:
        whole = await client.chat.completions.create(
            model="fast", messages=ASKED, temperature=0, logprobs=True, top_logprobs=others
        )
        logprobs = whole.choices[0].logprobs
        told = list((logprobs.content if logprobs else None) or ())
    assert "positive" in "".join(one.token for one in told)
    assert all(one.logprob <= 0 for one in told)
    assert {len(one.top_logprobs) for one in told} == {others}


async def test_a_real_model_tells_how_probable_the_tokens_of_a_text_were(
    client: openai.AsyncOpenAI,
) -> None:
    asked: Any = {"model": "fast", "prompt": "Review: the soup", "max_tokens": 4, "temperature": 0}
    whole = await client.completions.create(**asked, logprobs=2)
    stream = await client.completions.create(**asked, logprobs=2, stream=True)
    pieces = [piece.choices[0] async for piece in stream]
    told = whole.choices[0].logprobs
    assert told is not None
    assert "".join(told.tokens or ()) == whole.choices[0].text
    assert all(len(one) in {2, 3} for one in told.top_logprobs or ())
    streamed = [token for one in pieces if one.logprobs for token in one.logprobs.tokens or ()]
    assert streamed == told.tokens


async def test_a_picture_is_refused_by_a_model_that_cannot_see(client: openai.AsyncOpenAI) -> None:
    url = "data:image/png;base64,iVBORw0KGgoAAAAN"
    with pytest.raises(openai.BadRequestError, match="fast cannot do vision"):
        await client.chat.completions.create(
            model="fast",
            messages=[
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}
            ],
        )
