"""Turns: a model that is in use all the time makes way, and nobody is cut or passed for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

from tests.story.pooled import (
    ONE_MB,
    TWO_MB,
    add,
    always,
    asks,
    each_holds,
    settle,
    state_of,
    text_of,
    until,
    version_of,
    waits,
)
from tests.story.stage import name, stage

from arbiter.engines.scripted import Hold, Say, Scripted, Step
from arbiter.inference import Chat, Generation
from arbiter.pool.instance import State
from arbiter.pool.pool import loadable


async def test_a_model_in_use_all_the_time_makes_way_after_a_turn_and_nobody_is_cut(
    tmp_path: Path,
) -> None:
    # nobody starves: without turns, a queue that never empties would hold its memory for ever
    gate = asyncio.Event()
    engine = always(Hold(gate), Say("yes"))
    async with stage(
        tmp_path / "data", engine=engine, pool__memory_mb=ONE_MB, pool__slots=1
    ) as play:
        await add(play, "one", "two")
        ones = [asks(play, "one", f"a{n}") for n in range(3)]
        await until(play, lambda: any(r.in_flight for r in engine.runners))
        two = asks(play, "two", "b")
        await waits(play, "two")
        play.clock.jump(29.0)
        await settle(play)
        assert state_of(play, "one") is State.READY
        play.clock.jump(2.0)
        await until(play, lambda: state_of(play, "one") is State.DRAINING)
        assert engine.runners[0].in_flight == 1
        gate.set()
        assert await asyncio.gather(*ones, two) == ["yes"] * 4
        order = [spec.version for spec in engine.loads]
        assert order == [version_of(play, "one"), version_of(play, "two"), version_of(play, "one")]
        assert not any(runner.unloaded_while_serving for runner in engine.runners)


async def test_who_came_during_a_drain_has_a_turn_too(tmp_path: Path) -> None:
    gates = {"one": asyncio.Event(), "two": asyncio.Event()}

    def reply(request: Generation) -> Iterable[Step]:
        assert isinstance(request.work, Chat)
        return [Hold(gates[request.work.messages[0].content[:3]]), Say("yes")]

    engine = Scripted(reply=reply)
    async with stage(tmp_path / "data", engine=engine, pool__memory_mb=ONE_MB) as play:
        await add(play, "one", "two")
        first = asks(play, "one", "one first")
        await until(play, lambda: any(r.in_flight for r in engine.runners))
        two = asks(play, "two", "two")
        await waits(play, "two")
        play.clock.jump(31.0)
        await until(play, lambda: state_of(play, "one") is State.DRAINING)
        late = asks(play, "one", "one late")
        await settle(play)
        gates["one"].set()
        await until(play, lambda: state_of(play, "two") is State.READY)
        await waits(play, "one")
        play.clock.jump(31.0)
        await until(play, lambda: state_of(play, "two") is State.DRAINING)
        gates["two"].set()
        assert [await first, await two, await late] == ["yes"] * 3


async def test_the_houses_own_work_ends_nobodys_turn(tmp_path: Path) -> None:
    gate = asyncio.Event()
    engine = always(Hold(gate), Say("yes"))
    async with stage(tmp_path / "data", engine=engine, pool__memory_mb=ONE_MB) as play:
        await add(play, "one", "two")
        begun = asks(play, "one", "a")
        await until(play, lambda: any(r.in_flight for r in engine.runners))
        two = loadable(play.house.registry.resolve(name("two")))
        warming = asyncio.create_task(play.house.pool.warm(two))
        await waits(play, "two")
        for _ in range(2):
            play.clock.jump(100.0)
            await settle(play)
        assert state_of(play, "one") is State.READY
        gate.set()
        assert await begun == "yes"
        await warming
        assert not any(runner.unloaded_while_serving for runner in engine.runners)


async def test_requests_for_the_same_model_are_served_together_before_another_is_loaded(
    tmp_path: Path,
) -> None:
    # llama-swap 612, Lemonade 2725: two models evict each other at every request
    engine = always(Say("yes"))
    async with stage(tmp_path / "data", engine=engine, pool__memory_mb=ONE_MB) as play:
        await add(play, "one", "two")
        both = [asks(play, title, f"{title}{n}") for n in range(10) for title in ("one", "two")]
        assert await asyncio.gather(*both) == ["yes"] * 20
        assert len(engine.loads) == 2


async def test_what_a_person_loaded_stays_for_a_moment_though_nobody_asked_yet(
    tmp_path: Path,
) -> None:
    engine = always(Say("yes"))
    async with stage(tmp_path / "data", engine=engine, pool__memory_mb=ONE_MB) as play:
        await add(play, "one", "two")
        await play.house.pool.warm(loadable(play.house.registry.resolve(name("one"))))
        two = asks(play, "two", "b")
        await waits(play, "two")
        assert state_of(play, "one") is State.READY
        play.clock.jump(11.0)
        assert await two == "yes"


async def test_a_large_model_that_waited_for_a_turn_is_not_passed_by_small_ones_for_ever(
    tmp_path: Path,
) -> None:
    sizes = {"big": 90, "small": 40, "tiny": 40, "other": 40}
    gate = asyncio.Event()
    gate.set()
    engine = Scripted(
        reply=lambda _: [Hold(gate), Say("yes")],
        holds=lambda spec: each_holds(sizes[spec.path.stem])(spec),
    )
    async with stage(tmp_path / "data", engine=engine, pool__memory_mb=TWO_MB) as play:
        await add(play, *sizes)
        for title in ("big", "small", "tiny", "other"):
            await text_of(play, title)  # from now on it is known what each holds
        gate.clear()
        await play.house.pool.unload(version_of(play, "tiny"), reason="test")
        await play.house.pool.unload(version_of(play, "other"), reason="test")
        first = asks(play, "small", "a")
        await until(play, lambda: any(r.in_flight for r in engine.runners))
        big = asks(play, "big", "b")
        await waits(play, "big")
        play.clock.jump(31.0)
        await until(play, lambda: state_of(play, "small") is State.DRAINING)
        late = asks(play, "tiny", "c")
        await waits(play, "tiny")
        play.clock.jump(5.0)
        await settle(play)
        assert state_of(play, "tiny") is State.LOADING
        assert play.house.pool.space.waits_for(version_of(play, "tiny"))
        gate.set()
        assert await first == "yes"
        assert await big == "yes"
        assert await late == "yes"
        assert [spec.path.stem for spec in engine.loads][-2:] == ["big", "tiny"]
