"""Feedback through whole journeys: whose it is, whom it is credited to, and what it cannot do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import product
from pathlib import Path

import aiohttp
import pytest
from tests.story.stage import Stage, name, stage, task

from arbiter.gateway.security import Key, hashed
from arbiter.inference import Ask, Chat, Message, Named, Sampling
from arbiter.knowledge.outcome import Feedback
from arbiter.refs import DecisionId, ModelName, parse_task
from arbiter.swap.rollout import Phase

TASKS = {
    "chat": {"good": 0.95, "fair": 0.8, "poor": 0.6},
    "sums": {"good": 0.6, "fair": 0.9, "poor": 0.5},
}


KEYS = ("the first key of the house", "the second key of the house")


@pytest.fixture
async def play(tmp_path: Path) -> AsyncIterator[Stage]:
    """Three models that are good at different tasks, in a house with two keys."""
    async with stage(tmp_path / "data", door__keys=KEYS) as play:
        for title in TASKS:
            await play.house.admission.add_task(task(title))
        for model in ("good", "fair", "poor"):
            await play.add(model, {title: shares[model] for title, shares in TASKS.items()})
        yield play


async def asked(play: Stage, title: str, model: str, *, caller: str) -> DecisionId:
    """One request of a caller; its decision."""
    play.asked += 1
    ask = Ask(
        target=Named(name=ModelName(model)),
        work=Chat(messages=(Message(role="user", content=f"{title} live {play.asked}"),)),
        sampling=Sampling(),
        task=parse_task(title),
        conversation=f"conversation {play.asked}",
        caller=caller,
    )
    async with play.house.dispatch.answer(ask) as reply:
        assert [chunk async for chunk in reply.chunks()]
        return reply.decided.decision


def order(play: Stage) -> dict[str, list[str]]:
    """Whom others would be given at each task, the best first."""
    return {
        title: [one.contender.name for one in play.house.select(title).scored] for title in TASKS
    }


async def judged(play: Stage, decisions: dict[DecisionId, float], kinds: int, caller: str) -> int:
    """Give each of these answers its score in so many kinds of feedback; how many were stored."""
    given = [
        Feedback(decision=one, score=score, kind=kind, caller=caller)
        for (one, score), kind in product(
            decisions.items(), ["quality", *(f"kind {n}" for n in range(1, kinds))]
        )
    ]
    stored = 0
    for start in range(0, len(given), 500):
        some = given[start : start + 500]
        stored += sum(await asyncio.gather(*(play.house.outcomes.give(one) for one in some)))
    return stored


@pytest.fixture(params=["static", "learned"])
async def picking(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    """The same house, with either way to pick."""
    more = {"selection__strategy": request.param, "selection__quality": 1.0}
    async with stage(tmp_path / "data", door__keys=KEYS, **more) as play:
        for title in TASKS:
            await play.house.admission.add_task(task(title))
        for model in ("good", "fair", "poor"):
            await play.add(model, {title: shares[model] for title, shares in TASKS.items()})
        yield play


def chances(play: Stage) -> list[float]:
    """Whom others would be given with what probability."""
    return [
        one.chance
        for title in TASKS
        for one in sorted(play.house.select(title).considered, key=lambda one: one.name)
    ]


async def test_ten_thousand_hostile_feedbacks_of_one_key_move_no_pick_of_others(
    picking: Stage,
) -> None:
    play = picking
    right = {"chat": ["good", "fair", "poor"], "sums": ["fair", "good", "poor"]}
    hostile = {
        await asked(play, title, model, caller="key-1"): 0.0 if model == right[title][0] else 1.0
        for title, model, _ in product(TASKS, ("good", "fair", "poor"), range(10))
    }
    before, likely = order(play), chances(play)
    assert before == right
    assert await judged(play, hostile, 167, "key-1") == 10_020
    assert order(play) == before
    assert chances(play) == pytest.approx(likely, abs=0.02)


async def test_what_a_key_may_say_is_the_same_after_a_restart(tmp_path: Path) -> None:
    async with stage(tmp_path / "data", door__keys=KEYS) as play:
        await play.house.admission.add_task(task("chat"))
        await play.add("good", {"chat": 0.9})
        decisions = {await asked(play, "chat", "good", caller="key-1"): 0.0 for _ in range(20)}
        await judged(play, decisions, 1, "key-1")
        version = play.house.registry.resolve(name("good")).version
        before = play.house.profiles.get(version, parse_task("chat"))
        assert before.graded == pytest.approx(33.0)
    async with stage(tmp_path / "data", door__keys=KEYS) as play:
        assert play.house.profiles.get(version, parse_task("chat")) == before


async def test_the_one_who_runs_the_house_is_counted_in_full(play: Stage) -> None:
    decisions = {await asked(play, "chat", "good", caller="python"): 0.0 for _ in range(20)}
    await judged(play, decisions, 1, "python")
    version = play.house.registry.resolve(name("good")).version
    assert play.house.profiles.get(version, parse_task("chat")).graded == 50.0


async def test_of_a_house_with_one_key_whoever_has_it_is_counted_in_full(tmp_path: Path) -> None:
    async with stage(tmp_path / "data", door__keys=KEYS[:1]) as play:
        await play.add("good", {"chat": 0.9})
        await play.house.admission.add_task(task("chat", cases=0))
        decisions = {await asked(play, "chat", "good", caller="key-1"): 0.0 for _ in range(20)}
        await judged(play, decisions, 1, "key-1")
        version = play.house.registry.resolve(name("good")).version
        assert play.house.profiles.get(version, parse_task("chat")).graded == 20.0


async def test_feedback_is_kept_with_the_key_that_gave_it(play: Stage) -> None:
    decision = await asked(play, "chat", "good", caller="key-2")
    async with play.house.door() as address, aiohttp.ClientSession() as session:
        headers = {"authorization": f"Bearer {KEYS[1]}"}
        url = f"{address.url}/control/v1/decisions/{decision}/feedback"
        async with session.post(url, json={"score": 1.0}, headers=headers) as got:
            assert got.status == 200
    (given,) = (await play.house.outcomes.find(decision)).feedback
    assert given.caller == "key-2"


@pytest.mark.security("S-33")
@pytest.mark.parametrize(("asker", "status"), [("guest", 200), ("key-2", 404)])
async def test_a_key_that_may_only_ask_judges_its_own_answers_and_no_others(
    play: Stage, asker: str, status: int
) -> None:
    decision = await asked(play, "chat", "good", caller=asker)
    guest = Key(id="guest", digest=hashed("a guest's key"))
    async with play.house.door(only=guest) as address, aiohttp.ClientSession() as session:
        headers = {"authorization": "Bearer a guest's key"}
        url = f"{address.url}/control/v1/decisions/{decision}/feedback"
        async with session.post(url, json={"score": 1.0}, headers=headers) as got:
            assert got.status == status


async def test_sources_that_contradict_each_other_are_both_kept(play: Stage) -> None:
    decision = await asked(play, "chat", "good", caller="key-1")
    for source, score in (("person", 1.0), ("judge", 0.0), ("judge", 0.25)):
        await play.house.outcomes.give(Feedback(decision=decision, score=score, source=source))
    found = (await play.house.outcomes.find(decision)).feedback
    assert [(one.source, one.score) for one in found] == [("judge", 0.25), ("person", 1.0)]


async def test_feedback_never_moves_the_verdict_of_a_rollout(play: Stage) -> None:
    await play.alias("primary", "fair")
    rollout = await play.swap("primary", "good", min_units=30)
    before = (await play.house.controller.view(rollout)).judgement
    decisions = {await asked(play, "chat", "primary", caller="python"): 0.0 for _ in range(200)}
    await play.tick()
    asked_only = await play.house.controller.view(rollout)
    await judged(play, decisions, 1, "python")
    await play.tick()
    after = await play.house.controller.view(rollout)
    assert after.judgement == asked_only.judgement == before
    assert after.tasks == asked_only.tasks
    assert after.stored.rollout.phase is Phase.PROGRESSING
