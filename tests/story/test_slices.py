"""Two models that cannot be in memory together take turns: nothing is lost, and it is decided."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest
from tests.story.crashed import newest
from tests.story.slices_crashed import TICKS, WINDOWS, furnish, narrow, to_the_end, turns
from tests.story.stage import Stage, name

from arbiter.engines.scripted import Hold, Say, Scripted, Step
from arbiter.errors import Busy
from arbiter.inference import Arm, Generation
from arbiter.refs import RolloutId
from arbiter.swap.audit import audit, read_record
from arbiter.swap.crashing import Place
from arbiter.swap.rollout import Phase
from arbiter.swap.slices import conversation_of, slot_of

TIMES = int(os.environ.get("ARBITER_TEST_KILLS", "2"))


def turn(play: Stage, rollout: RolloutId) -> tuple[int, Arm, float]:
    """The present window, and whose it is."""
    track = play.house.controller.track(rollout)
    assert track is not None
    return track.turn()


async def until(play: Stage, rollout: RolloutId, arm: Arm) -> None:
    """Let windows pass until it is this side's turn."""
    while turn(play, rollout)[1] is not arm:
        await play.tick()


async def until_other(play: Stage, rollout: RolloutId) -> None:
    """Let windows pass until it is the other side's turn."""
    others = {Arm.STABLE: Arm.CANDIDATE, Arm.CANDIDATE: Arm.STABLE}
    await until(play, rollout, others[turn(play, rollout)[1]])


@pytest.mark.parametrize(("new", "phase"), [(0.97, Phase.PROMOTED), (0.1, Phase.ROLLED_BACK)])
async def test_it_is_decided_with_one_load_at_most_where_the_turn_changes(
    tmp_path: Path, new: float, phase: Phase
) -> None:
    await furnish(tmp_path, new=new)
    async with narrow(tmp_path) as play:
        rollout = await play.swap("primary", "new", **WINDOWS)
        memory = [
            one
            for one in (await play.house.controller.find(rollout)).findings
            if one.about == "memory"
        ]
        assert [one.is_warning for one in memory] == [True]
        before = len(play.engine.loads)
        await turns(play, rollout)
        found = await play.house.controller.view(rollout)
        assert found.stored.rollout.phase is phase
        changes = sum(
            one is not other for one, other in zip(play.arms, play.arms[1:], strict=False)
        )
        assert changes > 5
        assert len(play.engine.loads) - before <= changes + 1
        # all that were asked were answered, by the version whose turn it was
        versions = {Arm.STABLE: name("old"), Arm.CANDIDATE: name("new")}
        resolve = play.house.registry.resolve
        for decided in play.decided:
            if decided.arm in versions:
                assert decided.version == resolve(versions[decided.arm]).version
        assert {decided.arm for decided in play.decided} >= {Arm.STABLE, Arm.CANDIDATE}


class Holding:
    """Answers that end only when a story lets them; an event for each that has begun."""

    def __init__(self) -> None:
        self.begun: asyncio.Event = asyncio.Event()
        self.held: asyncio.Event = asyncio.Event()
        self.held.set()

    def __call__(self, request: Generation) -> list[Step]:
        del request
        self.begun.set()
        return [Say("yes"), Hold(self.held)]


async def test_at_the_edge_what_runs_is_served_to_its_end_before_the_other_is_loaded(
    tmp_path: Path,
) -> None:
    await furnish(tmp_path)
    answers = Holding()
    async with narrow(tmp_path, engine=Scripted(reply=answers)) as play:
        rollout = await play.swap("primary", "new", **WINDOWS)
        answers.held.clear()
        answers.begun.clear()
        first = asyncio.create_task(play.ask(conversation="talk"))
        await answers.begun.wait()
        loads = len(play.engine.loads)
        await until_other(play, rollout)
        others = [asyncio.create_task(play.ask()) for _ in range(3)]
        await play.tick(2)
        assert not first.done()
        assert len(play.engine.loads) == loads  # they wait: nothing is cut
        answers.held.set()
        assert [await first, *[await one for one in others]] == ["yes"] * 4
        assert len(play.engine.loads) == loads + 1
        # a conversation that goes on is answered by whoever has the turn now
        assert await play.ask(conversation="talk") == "yes"
        assert play.decided[-1].arm is turn(play, rollout)[1]
        assert play.decided[-1].arm is not play.decided[0].arm
        assert len(play.engine.loads) == loads + 1


