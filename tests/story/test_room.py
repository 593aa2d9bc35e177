"""Memory as it is: of other programs, on its way back, measured, and too little."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.story.pooled import (
    MB,
    add,
    asks,
    each_holds,
    settle,
    state_of,
    text_of,
    until,
    version_of,
)
from tests.story.stage import Memory, name, stage

from arbiter.engines.scripted import Hold, Say, Scripted
from arbiter.errors import NoRoom, OutOfMemory
from arbiter.pool.instance import State
from arbiter.pool.pool import loadable
from arbiter.pool.shortage import BELIEVED_S
from arbiter.pool.space import RECOVERY_S


async def test_when_other_programs_need_memory_the_idle_leave_and_the_busy_stay(
    tmp_path: Path,
) -> None:
    gate = asyncio.Event()
    memory = Memory(total=10_000 * MB, available=10_000 * MB)
    engine = Scripted(reply=lambda _: [Say("a"), Hold(gate), Say("b")], holds=each_holds(100))
    async with stage(
        tmp_path / "data", engine=engine, memory=memory, pool__headroom_mb=500.0
    ) as play:
        await add(play, "idle", "busy")
        gate.set()
        await text_of(play, "idle")
        gate.clear()
        begun = asks(play, "busy", "b")
        await until(play, lambda: any(r.in_flight for r in engine.runners))
        play.house.watch.look()
        await settle(play)
        assert state_of(play, "idle") is State.READY
        memory.available = 450 * MB
        with play.house.announcer.listening() as listener:
            play.house.watch.look()
            heard = await anext(aiter(listener.stream()))
        assert heard.kind == "instance.draining"
        assert heard.detail["reason"] == (
            "evicted: models hold 50.0 MB more than there is for them now"
        )
        await until(play, lambda: state_of(play, "idle") is State.COLD)
        play.house.watch.look()
        await settle(play)
        assert state_of(play, "busy") is State.READY
        gate.set()
        assert await begun == "ab"


async def test_a_load_waits_until_the_memory_of_whoever_left_is_really_back(
    tmp_path: Path,
) -> None:
    # llama.cpp 23668, 20582: the next load began before the last one's memory was free
    memory = Memory(total=10_000 * MB, available=1_000 * MB)
    engine = Scripted(reply=lambda _: [Say("yes")], holds=each_holds(300))
    async with stage(
        tmp_path / "data",
        engine=engine,
        memory=memory,
        pool__headroom_mb=0.0,
        pool__memory_mb=500.0,
    ) as play:
        await add(play, "one", "two")
        await text_of(play, "two")  # from now on it is known what it holds
        await play.house.pool.unload(version_of(play, "two"), reason="test")
        await text_of(play, "one")
        memory.available = 100 * MB  # `one` holds 300 of what there is
        two = asks(play, "two", "b")
        await until(play, lambda: state_of(play, "one") is State.COLD)
        why = "memory that was freed is not back yet"
        await until(play, lambda: play.house.pool.space.waits_for(version_of(play, "two")) == why)
        await settle(play)
        assert len(engine.loads) == 2
        memory.available = 400 * MB
        play.clock.jump(1.0)
        assert await two == "yes"


async def test_what_was_measured_to_need_more_than_others_leave_is_refused_with_the_numbers(
    tmp_path: Path,
) -> None:
    memory = Memory(total=10_000 * MB, available=1_000 * MB)
    engine = Scripted(reply=lambda _: [Say("yes")], holds=each_holds(300))
    async with stage(
        tmp_path / "data", engine=engine, memory=memory, pool__headroom_mb=0.0
    ) as play:
        await add(play, "one")
        await text_of(play, "one")
        await play.house.pool.unload(version_of(play, "one"), reason="test")
        memory.available = 200 * MB
        play.clock.jump(RECOVERY_S + 1.0)
        with pytest.raises(NoRoom, match=r"measured to need 300 MB.* leave 200 MB"):
            await text_of(play, "one")
        memory.available = 400 * MB
        assert await text_of(play, "one") == "yes"


async def test_a_load_that_ran_out_of_memory_is_not_tried_again_with_as_little(
    tmp_path: Path,
) -> None:
    memory = Memory(total=10_000 * MB, available=300 * MB)
    words = "8 layers\ncudaMalloc failed: out of memory"
    engine = Scripted(reply=lambda _: [Say("yes")], fail_load=words, holds=each_holds(200))
    async with stage(
        tmp_path / "data", engine=engine, memory=memory, pool__headroom_mb=0.0
    ) as play:
        await add(play, "one")
        with pytest.raises(OutOfMemory, match="8 layers\ncudaMalloc failed"):
            await text_of(play, "one")
        one = loadable(play.house.registry.resolve(name("one")))
        assert play.house.pool.predicted_bytes(one) == (300 * MB + 1, False)
        (view,) = play.house.pool.views()
        assert (view.too_little_bytes, view.measured_bytes) == ({"host": 300 * MB}, None)
        play.clock.jump(5.0)
        with pytest.raises(NoRoom, match=r"ran out of memory with 300 MB .* now there are 300 MB"):
            await text_of(play, "one")
        assert len(engine.loads) == 1
        engine.fail_load = None
        memory.available = 400 * MB
        assert await text_of(play, "one") == "yes"
        assert play.house.pool.predicted_bytes(one) == (200 * MB, True)


async def test_what_ran_out_of_memory_has_more_room_made_for_it_the_next_time(
    tmp_path: Path,
) -> None:
    memory = Memory(total=10_000 * MB, available=1_000 * MB)
    engine = Scripted(reply=lambda _: [Say("yes")], holds=each_holds(300))
    async with stage(
        tmp_path / "data", engine=engine, memory=memory, pool__headroom_mb=0.0
    ) as play:
        await add(play, "one", "two")
        await text_of(play, "two")
        memory.available = 700 * MB
        engine.fail_load = "std::bad_alloc"
        with pytest.raises(OutOfMemory):
            await text_of(play, "one")
        engine.fail_load = None
        play.clock.jump(11.0)
        asking = asks(play, "one", "a")
        await until(play, lambda: state_of(play, "two") is State.COLD)
        memory.available = 1_000 * MB
        play.clock.jump(1.0)
        assert await asking == "yes"


async def test_after_a_while_what_ran_out_of_memory_is_tried_all_the_same(tmp_path: Path) -> None:
    memory = Memory(total=10_000 * MB, available=300 * MB)
    engine = Scripted(reply=lambda _: [Say("yes")], fail_load="std::bad_alloc")
    async with stage(
        tmp_path / "data", engine=engine, memory=memory, pool__headroom_mb=0.0
    ) as play:
        await add(play, "one")
        with pytest.raises(OutOfMemory):
            await text_of(play, "one")
        play.clock.jump(BELIEVED_S[0] - 1.0)
        with pytest.raises(NoRoom):
            await text_of(play, "one")
        play.clock.jump(1.0)
        with pytest.raises(OutOfMemory):
            await text_of(play, "one")
        play.clock.jump(BELIEVED_S[0])
        with pytest.raises(NoRoom, match="in 20 minutes"):
            await text_of(play, "one")


async def test_a_footprint_is_learned_here_and_what_another_host_measured_counts_nothing(
    tmp_path: Path,
) -> None:
    async with stage(tmp_path / "data", engine=Scripted(holds=each_holds(70))) as play:
        await add(play, "one")
        version = loadable(play.house.registry.resolve(name("one")))
        guess, is_measured = play.house.pool.predicted_bytes(version)
        assert (guess or 0) > 40 * MB
        assert not is_measured
        await play.house.pool.warm(version)
        assert play.house.pool.predicted_bytes(version) == (70 * MB, True)
        (view,) = play.house.pool.views()
        assert (view.predicted_bytes, view.measured_bytes) == (guess, 70 * MB)
        await play.house.database.settle()
        rows = await play.house.database.read("list_footprints", ("another host",))
        assert list(rows) == []
    async with stage(tmp_path / "data", engine=Scripted(), pool__context=512) as play:
        again = loadable(play.house.registry.resolve(name("one")))
        assert play.house.pool.predicted_bytes(again) == (guess, False)
    async with stage(tmp_path / "data", engine=Scripted(holds=each_holds(20))) as play:
        again = loadable(play.house.registry.resolve(name("one")))
        assert play.house.pool.predicted_bytes(again) == (70 * MB, True)
        await play.house.pool.warm(again)
        assert play.house.pool.predicted_bytes(again) == (63 * MB, True)
