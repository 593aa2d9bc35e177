"""Bounds of a key: what is over them is refused with a time to come back, in every dialect."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st
from tests.contract.door_support import (
    CHAT,
    CHAT_PATH,
    STREAMED_CHAT,
    USE_KEY,
    Answered,
    ScriptedHouse,
    at_the_door,
    post,
)

from arbiter.clock import ManualClock
from arbiter.errors import InvalidField, OverLimit
from arbiter.gateway.limits import Allowance, Bucket, KeyLimits
from arbiter.gateway.security import Access, Key, Policy, Ring, hashed
from arbiter.gateway.serving import Address

KEY = ["x-api-key: sk-few"]


def bounded(clock: ManualClock, **limits: int) -> Policy:
    """A door with a key that has these bounds, and one that has none."""
    allowance = Allowance(KeyLimits(**limits), clock)
    few = Key(id="few", digest=hashed("sk-few"), access=Access.USE, allowance=allowance)
    return Policy(ring=Ring((few, USE_KEY)))


async def asked(address: Address, body: bytes = CHAT, path: str = CHAT_PATH) -> Answered:
    return await post(address, body, KEY, path)


# What each dialect says


MESSAGES: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]}
DIALECTS: list[tuple[str, Mapping[str, Any], str, str]] = [
    ("/v1/chat/completions", MESSAGES, "error.code", "over_limit"),
    ("/v1/chat/completions", {**MESSAGES, "stream": True}, "error.code", "over_limit"),
    ("/v1/completions", {"model": "tiny", "prompt": "hi"}, "error.type", "rate_limit_error"),
    ("/v1/embeddings", {"model": "tiny", "input": "hi"}, "error.code", "over_limit"),
    ("/v1/responses", {"model": "tiny", "input": "hi"}, "error.code", "over_limit"),
    ("/v1/messages", {**MESSAGES, "max_tokens": 9}, "error.type", "rate_limit_error"),
    ("/v1/messages/count_tokens", MESSAGES, "error.type", "rate_limit_error"),
    ("/api/chat", MESSAGES, "arbiter.code", "over_limit"),
    ("/api/generate", {"model": "tiny", "prompt": "hi"}, "arbiter.code", "over_limit"),
    ("/api/embed", {"model": "tiny", "input": "hi"}, "arbiter.code", "over_limit"),
]


@pytest.mark.parametrize(("path", "body", "where", "said"), DIALECTS)
async def test_too_many_requests_are_refused_in_each_dialects_words(
    path: str, body: Mapping[str, Any], where: str, said: str
) -> None:
    clock, house = ManualClock(), ScriptedHouse()
    async with at_the_door(house, bounded(clock, per_minute=2)) as address:
        for _ in range(2):
            await asked(address)
        refused = await asked(address, json.dumps(body).encode(), path)
    told = json.loads(refused.body)
    for part in where.split("."):
        told = told[part]
    assert (refused.status, told) == (429, said)
    assert refused.headers["retry-after"] == "30"
    assert refused.headers["x-should-retry"] == "true"
    assert "2 requests a minute" in refused.text
    assert len(house.asks) == 2


# What counts


async def test_a_minutes_worth_comes_back_evenly() -> None:
    clock = ManualClock()
    async with at_the_door(ScriptedHouse(), bounded(clock, per_minute=2)) as address:
        assert [(await asked(address)).status for _ in range(3)] == [200, 200, 429]
        clock.jump(29)
        assert (await asked(address)).headers["retry-after"] == "1"
        clock.jump(1)
        assert [(await asked(address)).status for _ in range(2)] == [200, 429]
        clock.jump(3600)
        assert [(await asked(address)).status for _ in range(3)] == [200, 200, 429]


async def test_what_is_refused_uses_nothing_up() -> None:
    clock = ManualClock()
    async with at_the_door(ScriptedHouse(), bounded(clock, per_minute=1)) as address:
        assert [(await asked(address)).status for _ in range(9)] == [200, *[429] * 8]
        clock.jump(60)
        assert (await asked(address)).status == 200


@pytest.mark.parametrize("body", [CHAT, STREAMED_CHAT], ids=["whole", "streamed"])
async def test_tokens_count_when_they_are_known(body: bytes) -> None:
    clock = ManualClock()  # the script's answer takes 7 tokens of prompt and makes 2
    async with at_the_door(ScriptedHouse(), bounded(clock, tokens_per_minute=12)) as address:
        assert [(await asked(address, body)).status for _ in range(3)] == [200, 200, 429]
        refused = await asked(address, body)
        assert "12 tokens a minute" in refused.text
        clock.jump(int(refused.headers["retry-after"]))
        assert (await asked(address, body)).status == 200


@pytest.mark.parametrize(("body", "status"), [(CHAT, 500), (STREAMED_CHAT, 200)])
async def test_an_answer_that_breaks_off_counts_as_far_as_it_came(body: bytes, status: int) -> None:
    clock = ManualClock()
    house = ScriptedHouse(fails_at=2)
    async with at_the_door(house, bounded(clock, tokens_per_minute=2)) as address:
        assert (await asked(address, body)).status == status
        assert (await asked(address, body)).status == 429


async def test_so_many_at_once_and_the_next_when_one_has_ended() -> None:
    clock = ManualClock()
    house = ScriptedHouse(hold_at=1)
    async with at_the_door(house, bounded(clock, in_flight=1)) as address:
        first = asyncio.create_task(asked(address))
        await house.is_held.wait()
        refused = await asked(address)
        assert (refused.status, refused.headers["retry-after"]) == (429, "1")
        other = await post(address, CHAT, ["x-api-key: sk-use"], "/v1/models/none")
        assert other.status == 405  # somebody else's key is asked of nothing here
        house.go_on.set()
        assert (await first).status == 200
        assert (await asked(address)).status == 200


async def test_a_failure_gives_its_place_back() -> None:
    clock = ManualClock()
    house = ScriptedHouse(fails_at=-1)
    async with at_the_door(house, bounded(clock, in_flight=1)) as address:
        assert [(await asked(address)).status for _ in range(3)] == [500, 500, 500]


async def test_other_keys_are_not_bounded_by_one_keys_bounds() -> None:
    clock = ManualClock()
    async with at_the_door(ScriptedHouse(), bounded(clock, per_minute=1)) as address:
        assert [(await asked(address)).status for _ in range(2)] == [200, 429]
        for _ in range(5):
            assert (await post(address, CHAT, ["x-api-key: sk-use"])).status == 200


async def test_what_asks_for_no_answer_is_not_counted() -> None:
    clock = ManualClock()
    async with at_the_door(ScriptedHouse(), bounded(clock, per_minute=1)) as address:
        for _ in range(3):
            assert (await post(address, b'{"model":"org/tiny:1b"}', KEY, "/api/show")).status == 200
        assert (await asked(address)).status == 200


# The arithmetic


@hypothesis.settings(derandomize=True, deadline=None)
@hypothesis.given(
    st.integers(1, 600), st.lists(st.floats(0, 30, allow_nan=False), min_size=1, max_size=60)
)
def test_never_more_than_twice_a_minutes_worth_in_any_minute(most: int, gaps: list[float]) -> None:
    clock = ManualClock()
    allowance = Allowance(KeyLimits(per_minute=most), clock)
    let_in: list[float] = []
    for gap in gaps:
        clock.jump(gap)
        for _ in range(3):
            with suppress(OverLimit), allowance.one():
                let_in.append(clock.monotonic())
    for start in let_in:
        assert sum(start <= at < start + 60 for at in let_in) <= 2 * most + 1


def test_whoever_waits_as_long_as_they_are_told_is_let_in() -> None:
    bucket = Bucket(7)
    bucket.take(40)
    wait_s = bucket.wait_s(now=0.0, least=1.0)
    assert bucket.wait_s(now=wait_s + 1e-6, least=1.0) == 0.0


def test_a_clock_that_goes_back_gives_nothing() -> None:
    bucket = Bucket(60)
    bucket.take(60)
    assert bucket.wait_s(now=100.0, least=1.0) == 1.0
    assert bucket.wait_s(now=10.0, least=1.0) == 1.0


@pytest.mark.parametrize("field", ["in_flight", "per_minute", "tokens_per_minute"])
@pytest.mark.parametrize("value", [0, -1, 10**9 + 1])
def test_a_bound_that_is_none_is_refused_by_name(field: str, value: int) -> None:
    with pytest.raises(InvalidField, match=field):
        KeyLimits(**{field: value})