async def test_who_finds_the_house_full_is_told_so_and_nothing_is_loaded_out_of_turn(
    tmp_path: Path,
) -> None:
    await furnish(tmp_path)
    answers = Holding()
    async with narrow(tmp_path, engine=Scripted(reply=answers), slots=1, queue=1) as play:
        rollout = await play.swap("primary", "new", **WINDOWS)
        await until(play, rollout, Arm.CANDIDATE)
        answers.held.clear()
        answers.begun.clear()
        asked = [asyncio.create_task(play.ask())]
        await answers.begun.wait()
        loads = len(play.engine.loads)
        asked += [asyncio.create_task(play.ask()) for _ in range(3)]
        await play.tick()
        answers.held.set()
        ended = await asyncio.gather(*asked, return_exceptions=True)
        assert sum(isinstance(one, Busy) for one in ended) == 2
        assert len(play.engine.loads) == loads


async def test_while_it_is_paused_the_stable_version_answers_everybody(tmp_path: Path) -> None:
    await furnish(tmp_path)
    async with narrow(tmp_path) as play:
        rollout = await play.swap("primary", "new", **WINDOWS)
        await play.tick(3)
        await play.house.controller.pause(rollout, who="ada", why="lunch")
        was = turn(play, rollout)
        for _ in range(4 * TICKS):
            await play.ask()
            await play.tick()
        stable = play.house.registry.resolve(name("old")).version
        assert {(one.arm, one.version) for one in play.decided} == {(Arm.NONE, stable)}
        await play.house.controller.resume(rollout, who="ada", why="")
        assert turn(play, rollout) == was


async def test_nobody_is_held_back_after_it_was_promoted(tmp_path: Path) -> None:
    await furnish(tmp_path)
    async with narrow(tmp_path) as play:
        rollout = await play.swap("primary", "new", **WINDOWS)
        await play.house.controller.promote(rollout, who="ada", why="enough")
        loads = len(play.engine.loads)
        for _ in range(40):
            await play.ask()
        assert len(play.engine.loads) <= loads + 1
        new = play.house.registry.resolve(name("new")).version
        assert {one.version for one in play.decided} == {new}
        watch = (await play.house.controller.view(rollout)).watch
        assert watch is not None
        assert watch.closed == "its plan holds nobody back"


async def test_a_window_is_fifteen_minutes_or_twenty_loads(tmp_path: Path) -> None:
    await furnish(tmp_path)
    async with narrow(tmp_path) as play:
        rollout = await play.swap("primary", "new", apart="slices")
        plan = (await play.house.controller.find(rollout)).rollout.plan
        assert (plan.slice_s, plan.steps, plan.min_units) == (900.0, (0.25, 0.5), 4)


@pytest.mark.parametrize("number", range(TIMES))
@pytest.mark.parametrize("place", [Place.NOTED, Place.WRITTEN, Place.MOVED])
async def test_a_house_that_is_killed_goes_on_within_the_same_window(
    tmp_path: Path, place: Place, number: int
) -> None:
    await furnish(tmp_path)
    seed = 2 + 2 * number
    # the shortest of these stories comes to that place 11 times
    nth = {Place.NOTED: 1 + (6 + 3 * number) % 10, Place.WRITTEN: 2, Place.MOVED: 1}[place]
    words = [str(tmp_path), place.value, str(nth), str(seed)]
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.story.slices_crashed", *words
    )
    assert await child.wait() == -signal.SIGKILL
    await asyncio.to_thread(shutil.copytree, tmp_path / "data", tmp_path / "killed" / "data")
    async with narrow(tmp_path / "killed", seed=999) as play:
        found = await newest(play)
        assert found is not None
        record = await read_record(found.rollout.id, play.house.database, play.house.ledger)
        if place is Place.NOTED:
            *_, last = record.record.units
            slot, arm, chance = turn(play, found.rollout.id)
            assert (slot, arm, chance) == (slot_of(last[1]), last[3], last[4])

    rollout = await to_the_end(tmp_path, seed=seed + 1)

    async with narrow(tmp_path, seed=1_000) as play:
        record = await read_record(rollout, play.house.database, play.house.ledger)
        assert audit(record).differs is None
        assert (await play.house.ledger.verify()).bad is None
        assert [entry.phase for entry in record.log].count(Phase.PROMOTED) == 1
        units = record.record.units
        assert len({conversation_of(row[1]) for row in units}) == len(units)
        resolve = play.house.registry.resolve
        assert resolve(name("primary")) == resolve(name("new"))
