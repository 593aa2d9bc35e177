"""Who stays in memory because a person said so: pins and priorities."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from tests.story.pooled import (
    ONE_MB,
    TWO_MB,
    add,
    always,
    state_of,
    text_of,
    until,
    version_of,
)
from tests.story.stage import name, stage

from arbiter.engines.scripted import Say
from arbiter.errors import NoRoom
from arbiter.events import Event
from arbiter.pool.instance import State


async def test_what_is_pinned_is_never_evicted_and_a_load_that_cannot_be_says_why(
    tmp_path: Path,
) -> None:
    async with stage(tmp_path / "data", engine=always(Say("yes")), pool__memory_mb=ONE_MB) as play:
        await add(play, "one", "two")
        with play.house.announcer.listening() as listener:
            await play.house.pool.pin(name("one"), None)
            await play.house.pool.keep_pinned()
            heard = [await anext(aiter(listener.stream())) for _ in range(3)]
        assert [event.kind for event in heard] == ["pin.set", "instance.loading", "instance.ready"]
        with pytest.raises(NoRoom, match=r"40\.\d MB needed, 20\.0 MB free beside what is pinned"):
            await text_of(play, "two")
        assert state_of(play, "one") is State.READY
        assert await play.house.pool.unpin(name("one"))
        assert not await play.house.pool.unpin(name("one"))
        play.clock.jump(11.0)
        assert await text_of(play, "two") == "yes"


async def test_a_pin_outlives_a_restart_follows_its_name_and_ends_at_its_date(
    tmp_path: Path,
) -> None:
    async with stage(tmp_path / "data", engine=always(Say("yes"))) as play:
        await add(play, "one", "two")
        await play.alias("primary", "one")
        end = play.clock.now() + timedelta(hours=1)
        await play.house.pool.pin(name("primary"), end)
    async with stage(tmp_path / "data", engine=always(Say("yes"))) as play:
        play.house.watch.look()
        await until(play, lambda: state_of(play, "one") is State.READY)
        await play.alias("primary", "two")
        play.house.watch.look()
        await until(play, lambda: state_of(play, "two") is State.READY)
        pinned = {view.version for view in play.house.pool.views() if view.is_pinned}
        assert pinned == {version_of(play, "two")}
        play.clock.jump(3601.0)
        with play.house.announcer.listening() as listener:
            await play.house.pool.keep_pinned()
            heard: Event = await anext(aiter(listener.stream()))
        assert (heard.kind, heard.detail["reason"]) == ("pin.removed", "its date has passed")
        assert not play.house.pool.pins.all()


async def test_a_name_with_a_priority_leaves_after_one_without(tmp_path: Path) -> None:
    async with stage(
        tmp_path / "data",
        engine=always(Say("yes")),
        pool__memory_mb=TWO_MB,
        pool__priorities={"one": 1},
    ) as play:
        await add(play, "one", "two", "three")
        await text_of(play, "one")
        play.clock.jump(100.0)
        await text_of(play, "two")
        await text_of(play, "three")
        assert (state_of(play, "one"), state_of(play, "two")) == (State.READY, State.COLD)
