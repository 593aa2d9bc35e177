"""Several answers to one chat, by OpenAI's own client: each decided by itself, in one response."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import openai
from msgspec.structs import replace
from tests.contract.door_support import (
    DECIDED,
    FINISH,
    ScriptedHouse,
    ScriptedReply,
    at_the_door,
    post,
)

from arbiter.errors import StreamCut
from arbiter.inference import Ask, Called, Chunk, Delta, Finish, FinishReason, Thought
from arbiter.refs import DecisionId

CALLS = (
    Thought(text="hm"),
    Called(index=0, name="clock"),
    Finish(reason=FinishReason.TOOL_CALLS, usage=FINISH.usage),
)
ANSWERS: Sequence[Sequence[Chunk]] = ((Delta(text="Hel"), Delta(text="lo"), FINISH), CALLS)
ASKED: Any = [{"role": "user", "content": "hi"}]


@dataclass
class Changing(ScriptedHouse):
    """A house whose answers go through these, each with a decision of its own."""

    answers: Sequence[Sequence[Chunk]] = ANSWERS
    given: int = 0
    breaks_at: int | None = None
    seeds: list[int | None] = field(default_factory=list)

    @asynccontextmanager
    async def answer(self, ask: Ask) -> AsyncIterator[ScriptedReply]:
        self.seeds.append(ask.sampling.seed)
        self.script = self.answers[self.given % len(self.answers)]
        self.fails_at = 1 if self.given == self.breaks_at else None
        self.failure = StreamCut()
        self.given += 1
        self.decided = replace(DECIDED, decision=DecisionId(f"dec_{self.given}"))
        async with super().answer(ask) as reply:
            yield reply


@asynccontextmanager
async def client_of(house: ScriptedHouse) -> AsyncIterator[openai.AsyncOpenAI]:
    async with (
        at_the_door(house) as address,
        openai.AsyncOpenAI(base_url=f"{address.url}/v1", api_key="unused", max_retries=0) as client,
    ):
        yield client


async def test_each_answer_has_its_choice_and_names_its_decision() -> None:
    house = Changing()
    async with client_of(house) as client:
        raw = await client.chat.completions.with_raw_response.create(
            model="tiny", messages=ASKED, n=3, seed=1
        )
    answer = raw.parse()
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert [choice.message.content for choice in answer.choices] == ["Hello", None, "Hello"]
    assert [choice.finish_reason for choice in answer.choices] == ["stop", "tool_calls", "stop"]
    calls = answer.choices[1].message.tool_calls
    assert calls is not None
    assert (calls[0].id, answer.id) == ("call_dec_2_0", "chatcmpl-dec_1")
    by: list[Any] = [(choice.model_extra or {})["arbiter"] for choice in answer.choices]
    assert [one["decision"] for one in by] == ["dec_1", "dec_2", "dec_3"]
    assert raw.headers["x-request-id"] == "dec_1"
    assert answer.usage is not None
    assert answer.usage.total_tokens == 27
    assert house.seeds == [1, 2, 3]


async def test_the_clients_own_stream_puts_them_together_again() -> None:
    async with (
        client_of(Changing()) as client,
        client.chat.completions.stream(
            model="tiny", messages=ASKED, n=2, stream_options={"include_usage": True}
        ) as stream,
    ):
        final = await stream.get_final_completion()
    assert [choice.message.content for choice in final.choices] == ["Hello", ""]
    calls = final.choices[1].message.tool_calls
    assert calls is not None
    assert (calls[0].function.name, calls[0].function.arguments) == ("clock", "{}")
    assert final.usage is not None
    assert final.usage.total_tokens == 18


async def test_every_answer_of_a_stream_begins_with_its_role_and_ends_with_its_decision() -> None:
    async with client_of(Changing()) as client:
        stream = await client.chat.completions.create(
            model="tiny", messages=ASKED, n=2, stream=True
        )
        choices = [chunk.choices[0] async for chunk in stream]
    firsts = [next(one for one in choices if one.index == place) for place in (0, 1)]
    lasts = [[one for one in choices if one.index == place][-1] for place in (0, 1)]
    assert [one.delta.role for one in firsts] == ["assistant", "assistant"]
    assert [one.finish_reason for one in lasts] == ["stop", "tool_calls"]
    by: list[Any] = [(one.model_extra or {})["arbiter"]["decision"] for one in lasts]
    assert by == ["dec_1", "dec_2"]


async def test_an_answer_of_nothing_is_a_choice_all_the_same() -> None:
    house = Changing(answers=[(FINISH,)])
    async with client_of(house) as client:
        whole = await client.chat.completions.create(model="tiny", messages=ASKED, n=2)
        stream = await client.chat.completions.create(
            model="tiny", messages=ASKED, n=2, stream=True
        )
        chunks = [chunk.choices[0] async for chunk in stream]
    assert [choice.message.content for choice in whole.choices] == ["", ""]
    assert [(one.index, one.finish_reason) for one in chunks] == [
        (0, None), (0, "stop"), (1, None), (1, "stop")
    ]  # fmt: skip


async def test_what_breaks_off_names_its_own_decision() -> None:
    body = {"model": "tiny", "messages": ASKED, "n": 3, "stream": True}
    async with at_the_door(Changing(answers=ANSWERS[:1], breaks_at=1)) as address:
        answered = await post(address, json.dumps(body).encode())
    assert '"decision":"dec_2"' in answered.text.splitlines()[-2]
    assert "[DONE]" not in answered.text
