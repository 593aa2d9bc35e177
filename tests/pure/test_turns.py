"""Slots and the line for them: in turn, bounded, and nothing is lost when somebody hangs up."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbiter.clock import ManualClock
from arbiter.errors import Busy
from arbiter.pool.fairness import Line, Who
from arbiter.pool.turns import LONGEST_RETRY_S, Turns


def everybody(line: Line[str]) -> list[str]:
    found = []
    while (item := line.next()) is not None:
        found.append(item)
    return found


def test_callers_come_in_turn_and_each_callers_conversations_too() -> None:
    line = Line[str]()
    for who, item in (
        (Who("a", "x"), "ax1"),
        (Who("a", "x"), "ax2"),
        (Who("a", "y"), "ay1"),
        (Who("b", "z"), "bz1"),
        (Who("b", "z"), "bz2"),
    ):
        line.join(who, item)
    assert line.by_caller() == {"a": 3, "b": 2}
    assert everybody(line) == ["ax1", "bz1", "ay1", "bz2", "ax2"]
    assert (len(line), line.by_caller()) == (0, {})


def test_who_leaves_is_passed_over_and_a_place_is_given_up_once() -> None:
    line = Line[str]()
    line.join(Who("a"), "a1")
    line.join(Who("b"), "b1")
    assert line.leave(Who("a"), "a1")
    assert not line.leave(Who("a"), "a1")
    assert not line.leave(Who("c"), "c1")
    assert everybody(line) == ["b1"]


def test_the_latest_of_whoever_has_most_places_gives_way_to_whoever_has_fewer() -> None:
    line = Line[str]()
    assert line.last_of_many(Who("a")) is None
    for number in range(3):
        line.join(Who("a", "talk"), f"a{number}")
    line.join(Who("b"), "b0")
    assert line.last_of_many(Who("a")) is None
    assert line.last_of_many(Who("b")) == "a2"
    assert line.last_of_many(Who("b")) is None
    assert everybody(line) == ["a0", "b0", "a1"]


WHO = st.builds(Who, st.sampled_from("abc"), st.sampled_from("xyz"))


@settings(deadline=None)
@given(joining=st.lists(WHO, max_size=20))
def test_everybody_has_a_turn_and_nobody_waits_for_more_than_one_turn_of_each_other_caller(
    joining: Sequence[Who],
) -> None:
    line = Line[tuple[Who, int]]()
    for number, who in enumerate(joining):
        line.join(who, (who, number))
    order: list[tuple[Who, int]] = []
    while (item := line.next()) is not None:
        order.append(item)
    assert sorted(number for _, number in order) == list(range(len(joining)))
    for caller in {who.caller for who in joining}:
        places = [place for place, (who, _) in enumerate(order) if who.caller == caller]
        others = len({who.caller for who in joining}) - 1
        gaps = [late - early for early, late in zip([-1, *places], places, strict=False)]
        assert max(gaps) <= others + 1
    for who in set(joining):
        numbers = [number for one, number in order if one == who]
        assert numbers == sorted(numbers)


async def _settled(clock: ManualClock) -> None:
    for _ in range(20):
        await clock.sleep(0)


def _turns(clock: ManualClock, *, slots: int = 1, bound: int = 3) -> Turns:
    return Turns(clock, slots=slots, bound=bound, wait_s=10.0)


async def test_a_free_slot_is_had_at_once_and_the_next_one_waits_until_it_is_given_back() -> None:
    clock = ManualClock()
    turns = _turns(clock)
    await turns.take(Who("a"), bounded=True)
    waiting = asyncio.create_task(turns.take(Who("b"), bounded=True))
    await _settled(clock)
    assert (len(turns), waiting.done()) == (1, False)
    turns.give()
    await waiting
    assert (len(turns), turns.free, turns.served) == (0, 0, 2)


async def test_beyond_the_bound_who_has_most_places_is_sent_away_and_told_when_to_come() -> None:
    clock = ManualClock()
    turns = _turns(clock)
    await turns.take(Who("a"), bounded=True)
    turns.held(8.0)
    mine = [asyncio.create_task(turns.take(Who("a"), bounded=True)) for _ in range(3)]
    await _settled(clock)
    with pytest.raises(Busy, match="3 requests wait") as full:
        turns.check(Who("a"))
    assert full.value.retry_after_s == 32
    turns.check(Who("b"))
    await _settled(clock)
    with pytest.raises(Busy, match="with less"):
        await mine[2]
    other = asyncio.create_task(turns.take(Who("b"), bounded=True))
    await _settled(clock)
    for waiting in (mine[0], other, mine[1]):
        turns.give()
        await waiting
    turns.held(10**6)
    assert turns.retry_after_s == LONGEST_RETRY_S


async def test_who_waits_too_long_is_sent_away_and_the_house_itself_is_not() -> None:
    clock = ManualClock()
    turns = _turns(clock)
    await turns.take(Who("a"), bounded=True)
    client = asyncio.create_task(turns.take(Who("b"), bounded=True))
    house = asyncio.create_task(turns.take(Who(), bounded=False))
    await _settled(clock)
    clock.jump(11.0)
    with pytest.raises(Busy, match="No slot became free in 10 s"):
        await client
    assert not house.done()
    turns.give()
    await house


async def test_a_slot_that_comes_while_its_client_hangs_up_is_the_next_ones() -> None:
    clock = ManualClock()
    turns = _turns(clock)
    await turns.take(Who("a"), bounded=True)
    first = asyncio.create_task(turns.take(Who("b"), bounded=True))
    second = asyncio.create_task(turns.take(Who("c"), bounded=True))
    await _settled(clock)
    turns.give()
    first.cancel()
    await second
    assert (len(turns), turns.free) == (0, 0)
    turns.give()
    assert turns.free == 1


async def test_a_watchdog_may_wake_those_that_wait_beside_a_free_slot() -> None:
    clock = ManualClock()
    turns = _turns(clock)
    await turns.take(Who("a"), bounded=True)
    waiting = asyncio.create_task(turns.take(Who("b"), bounded=True))
    await _settled(clock)
    turns.free = 1  # as no fault of ours may leave it
    turns.wake()
    await waiting
    assert (len(turns), turns.free) == (0, 0)
