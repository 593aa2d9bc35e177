"""Several answers to one request: each decided by itself, in order, in one response."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import openai
import pytest
from msgspec.structs import replace
from tests.contract.door_support import (
    DECIDED,
    USE_KEY,
    Answered,
    ScriptedHouse,
    ScriptedReply,
    at_the_door,
    post,
    request,
)

from arbiter.clock import ManualClock
from arbiter.errors import Busy, StreamCut
from arbiter.gateway.limits import Allowance, KeyLimits
from arbiter.gateway.security import Access, Key, Policy, Ring, hashed
from arbiter.inference import Ask, Chunk, Completion, Delta, Finish, FinishReason, Odds, Usage
from arbiter.refs import DecisionId

PATH = "/v1/completions"


def spoken(ask: Ask, prompt_tokens: int = 1) -> Sequence[Chunk]:
    """The prompt in capitals, a letter a piece."""
    assert isinstance(ask.work, Completion)
    odds = ask.sampling.odds is not None
    letters = [
        Delta(text=one, odds=(Odds(token=one, logprob=-1.0),) if odds else ())
        for one in ask.work.prompt.upper()
    ]
    usage = Usage(prompt_tokens=prompt_tokens, completion_tokens=len(letters))
    return (*letters, Finish(reason=FinishReason.LENGTH, usage=usage))


@dataclass
class Speaking(ScriptedHouse):
    """A house that answers each prompt, and notes who was open beside whom.

    fails_for: the prompt whose answer never begins. breaks_for: the one that breaks off.
    prompt_tokens: what each prompt takes.
    """

    fails_for: str = ""
    breaks_for: str = ""
    prompt_tokens: int = 1
    prompts: list[str] = field(default_factory=list)
    open_now: int = 0
    most_open: int = 0

    @asynccontextmanager
    async def answer(self, ask: Ask) -> AsyncIterator[ScriptedReply]:
        assert isinstance(ask.work, Completion)
        self.prompts.append(ask.work.prompt)
        self.script = spoken(ask, self.prompt_tokens)
        self.fails_at = 1 if ask.work.prompt == self.breaks_for else None
        self.failure = StreamCut()
        if ask.work.prompt == self.fails_for:
            busy = Busy()
            busy.decision = f"dec_{len(self.prompts)}"
            raise busy
        self.decided = replace(DECIDED, decision=DecisionId(f"dec_{len(self.prompts)}"))
        self.open_now += 1
        self.most_open = max(self.most_open, self.open_now)
        try:
            async with super().answer(ask) as reply:
                yield reply
        finally:
            self.open_now -= 1


@asynccontextmanager
async def client_of(house: ScriptedHouse) -> AsyncIterator[openai.AsyncOpenAI]:
    async with (
        at_the_door(house) as address,
        openai.AsyncOpenAI(base_url=f"{address.url}/v1", api_key="unused", max_retries=0) as client,
    ):
        yield client


def body(**fields: object) -> bytes:
    return json.dumps({"model": "tiny", "prompt": ["ab", "cde"], **fields}).encode()


async def told(house: ScriptedHouse, **fields: object) -> Answered:
    async with at_the_door(house) as address:
        return await post(address, body(**fields), path=PATH)


async def test_each_prompt_has_its_choice_in_order_and_usage_is_the_sum() -> None:
    async with client_of(Speaking()) as client:
        answer = await client.completions.create(model="tiny", prompt=["ab", "cde"])
    assert [(one.index, one.text, one.finish_reason) for one in answer.choices] == [
        (0, "AB", "length"),
        (1, "CDE", "length"),
    ]
    assert answer.id == "cmpl-dec_1"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (2, 5)


async def test_each_choice_names_its_decision_whole_and_streamed() -> None:
    async with client_of(Speaking()) as client:
        answer = await client.completions.create(model="tiny", prompt=["ab", "cde"])
    async with client_of(Speaking()) as client:
        stream = await client.completions.create(model="tiny", prompt=["ab", "cde"], stream=True)
        ends = [c.choices[0] async for c in stream if not c.choices[0].text]
    for choices in (answer.choices, ends):
        named: list[Any] = [(one.model_extra or {})["arbiter"]["decision"] for one in choices]
        assert named == ["dec_1", "dec_2"]


async def test_a_stream_brings_one_answer_after_another() -> None:
    house = Speaking()
    async with client_of(house) as client:
        stream = await client.completions.create(
            model="tiny", prompt=["ab", "cde"], stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
    *said, used = chunks
    assert [(c.choices[0].index, c.choices[0].text) for c in said] == [
        (0, "A"), (0, "B"), (0, ""), (1, "C"), (1, "D"), (1, "E"), (1, "")
    ]  # fmt: skip
    assert {chunk.id for chunk in chunks} == {"cmpl-dec_1"}
    assert used.usage is not None
    assert used.usage.total_tokens == 7
    assert house.most_open == 1


async def test_n_answers_to_each_prompt_stand_together() -> None:
    house = Speaking()
    answer = json.loads((await told(house, n=2, seed=7)).body)
    assert house.prompts == ["ab", "ab", "cde", "cde"]
    assert [one["index"] for one in answer["choices"]] == [0, 1, 2, 3]
    assert [ask.sampling.seed for ask in house.asks] == [7, 8, 7, 8]
    assert len({ask.conversation for ask in house.asks}) == 2


async def test_a_seed_at_the_end_of_its_range_counts_down() -> None:
    house = Speaking()
    await told(house, prompt="a", n=2, seed=2**63 - 1)
    assert [ask.sampling.seed for ask in house.asks] == [2**63 - 1, 2**63 - 2]


@pytest.mark.parametrize("prompt", ["ab", ["ab"], ["ab", "cde"]])
async def test_an_echo_is_the_prompt_before_the_text(prompt: str | list[str]) -> None:
    async with client_of(Speaking()) as client:
        whole = await client.completions.create(model="tiny", prompt=prompt, echo=True)
    async with client_of(Speaking()) as client:
        stream = await client.completions.create(
            model="tiny", prompt=prompt, echo=True, stream=True
        )
        pieces = [(c.choices[0].index, c.choices[0].text) async for c in stream]
    texts = ["abAB", "cdeCDE"][: len(whole.choices)]
    assert [one.text for one in whole.choices] == texts
    for index, text in enumerate(texts):
        assert "".join(piece for at, piece in pieces if at == index) == text


async def test_the_odds_of_each_text_begin_anew() -> None:
    answer = json.loads((await told(Speaking(), logprobs=0)).body)
    assert [one["logprobs"]["text_offset"] for one in answer["choices"]] == [[0, 1], [0, 1, 2]]
    async with client_of(Speaking()) as client:
        stream = await client.completions.create(
            model="tiny", prompt=["ab", "cde"], logprobs=0, stream=True
        )
        offsets = [c.choices[0].logprobs async for c in stream if c.choices[0].logprobs]
    assert [one.text_offset for one in offsets] == [[0], [1], [0], [1], [2]]


async def test_what_fails_before_it_begins_fails_the_whole_response() -> None:
    house = Speaking(fails_for="cde")
    answered = await told(house)
    assert (answered.status, json.loads(answered.body)["error"]["code"]) == (429, "busy")
    assert (house.prompts, house.open_now) == (["ab", "cde"], 0)
    # by the one that failed: the first is on record as a success
    assert json.loads(answered.body)["arbiter"]["decision"] == "dec_2"
    named = [answered.headers[name] for name in ("x-request-id", "x-arbiter-decision")]
    assert named == ["dec_2", "dec_2"]
    streamed = await told(Speaking(fails_for="cde"), stream=True)
    assert streamed.status == 200
    assert '"code":"busy"' in streamed.text
    assert "[DONE]" not in streamed.text


async def test_what_breaks_off_ends_the_response_with_its_own_decision() -> None:
    house = Speaking(breaks_for="ab")
    answered = await told(house, stream=True)
    assert '"code":"stream_cut"' in answered.text
    assert '"decision":"dec_1"' in answered.text
    assert (house.prompts, house.open_now) == (["ab"], 0)


async def test_a_client_that_hangs_up_ends_the_one_that_is_open_and_begins_no_other() -> None:
    house = Speaking(hold_at=1)
    async with at_the_door(house) as address:
        _, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(request("POST", PATH, address, body=body()))
        await asyncio.wait_for(house.is_held.wait(), 5)
        writer.close()
        await asyncio.wait_for(house.has_left.wait(), 5)
    assert (house.prompts, house.closed_early, house.open_now) == (["ab"], [True], 0)


async def test_each_answer_counts_for_the_bounds_of_a_key() -> None:
    allowance = Allowance(KeyLimits(per_minute=2, in_flight=1), ManualClock())
    few = Key(id="few", digest=hashed("sk-few"), access=Access.USE, allowance=allowance)
    policy = Policy(ring=Ring((few, USE_KEY)))
    async with at_the_door(Speaking(), policy) as address:
        first = await post(address, body(), ["x-api-key: sk-few"], PATH)
        again = await post(address, body(), ["x-api-key: sk-few"], PATH)
    assert (first.status, again.status) == (200, 429)


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        (PATH, {"prompt": "ab"}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}]}),
    ],
)
async def test_a_key_of_few_requests_a_minute_gets_no_more_answers_by_asking_for_many_at_once(
    path: str, asked: dict[str, object]
) -> None:
    clock, house = ManualClock(), ScriptedHouse()
    allowance = Allowance(KeyLimits(per_minute=5), clock)
    few = Key(id="few", digest=hashed("sk-few"), access=Access.USE, allowance=allowance)
    async with at_the_door(house, Policy(ring=Ring((few,)))) as address:

        async def answered(times: int) -> Answered:
            sent = json.dumps({"model": "tiny", "n": times, **asked}).encode()
            return await post(address, sent, ["x-api-key: sk-few"], path)

        never = await answered(128)
        assert (never.status, json.loads(never.body)["error"]["param"]) == (400, "n")
        assert (await answered(3)).status == 200
        later = await answered(3)
        assert (later.status, later.headers["retry-after"]) == (429, "12")
        assert len(house.asks) == 3
        clock.jump(12)
        assert (await answered(3)).status == 200


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_answers_that_have_ended_count_though_the_response_breaks_off(stream: bool) -> None:
    clock = ManualClock()
    allowance = Allowance(KeyLimits(tokens_per_minute=60), clock)
    few = Key(id="few", digest=hashed("sk-few"), access=Access.USE, allowance=allowance)
    house = Speaking(fails_for="last", prompt_tokens=70)  # and 2 of the answer: 13 too many
    asked = body(prompt=["ab", "last"], stream=stream)
    async with at_the_door(house, Policy(ring=Ring((few,)))) as address:
        await post(address, asked, ["x-api-key: sk-few"], PATH)
        refused = await post(address, asked, ["x-api-key: sk-few"], PATH)
    assert (refused.status, refused.headers["retry-after"]) == (429, "13")


async def test_answers_that_have_all_ended_count_once() -> None:
    allowance = Allowance(KeyLimits(tokens_per_minute=60), ManualClock())
    few = Key(id="few", digest=hashed("sk-few"), access=Access.USE, allowance=allowance)
    asked = body(prompt=["ab", "ab"])
    async with at_the_door(Speaking(prompt_tokens=27), Policy(ring=Ring((few,)))) as address:
        first = await post(address, asked, ["x-api-key: sk-few"], PATH)
        second = await post(address, asked, ["x-api-key: sk-few"], PATH)
        third = await post(address, asked, ["x-api-key: sk-few"], PATH)
    assert [first.status, second.status, third.status] == [200, 200, 429]


async def test_a_small_request_with_echo_does_not_become_an_endless_answer() -> None:
    asked = {"prompt": "long " * 3_000, "n": 128, "echo": True}
    refused = await told(Speaking(), **asked)
    assert (refused.status, json.loads(refused.body)["error"]["param"]) == (400, "echo")
    assert (await told(Speaking(), **{**asked, "n": 1})).status == 200


async def test_what_the_sender_calls_the_request_goes_with_every_answer() -> None:
    house = Speaking()
    async with at_the_door(house) as address:
        await post(address, body(), ["X-Request-Id: job-7"], PATH)
    assert [ask.sent_as for ask in house.asks] == ["job-7", "job-7"]
