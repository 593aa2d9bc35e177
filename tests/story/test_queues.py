"""Who waits for a slot or for memory: in turn, bounded, and seen when nothing moves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from pathlib import Path

import pytest
from tests.story.pooled import (
    ONE_MB,
    add,
    always,
    asks,
    settle,
    state_of,
    text_of,
    until,
    version_of,
)
from tests.story.stage import stage

from arbiter.engines.scripted import Hold, Say, Scripted, Step
from arbiter.inference import Chat, Generation
from arbiter.pool.instance import State
from arbiter.pool.space import AGAIN_S


async def test_keys_have_a_slot_in_turn_however_much_one_of_them_asks(tmp_path: Path) -> None:
    gate, order = asyncio.Event(), list[str]()

    def reply(request: Generation) -> Iterable[Step]:
        assert isinstance(request.work, Chat)
        order.append(request.work.messages[0].content)
        return [Hold(gate), Say("yes")]

    engine = Scripted(reply=reply)
    async with stage(tmp_path / "data", engine=engine, pool__slots=1) as play:
        await add(play, "one")
        many = [asyncio.create_task(text_of(play, "one", f"a{n}", caller="a")) for n in range(4)]
        await until(play, lambda: any(r.in_flight for r in engine.runners))
        few = [asyncio.create_task(text_of(play, "one", f"b{n}", caller="b")) for n in range(2)]
        await until(play, lambda: sum(view.waiting for view in play.house.pool.views()) == 5)
        (view,) = play.house.pool.views()
        assert view.waiting_by == {"a": 3, "b": 2}
        gate.set()
        await asyncio.gather(*many, *few)
        assert order == ["a0", "a1", "b0", "a2", "b1", "a3"]


async def test_a_queue_that_stands_still_is_told_and_mended(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # ollama 17408: a scheduler stood still for hours while everything looked well
    gate = asyncio.Event()
    engine = always(Hold(gate), Say("yes"))
    async with stage(tmp_path / "data", engine=engine, pool__slots=1) as play:
        await add(play, "one")
        first = asks(play, "one", "a")
        await until(play, lambda: any(r.in_flight for r in engine.runners))
        second = asks(play, "one", "b")
        await until(play, lambda: sum(view.waiting for view in play.house.pool.views()) == 1)
        play.house.watch.look()
        play.house.watch.look()
        assert play.house.watch.stuck == ()
        tenant = play.house.pool._tenants[version_of(play, "one")]
        tenant.instance.turns.free += 1  # a fault, planted
        with (
            play.house.announcer.listening() as listener,
            caplog.at_level(logging.ERROR, logger="arbiter.pool"),
        ):
            play.house.watch.look()
            play.house.watch.look()
            heard = await anext(aiter(listener.stream()))
        assert (heard.kind, heard.detail["reason"]) == (
            "pool.stuck",
            "1 requests wait although 1 slots are free",
        )
        assert "stands still" in caplog.text
        gate.set()
        assert [await first, await second] == ["yes", "yes"]
        play.house.watch.look()
        assert play.house.watch.stuck == ()


async def test_who_waited_for_memory_and_hung_up_has_nothing_loaded_for_him(
    tmp_path: Path,
) -> None:
    gate = asyncio.Event()
    engine = always(Hold(gate), Say("yes"))
    async with stage(tmp_path / "data", engine=engine, pool__memory_mb=ONE_MB) as play:
        await add(play, "one", "two")
        first = asks(play, "one", "a")
        await until(play, lambda: any(r.in_flight for r in engine.runners))
        second = asks(play, "two", "b")
        await until(play, lambda: state_of(play, "two") is State.LOADING)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        gate.set()
        assert await first == "yes"
        await settle(play)
        play.clock.jump(AGAIN_S)
        await settle(play)
        assert (state_of(play, "one"), state_of(play, "two")) == (State.READY, State.COLD)
        assert len(engine.loads) == 1
