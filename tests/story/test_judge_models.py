"""Models that only help: however often a judge is asked, what it judges stays in memory."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest
from tests.story.stage import Stage, name, stage

from arbiter.engines.scripted import Say, Scripted
from arbiter.errors import Busy
from arbiter.pool.instance import State
from arbiter.pool.pool import loadable
from arbiter.pool.space import UNUSED_S
from arbiter.refs import VersionId

ROOM_FOR_ONE_MB = 60.0


async def _furnish(play: Stage) -> None:
    for title in ("main", "judge"):
        await play.house.admission.register(play.script(title, {title: 1.0}), name(title))
    assert (await play.house.ask("hello", model="main")).text == "yes"


def _id(play: Stage, title: str) -> VersionId:
    return play.house.registry.resolve(name(title)).version


def _state(play: Stage, title: str) -> State | None:
    return play.house.pool.states().get(_id(play, title))


async def _waits_for_memory(play: Stage) -> None:
    while play.house.pool.space.waits_for(_id(play, "judge")) is None:
        await play.house.database.settle()


async def _is_kept_out(play: Stage, judging: asyncio.Task[object]) -> None:
    """The judge waits for memory, and what people use has it."""
    await _waits_for_memory(play)
    for _ in range(3):
        play.clock.jump(60.0)
        for _ in range(5):
            await play.house.database.settle()
        assert _state(play, "main") is State.READY
    judging.cancel()
    await asyncio.gather(judging, return_exceptions=True)


def _engine() -> Scripted:
    return Scripted(reply=lambda _: [Say("yes")])


async def test_a_judge_that_the_settings_name_never_puts_out_what_it_judges(
    tmp_path: Path,
) -> None:
    async with stage(
        tmp_path / "data",
        engine=_engine(),
        pool__memory_mb=ROOM_FOR_ONE_MB,
        pool__helpers=["judge"],
    ) as play:
        await _furnish(play)
        await _is_kept_out(play, asyncio.create_task(play.house.ask("good?", model="judge")))
        judge = loadable(play.house.registry.version(_id(play, "judge")))
        await _is_kept_out(play, asyncio.create_task(play.house.pool.warm(judge)))
        play.clock.jump(UNUSED_S)
        assert (await play.house.ask("good?", model="judge")).text == "yes"
        assert _state(play, "main") is State.COLD


@pytest.mark.parametrize("where", ["header", "metadata"])
async def test_who_asks_a_judge_through_the_door_may_say_that_it_only_helps(
    tmp_path: Path, where: str
) -> None:
    async with stage(tmp_path / "data", engine=_engine(), pool__memory_mb=ROOM_FOR_ONE_MB) as play:
        await _furnish(play)
        async with play.house.door() as address, aiohttp.ClientSession() as session:

            async def judge() -> None:
                said = {"helper": "true"}
                body = {"model": "judge", "messages": [{"role": "user", "content": "good?"}]}
                async with session.post(
                    f"{address.url}/v1/chat/completions",
                    json=body if where == "header" else {**body, "metadata": said},
                    headers={"X-Arbiter-Helper": "true"} if where == "header" else {},
                ) as got:
                    await got.read()

            await _is_kept_out(play, asyncio.create_task(judge()))


async def test_a_model_that_is_no_helper_has_the_memory_at_once(tmp_path: Path) -> None:
    async with stage(tmp_path / "data", engine=_engine(), pool__memory_mb=ROOM_FOR_ONE_MB) as play:
        await _furnish(play)
        assert (await play.house.ask("good?", model="judge")).text == "yes"
        assert _state(play, "main") is State.COLD


async def test_a_judge_for_which_there_is_no_memory_is_refused_in_the_end(tmp_path: Path) -> None:
    async with stage(
        tmp_path / "data",
        engine=_engine(),
        pool__memory_mb=ROOM_FOR_ONE_MB,
        pool__helpers=["judge"],
    ) as play:
        await _furnish(play)
        judging = asyncio.create_task(play.house.ask("good?", model="judge"))
        await _waits_for_memory(play)
        play.clock.jump(301.0)
        with pytest.raises(Busy, match="No memory became free"):
            await judging
