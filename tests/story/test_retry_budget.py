"""A backend that fails everything is not asked twice for everything, and who failed is told why."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

import pytest
from tests.standins.bad_servers import OLLAMA, OPENAI, Act, answering, bad_server, reply
from tests.story.bad_backends import RIGHT, ask, street
from tests.story.stage import Stage, name, stage

from arbiter.clock import ManualClock
from arbiter.engines.scripted import Die, Say, Scripted, Step
from arbiter.errors import InstanceLost
from arbiter.house import House
from arbiter.inference import Generation
from arbiter.knowledge.rules import Rule
from arbiter.refs import GENERAL

FAILS = Act(pieces=(reply(b'{"error":"no"}', status=500),))


async def _asked(play: Stage, times: int) -> list[str]:
    """What came of it: a text, or an error's sentence."""
    found = []
    for number in range(times):
        try:
            found.append((await play.house.ask(f"question {number}", model="one")).text)
        except InstanceLost as error:
            found.append(error.sentence)
    return found


async def test_a_model_that_dies_of_everything_is_not_loaded_again_for_everything(
    tmp_path: Path,
) -> None:
    def reply_(_: Generation) -> Iterable[Step]:
        return [Die("killed")]

    engine = Scripted(reply=reply_)
    async with stage(
        tmp_path / "data", engine=engine, pool__retry_share=0.0, pool__retry_floor=1
    ) as play:
        await play.house.admission.register(play.script("one", {}), name("one"))
        with play.house.announcer.listening() as heard:
            (first,) = await _asked(play, 1)
            assert first.endswith(
                "It was not tried again: 1 of 1 requests of the last 10 s were tried again, as "
                "many as may be (pool.retry_share, pool.retry_floor)."
            )
            assert len(engine.loads) == 2
            play.clock.jump(1.0)
            async for event in heard.stream():
                if event.kind == "pool.retries_spent":
                    assert (event.detail["requests"], event.detail["retries"]) == (1, 1)
                    break
        status = play.house.control().status()
        assert status["retries"] == {
            "requests": 1,
            "retries": 1,
            "allowed": 1,
            "retried": 1,
            "refused": 1,
        }
        watched = play.house.watched()
        assert (watched.retried, watched.retries_refused) == (1, 1)


async def test_when_the_budget_has_filled_again_a_failure_is_tried_again(tmp_path: Path) -> None:
    dies = iter([True, False, True, True, False])

    def reply_(_: Generation) -> Iterable[Step]:
        return [Die("killed")] if next(dies, False) else [Say("yes")]

    async with stage(
        tmp_path / "data",
        engine=Scripted(reply=reply_),
        pool__retry_share=0.0,
        pool__retry_floor=1,
    ) as play:
        await play.house.admission.register(play.script("one", {}), name("one"))
        assert await _asked(play, 1) == ["yes"]
        (refused,) = await _asked(play, 1)
        assert "was not tried again" in refused
        play.clock.jump(60.0)
        asking = asyncio.create_task(_asked(play, 1))
        while not asking.done():
            await play.house.database.settle()
            play.clock.jump(1.0)  # what died twice is not loaded again at once
        assert await asking == ["yes"]
        assert play.house.pool.again.allowance().retried == 2


@pytest.mark.parametrize("floor", [0, 40])
async def test_the_first_error_is_told_when_the_next_pick_may_not_be_tried(
    tmp_path: Path, floor: int, clock: ManualClock
) -> None:
    async with (
        bad_server(OLLAMA, "a-bad", FAILS) as bad,
        bad_server(OPENAI, "b-good", answering(OPENAI, RIGHT, streamed=False)) as good,
        street(
            tmp_path / "data",
            bad,
            good,
            clock=clock,
            pool__retry_share=0.0,
            pool__retry_floor=floor,
        ) as here,
    ):
        await _prefers(here.house, "a-bad")
        heard = await ask(here.url, "auto", streamed=False)
        assert (heard.ends.status, len(bad.asked), len(good.asked)) == (
            (200, 1, 1) if floor else (502, 1, 0)
        )


async def _prefers(house: House, title: str) -> None:
    await house.rules.add(Rule(task=GENERAL, prefer=name(title)))


async def test_that_nobody_is_there_costs_no_budget(tmp_path: Path, clock: ManualClock) -> None:
    async with (
        bad_server(OLLAMA, "a-gone", FAILS) as gone,
        bad_server(OPENAI, "b-good", answering(OPENAI, RIGHT, streamed=False)) as good,
        street(tmp_path / "data", gone, good, clock=clock, pool__retry_floor=0) as here,
    ):
        await _prefers(here.house, "a-gone")
        await gone.stop()
        for _ in range(3):
            assert (await ask(here.url, "auto", streamed=False)).ends.text == RIGHT
        assert here.house.pool.again.allowance().retried == 0
