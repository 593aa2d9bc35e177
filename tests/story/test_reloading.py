"""Settings that are read again: what counts at once, what is loaded again, and nobody is cut."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.story.houses import running, settings
from tests.story.pooled import add, state_of, until, version_of
from tests.story.stage import Stage, stage

from arbiter.cli.reloading import told
from arbiter.config import Settings
from arbiter.engines.scripted import Hold, Say, Scripted
from arbiter.errors import ConfigError
from arbiter.gateway.views import reloaded_view
from arbiter.pool.instance import State


@asynccontextmanager
async def _house(
    folder: Path, engine: Scripted
) -> AsyncIterator[tuple[Stage, Callable[..., None]]]:
    """A house whose settings a story may change."""
    changed: dict[str, object] = {}

    def reread() -> Settings:
        if "broken" in changed:
            raise ConfigError("pool.slots is not valid.")
        return settings(
            folder / "data",
            calibration__enabled=False,
            selection__strategy="static",
            pool__look_s=0.0,
            pool__probe_s=0.0,
            rollout__shadow=0.0,
            **changed,
        )

    async with stage(folder / "data", engine=engine, reread=reread) as play:
        await add(play, "one", "two")
        yield play, changed.update


async def _said(play: Stage, title: str) -> str:
    return (await play.house.ask("hello", model=title)).text


async def test_an_answer_that_runs_goes_on_and_the_next_is_of_an_instance_loaded_anew(
    tmp_path: Path,
) -> None:
    gate = asyncio.Event()
    engine = Scripted(reply=lambda _: [Say("one "), Hold(gate), Say("two")])
    async with _house(tmp_path, engine) as (play, change):
        begun = asyncio.create_task(_said(play, "one"))
        await until(play, lambda: any(r.in_flight for r in engine.runners))
        change(pool__slots=1, pool__context=512)
        reloaded = await play.house.reloading.reload()
        assert reloaded.applied == ("pool.context", "pool.slots")
        assert reloaded.loaded_again == (version_of(play, "one"),)
        await until(play, lambda: state_of(play, "one") is State.DRAINING)
        late = [asyncio.create_task(_said(play, "one")) for _ in range(3)]
        await play.house.database.settle()
        gate.set()
        assert [await begun, *[await one for one in late]] == ["one two"] * 4
        assert not any(runner.unloaded_while_serving for runner in engine.runners)
        assert [(spec.slots, spec.context) for spec in engine.loads] == [(4, 4096), (1, 512)]
        assert engine.runners[1].most_in_flight == 1


async def test_bounds_count_at_once_and_nothing_is_loaded_again_for_them(tmp_path: Path) -> None:
    engine = Scripted(reply=lambda _: [Say("yes")])
    async with _house(tmp_path, engine) as (play, change):
        await _said(play, "one")
        change(pool__wait_s=5.0, pool__memory_mb=60.0, door__max_body_mb=1.0)
        reloaded = await play.house.reloading.reload()
        assert reloaded.applied == ("pool.memory_mb", "pool.wait_s")
        assert reloaded.at_next_start == ("door.max_body_mb",)
        assert (reloaded.loaded_again, reloaded.stays) == ((), (version_of(play, "one"),))
        await _said(play, "two")
        assert (state_of(play, "one"), state_of(play, "two")) == (State.COLD, State.READY)
        again = await play.house.reloading.reload()
        assert (again.applied, again.at_next_start) == ((), ("door.max_body_mb",))


async def test_two_changes_in_a_row_load_a_model_again_once(tmp_path: Path) -> None:
    # llama-swap 281: two quick edits left two processes
    engine = Scripted(reply=lambda _: [Say("yes")])
    async with _house(tmp_path, engine) as (play, change):
        await _said(play, "one")
        for context in (512, 1024):
            change(pool__context=context)
            await play.house.reloading.reload()
        await until(play, lambda: state_of(play, "one") is State.COLD)
        await _said(play, "one")
        assert [spec.context for spec in engine.loads] == [4096, 1024]
        change(pool__context=4096)
        await play.house.reloading.reload()
        change(pool__context=1024)
        await play.house.reloading.reload()
        await _said(play, "one")
        assert engine.loads[-1].context == 1024


async def test_a_signal_has_a_running_house_read_its_file_again(tmp_path: Path) -> None:
    config = tmp_path / "arbiter.toml"
    config.write_text("[pool]\nslots = 2\n", encoding="utf-8")
    async with running(tmp_path / "data", config) as house:
        url = f"{house.url}/control/v1/events?kinds=settings."
        async with house.session.get(url) as heard:
            assert (await heard.content.readline()).startswith(b": listening")
            config.write_text("[pool]\nslots = 3\nqueue = 9\n", encoding="utf-8")
            house.process.send_signal(signal.SIGHUP)
            lines = [await heard.content.readline() for _ in range(4)]
        assert lines[1].startswith(b"id: ")
        assert lines[2] == b"event: settings.reloaded\n"
        said = json.loads(lines[3].removeprefix(b"data: "))
        assert (said["applied"], said["at_next_start"]) == ("pool.slots, pool.queue", "")
        assert await house.control("POST", "/reload", {}) == {
            "applied": [],
            "at_next_start": [],
            "loaded_again": [],
            "stays": [],
        }


async def test_settings_that_are_not_valid_change_nothing(tmp_path: Path) -> None:
    engine = Scripted(reply=lambda _: [Say("yes")])
    async with _house(tmp_path, engine) as (play, change):
        await _said(play, "one")
        change(broken=True, pool__context=512)
        with pytest.raises(ConfigError):
            await play.house.reloading.reload()
        await _said(play, "one")
        assert len(engine.loads) == 1


async def test_it_is_said_which_models_are_loaded_again_and_which_stay(tmp_path: Path) -> None:
    engine = Scripted(reply=lambda _: [Say("yes")])
    async with _house(tmp_path, engine) as (play, change):
        await _said(play, "one")
        await _said(play, "two")

        async def told_of() -> str:
            reloaded = await play.house.reloading.reload()
            return told(reloaded_view(reloaded, play.house.registry))

        change(pool__wait_s=5.0)
        assert await told_of() == "read again: pool.wait_s; stays in memory: one, two"
        await play.house.pool.unload(version_of(play, "two"), reason="test")
        change(pool__slots=2)
        assert await told_of() == "read again: pool.slots; drained and loaded again: one"
