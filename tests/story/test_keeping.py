"""What becomes of the version that a promotion replaced: kept ready, and let go at its date."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from tests.story.stage import Stage, name, stage, task

from arbiter.engines.scripted import Scripted
from arbiter.events import Event
from arbiter.pool.instance import State
from arbiter.pool.keeping import LOOK_EVERY_S, WARM_AFTER_S
from arbiter.refs import RolloutId, VersionId
from arbiter.registry.registry import Standing
from arbiter.swap.driving import TICK_S
from arbiter.swap.plan import DAY_S
from arbiter.swap.rollout import Phase
from arbiter.swap.watching import LOOK_S

KEPT_S = 30.0
"""Of a house that is open; a week would be the same and take longer."""

ONE_MB, TWO_MB, THREE_MB = 60, 100, 140
"""Memory for so many scripted models: each is planned with little over 40 MB."""


async def _promoted(play: Stage, **plan: object) -> RolloutId:
    """The house after `new` replaced `old` under `primary`."""
    await play.house.admission.add_task(task("chat", cases=0))
    for title in ("old", "new"):
        await play.house.admission.register(play.script(title, {"chat": 1.0}), name(title))
    await play.alias("primary", "old")
    rollout = await play.swap("primary", "new", **plan)
    for title in ("old", "new"):
        await play.ask(model=title)
    await play.house.controller.promote(rollout, who="ada", why="I know it")
    return rollout


@pytest.fixture
async def play(tmp_path: Path) -> AsyncIterator[Stage]:
    async with stage(tmp_path / "data", pool__memory_mb=THREE_MB) as play:
        await _promoted(play, keep_s=KEPT_S)
        yield play


def _id(play: Stage, title: str) -> VersionId:
    return play.house.registry.resolve(name(title)).version


def _state(play: Stage, title: str) -> State | None:
    return play.house.pool.states().get(_id(play, title))


async def _until(play: Stage, title: str, state: State) -> None:
    while _state(play, title) is not state:
        await play.house.database.settle()


async def _settled(play: Stage) -> None:
    """Let a house have been open for long enough to load what is kept."""
    await play.tick()
    play.clock.jump(WARM_AFTER_S)


async def _open_for(play: Stage, seconds: float) -> None:
    """Let a house be open for so long, second by second: a jump counts as two at most."""
    for _ in range(round(seconds / LOOK_S)):
        play.clock.jump(LOOK_S - TICK_S)
        await play.tick()


def _left(play: Stage) -> timedelta:
    until = play.house.registry.kept_until(_id(play, "old"))
    assert until is not None
    return until - play.clock.now()


async def _pass(play: Stage) -> Event:
    """Let the time pass for which the old version is kept, and hear that it has expired."""
    await _settled(play)
    with play.house.announcer.listening() as listener:
        await _open_for(play, KEPT_S)
        play.clock.jump(LOOK_EVERY_S)
        return await anext(e async for e in listener.stream() if e.kind == "version.expired")


async def _third(play: Stage, title: str) -> None:
    """A request to one more model."""
    await play.house.admission.register(play.script(title, {"chat": 1.0}), name(title))
    await play.ask(model=title)


async def test_after_a_promotion_the_old_version_stays_loaded_and_one_not_kept_leaves(
    play: Stage,
) -> None:
    play.clock.jump(1.0)
    await _third(play, "third")
    play.clock.jump(1.0)
    await play.ask(model="primary")
    await _third(play, "fourth")
    states = {title: _state(play, title) for title in ("old", "new", "third", "fourth")}
    assert states == {
        "old": State.READY,
        "new": State.READY,
        "third": State.COLD,
        "fourth": State.READY,
    }


async def test_nobody_is_refused_a_model_because_another_is_kept(tmp_path: Path) -> None:
    async with stage(tmp_path / "data", pool__memory_mb=TWO_MB) as play:
        await _promoted(play)
        async with play.house.stream("chat live", model="new", task="chat"):
            await _third(play, "third")
        assert (_state(play, "old"), _state(play, "third")) == (State.COLD, State.READY)


async def test_after_a_restart_what_is_kept_is_loaded_again_before_anybody_asks(
    tmp_path: Path,
) -> None:
    async with stage(tmp_path / "data") as play:
        await _promoted(play)
    async with stage(tmp_path / "data") as play:
        await _settled(play)
        await _until(play, "old", State.READY)
        assert _state(play, "new") is None


async def test_a_house_opened_for_one_command_loads_nothing_that_it_was_not_asked_for(
    tmp_path: Path,
) -> None:
    async with stage(tmp_path / "data") as play:
        await _promoted(play)
    async with stage(tmp_path / "data") as play:
        play.clock.jump(WARM_AFTER_S / 2)
        await play.ask(model="new")
        assert [spec.version for spec in play.engine.loads] == [_id(play, "new")]


async def test_what_is_kept_no_longer_is_not_loaded_after_a_restart(tmp_path: Path) -> None:
    async with stage(tmp_path / "data") as play:
        await _promoted(play, keep_s=0.0)
    async with stage(tmp_path / "data") as play:
        await _settled(play)
        await play.tick()
        assert _state(play, "old") is None


async def test_what_is_kept_is_not_loaded_where_it_does_not_fit(tmp_path: Path) -> None:
    async with stage(tmp_path / "data") as play:
        await _promoted(play)
    async with stage(tmp_path / "data", pool__memory_mb=20) as play:
        await _settled(play)
        await play.tick()
        assert (_state(play, "old"), play.engine.loads) == (State.COLD, [])


async def _restarted(data: Path, engine: Scripted) -> None:
    """A house that is closed after a promotion, and an engine whose next load waits for a gate."""
    async with stage(data) as play:
        await _promoted(play)
    engine.load_gate = asyncio.Event()


async def _loading(play: Stage) -> None:
    """Until the engine loads what nobody asked for."""
    await _settled(play)
    while not play.engine.loads:
        await play.house.database.settle()


async def test_a_request_for_another_model_ends_a_load_that_nobody_asked_for(
    tmp_path: Path,
) -> None:
    engine = Scripted()
    await _restarted(tmp_path / "data", engine)
    async with stage(tmp_path / "data", engine=engine, pool__memory_mb=ONE_MB) as play:
        await _loading(play)
        engine.load_gate = None
        with play.house.announcer.listening() as listener:
            assert await play.ask(model="new") == "yes"
            assert (_state(play, "old"), _state(play, "new")) == (State.COLD, State.READY)
            assert await play.ask(model="old") == "yes"
            heard = listener.stream()
            kinds = [(await anext(heard)).kind for _ in range(4)]
        # no moment between its load and its drain at which a request could load it again
        assert kinds == [
            "instance.loading",
            "instance.draining",
            "instance.cold",
            "instance.ready",
        ]


async def test_a_request_for_what_is_being_loaded_anyway_waits_for_that_one_load(
    tmp_path: Path,
) -> None:
    engine = Scripted()
    await _restarted(tmp_path / "data", engine)
    async with stage(tmp_path / "data", engine=engine, pool__memory_mb=ONE_MB) as play:
        await _loading(play)
        gate, engine.load_gate = engine.load_gate, None
        assert gate is not None
        first = asyncio.create_task(play.ask(model="old"))
        while not any(view.leases for view in play.house.pool.views()):
            await play.house.database.settle()
        second = asyncio.create_task(play.ask(model="new"))
        await play.house.database.settle()
        gate.set()
        assert (await first, await second) == ("yes", "yes")
        assert [spec.version for spec in engine.loads] == [_id(play, "old"), _id(play, "new")]


async def test_a_house_that_closes_does_not_wait_for_a_load_that_nobody_asked_for(
    tmp_path: Path,
) -> None:
    engine = Scripted()
    await _restarted(tmp_path / "data", engine)
    async with stage(tmp_path / "data", engine=engine) as play:
        await _loading(play)
    assert engine.runners == []


async def test_a_kept_version_that_cannot_be_loaded_leaves_a_line_in_the_log_and_no_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with stage(tmp_path / "data") as play:
        await _promoted(play)
    engine = Scripted(fail_load="out of cheese")
    with caplog.at_level(logging.WARNING, logger="arbiter.pool"):
        async with stage(tmp_path / "data", engine=engine) as play:
            await _settled(play)
            await _until(play, "old", State.FAILED)
            engine.fail_load = None
            assert await play.ask(model="primary") == "yes"
    assert ["out of cheese" in line for line in caplog.messages] == [True]


async def test_when_its_date_has_passed_the_old_version_is_unloaded_and_its_record_stays(
    play: Stage,
) -> None:
    old = _id(play, "old")
    heard = await _pass(play)
    assert heard.detail["version"] == old
    await _until(play, "old", State.COLD)
    assert play.house.registry.kept_until(old) is None
    assert play.house.registry.version(old).standing is Standing.RETIRED
    assert await play.ask(model="old") == "yes"


async def test_a_moment_before_its_date_the_old_version_is_still_kept(play: Stage) -> None:
    await _settled(play)
    await _open_for(play, KEPT_S - 4.0)
    assert timedelta(0) < _left(play) < timedelta(seconds=6)
    assert _state(play, "old") is State.READY


async def test_neither_a_clock_that_is_set_nor_a_machine_that_slept_ends_it(play: Stage) -> None:
    await _settled(play)
    for days in (400, -800, 30):
        play.clock.start += timedelta(days=days)
        play.clock.jump(DAY_S)
        await play.tick()
    assert timedelta(seconds=KEPT_S - 10) < _left(play) < timedelta(seconds=KEPT_S)
    assert _state(play, "old") is State.READY


async def test_a_restart_goes_on_with_the_time_that_is_left(tmp_path: Path) -> None:
    async with stage(tmp_path / "data") as play:
        await _promoted(play, keep_s=KEPT_S)
        await _open_for(play, KEPT_S / 2)
        left = _left(play)
        assert timedelta(0) < left < timedelta(seconds=KEPT_S * 2 / 3)
    async with stage(tmp_path / "data") as play:
        assert _left(play) == left


async def test_an_answer_that_runs_at_the_date_is_not_disturbed(play: Stage) -> None:
    async with play.house.stream("chat live", model="old", task="chat"):
        await _pass(play)
        await play.tick()
        assert _state(play, "old") is State.READY


async def test_an_undo_before_the_date_needs_no_load(play: Stage) -> None:
    loads = len(play.engine.loads)
    undone = await play.house.undo("primary")
    assert undone.rollout.phase is Phase.UNDONE
    assert await play.ask() == "yes"
    assert (play.decided[-1].version, len(play.engine.loads)) == (_id(play, "old"), loads)


async def test_an_undo_after_the_date_works_and_the_next_request_loads(play: Stage) -> None:
    await _pass(play)
    await _until(play, "old", State.COLD)
    loads = len(play.engine.loads)
    await play.house.undo("primary")
    assert await play.ask() == "yes"
    assert (play.decided[-1].version, len(play.engine.loads)) == (_id(play, "old"), loads + 1)


async def test_what_was_taken_back_is_in_use_and_has_no_date(play: Stage) -> None:
    await play.house.undo("primary")
    assert play.house.registry.kept() == ()
    await _settled(play)
    await play.tick()
    play.clock.jump(8 * DAY_S)
    await play.tick()
    assert _state(play, "old") is State.READY
