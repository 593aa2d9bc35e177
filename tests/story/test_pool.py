"""Loads and unloads: at the same time where they fit, for whom, and what is told."""

from __future__ import annotations

import asyncio
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
    waits,
)
from tests.story.stage import name, stage

from arbiter.engines.scripted import Hold, Say, Scripted
from arbiter.errors import Busy, StillInUse, StreamCut
from arbiter.inference import Ask, Chat, Message, Named
from arbiter.pool.instance import State
from arbiter.pool.space import UNUSED_S


async def test_different_models_load_at_the_same_time_where_they_fit(tmp_path: Path) -> None:
    engine = Scripted(reply=lambda _: [Say("yes")], load_gate=asyncio.Event())
    async with stage(tmp_path / "data", engine=engine) as play:
        await add(play, "one", "two")
        asking = [asks(play, "one", "a"), asks(play, "two", "b")]
        await until(play, lambda: len(engine.loads) == 2)
        assert {state_of(play, "one"), state_of(play, "two")} == {State.LOADING}
        assert engine.load_gate is not None
        engine.load_gate.set()
        assert await asyncio.gather(*asking) == ["yes", "yes"]


async def test_a_model_that_loads_is_never_put_out_by_another(tmp_path: Path) -> None:
    # llama.cpp 25528: a loading model was the victim
    engine = Scripted(reply=lambda _: [Say("yes")], load_gate=asyncio.Event())
    async with stage(tmp_path / "data", engine=engine, pool__memory_mb=ONE_MB) as play:
        await add(play, "one", "two")
        first = asks(play, "one", "a")
        await until(play, lambda: len(engine.loads) == 1)
        second = asks(play, "two", "b")
        await waits(play, "two")
        play.clock.jump(60.0)
        await settle(play)
        assert (state_of(play, "one"), len(engine.loads)) == (State.LOADING, 1)
        progress = play.house.pool.progress(version_of(play, "two"))
        assert progress is not None
        assert progress.sentence.startswith("waiting for memory for 60 s: 40.")
        assert engine.load_gate is not None
        engine.load_gate.set()
        assert [await first, await second] == ["yes", "yes"]


async def test_a_helper_puts_out_nobody_whom_people_use(tmp_path: Path) -> None:
    engine = always(Say("yes"))
    async with stage(tmp_path / "data", engine=engine, pool__memory_mb=ONE_MB) as play:
        await add(play, "main", "judge")
        await text_of(play, "main")
        judged = asks(play, "judge", "b", helper=True)
        await waits(play, "judge")
        play.clock.jump(100.0)
        await settle(play)
        assert state_of(play, "main") is State.READY
        play.clock.jump(201.0)
        with pytest.raises(
            Busy, match=r"No memory became free for it in 300 s: 40\.\d MB needed, "
        ):
            await judged
        play.clock.jump(UNUSED_S)
        assert await text_of(play, "judge", helper=True) == "yes"


async def test_an_unload_that_takes_too_long_is_refused_and_one_that_cuts_ends_answers(
    tmp_path: Path,
) -> None:
    gate = asyncio.Event()
    engine = always(Say("one "), Hold(gate), Say("two"))
    async with stage(tmp_path / "data", engine=engine) as play:
        await add(play, "one")
        begun = asks(play, "one", "a")
        await until(play, lambda: any(r.in_flight for r in engine.runners))
        unloading = asyncio.create_task(
            play.house.pool.unload(version_of(play, "one"), reason="test")
        )
        await until(play, lambda: state_of(play, "one") is State.DRAINING)
        await settle(play)
        play.clock.jump(601.0)
        with pytest.raises(StillInUse, match="1 answers still run after 600 s"):
            await unloading
        assert (state_of(play, "one"), begun.done()) == (State.READY, False)
        assert await play.house.pool.unload(version_of(play, "one"), reason="test", cut=True)
        with pytest.raises(StreamCut):
            await begun


async def test_options_that_would_have_made_another_server_load_again_are_counted(
    tmp_path: Path,
) -> None:
    async with stage(tmp_path / "data", engine=always(Say("yes"))) as play:
        await add(play, "one")
        for options in ((), (("num_ctx", "8192"),), (), ()):
            asked = Ask(
                target=Named(name=name("one")),
                work=Chat(messages=(Message(role="user", content="hello"),)),
                conversation="c",
                load_options=options,
            )
            async with play.house.dispatch.answer(asked) as reply:
                assert [chunk async for chunk in reply.chunks()]
        (view,) = play.house.pool.views()
        assert (view.reloads_avoided, view.loads) == (2, 1)
