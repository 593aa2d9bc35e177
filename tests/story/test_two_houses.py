"""Two controllers over one database: one drives a rollout, and it is promoted once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest
from tests.story.stage import Stage, looking, name, stage, task

from arbiter.errors import Conflict
from arbiter.events import Announcer
from arbiter.ledger import Ledger
from arbiter.refs import RolloutId
from arbiter.registry.registry import Registry
from arbiter.storage.database import Database, Statement
from arbiter.storage.sqlite import open_sqlite
from arbiter.swap.controller import Controller
from arbiter.swap.driving import TICK_S
from arbiter.swap.hooks import Hooks
from arbiter.swap.lease import LEASE_S, RENEW_S, Leases
from arbiter.swap.rollout import Phase
from arbiter.swap.watch import Sign, held_back
from arbiter.swap.watching import COUNT_EVERY, LOOK_S


@dataclass
class Other:
    """Another house's controller, its connection and its registry."""

    controller: Controller
    database: Database
    registry: Registry


@asynccontextmanager
async def other(play: Stage, data: Path) -> AsyncIterator[Other]:
    """A second controller, with a connection of its own, that does not know the first is there."""
    database = await open_sqlite(data / "arbiter.db")
    registry = Registry(database, play.clock, Ledger(database, play.clock))
    await registry.load()
    controller = Controller(
        registry=registry,
        tasks=play.house.tasks,
        pool=play.house.pool,
        database=database,
        clock=play.clock,
        dice=Random(8),
        announcer=Announcer(),
        knowledge=play.house.knowledge,
        leases=Leases(holder="other", is_sole=False, database=database, clock=play.clock),
    )
    comparing = play.house.controller._driver.validation
    hooks = Hooks((), timeout_s=1.0, clock=play.clock)
    await controller.open(comparing._validator, hooks)
    try:
        yield Other(controller=controller, database=database, registry=registry)
    finally:
        await controller.close()
        await database.close()


@asynccontextmanager
async def two(tmp_path: Path) -> AsyncIterator[tuple[Stage, Other, RolloutId]]:
    """A house with a rollout that goes on, and another controller beside it."""
    data = tmp_path / "data"
    async with stage(data) as play:
        await play.house.admission.add_task(task("chat", cases=0))
        await play.add("old", {"chat": 0.75})
        await play.add("new", {"chat": 0.97})
        await play.alias("primary", "old")
        shares = {"steps": [0.4, 0.5], "unproven_first_step": 0.4, "min_steps": 1}
        rollout = await play.swap("primary", "new", **shares)
        async with other(play, data) as second:
            yield play, second, rollout


async def tick(play: Stage, second: Other, times: int = 1, *, stuck: int = 0) -> None:
    """Let both look once more. stuck: how many of them do not come to it."""

    async def asleep() -> None:
        driving = looking(play.house.controller) + looking(second.controller)
        while play.clock.sleepers < 1 + driving - stuck:
            await play.house.database.settle()
            driving = looking(play.house.controller) + looking(second.controller)

    for _ in range(times):
        await play.house.database.settle()
        await asleep()
        play.clock.jump(TICK_S)
        await asleep()


async def promotions(play: Stage, rollout: RolloutId) -> int:
    log = (await play.house.controller.view(rollout)).log
    return sum(entry.phase is Phase.PROMOTED for entry in log)


async def test_one_of_two_controllers_promotes_and_the_other_sees_it(tmp_path: Path) -> None:
    async with two(tmp_path) as (play, second, rollout):
        for number in range(3_000):
            await play.ask()
            if number % 10 == 9:
                await tick(play, second)
            if play.house.controller.active(name("primary")) is None:
                break
        await tick(play, second, 2)
        assert await promotions(play, rollout) == 1
        assert len(await play.house.registry.moves(name("primary"))) == 2
        assert (await second.controller.find(rollout)).rollout.phase is Phase.PROMOTED
        assert second.controller.aliases() == frozenset()
        new = play.house.registry.resolve(name("new"))
        assert second.registry.resolve(name("primary")) == new


async def test_who_does_not_drive_takes_no_word_either(tmp_path: Path) -> None:
    async with two(tmp_path) as (_, second, rollout):
        with pytest.raises(Conflict, match="Another house drives this rollout"):
            await second.controller.promote(rollout, who="ada", why="now")


async def test_a_lease_that_is_renewed_is_never_taken_over(tmp_path: Path) -> None:
    async with two(tmp_path) as (play, second, rollout):
        for _ in range(3 * int(LEASE_S / RENEW_S)):
            play.clock.jump(RENEW_S)
            await tick(play, second)
        ((holder, _),) = await second.database.read("get_lease", (rollout,))
        assert holder != "other"


async def test_a_house_that_hangs_is_replaced_and_its_late_promotion_is_refused(
    tmp_path: Path,
) -> None:
    async with two(tmp_path) as (play, second, rollout):
        controller = play.house.controller
        hanging = controller.track(rollout)
        assert hanging is not None
        while hanging.rollout.index == 0:
            await play.ask()
            await tick(play, second)
        # enough is known for a promotion, and the one that drives hangs before it acts on it
        async with hanging.lock:
            for _ in range(300):
                await play.ask()
            await play.house.database.settle()
            before = await controller.view(rollout)
            await tick(play, second, 2, stuck=1)
            assert (await second.controller.find(rollout)).rollout.phase is Phase.PROGRESSING
            for _ in range(40):
                play.clock.jump(LEASE_S)
                await tick(play, second, stuck=1)
                if not second.controller.aliases():
                    break
            after = await second.controller.view(rollout)
            assert after.stored.rollout.phase is Phase.PROMOTED
            assert after.judgement == before.judgement
        for _ in range(4):
            await tick(play, second)
        assert controller.active(name("primary")) is None
        assert await promotions(play, rollout) == 1
        assert play.house.registry.resolve(name("primary")) == second.registry.resolve(name("new"))
        assert len(await second.registry.moves(name("primary"))) == 2


async def test_what_a_former_holder_decides_is_refused_by_the_database(tmp_path: Path) -> None:
    async with two(tmp_path) as (play, second, rollout):
        ((_, beat),) = await second.database.read("get_lease", (rollout,))
        await second.database.write(
            Statement(query="take_lease", parameters=(rollout, "other", beat))
        )
        controller = play.house.controller
        assert controller._tracks.leases[rollout].is_mine  # it does not know yet
        with pytest.raises(Conflict, match="Another house drives"):
            await controller.promote(rollout, who="ada", why="I think that I may")
        assert await promotions(play, rollout) == 0
        assert play.house.registry.resolve(name("primary")) == second.registry.resolve(name("old"))
        await tick(play, second, 2)
        await second.controller.promote(rollout, who="ada", why="here it may be said")
        assert await promotions(play, rollout) == 1
        await tick(play, second, stuck=1)  # and the first house sees it


async def test_a_house_that_has_the_database_for_itself_waits_for_no_lease(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with stage(data) as play:
        await play.add("old", {"chat": 0.75})
        await play.add("new", {"chat": 0.97})
        await play.alias("primary", "old")
        rollout = await play.swap("primary", "new")
    async with stage(data, seed=8) as play:
        paused = await play.house.controller.pause(rollout, who="ada", why="at once")
        assert paused.rollout.phase is Phase.PAUSED


async def test_a_wall_clock_that_is_set_changes_neither_soak_nor_lease(tmp_path: Path) -> None:
    """Soak is time that was seen to pass, and a lease is a beat: no date is in either."""
    async with two(tmp_path) as (play, second, rollout):
        await tick(play, second, 4)
        before = (await play.house.controller.find(rollout)).rollout
        for days in (400, -800, 30):
            play.clock.start += timedelta(days=days)
            await tick(play, second)
        after = (await play.house.controller.find(rollout)).rollout
        assert after.total_s - before.total_s == pytest.approx(3 * TICK_S)
        assert after.phase is Phase.PROGRESSING
        ((holder, _),) = await second.database.read("get_lease", (rollout,))
        assert holder != "other"


async def both_watch(play: Stage, second: Other) -> None:
    """Until the other house has seen the promotion, and watches it too."""
    while not second.controller.watching.aliases():
        await tick(play, second)


async def test_what_one_house_took_back_the_other_watches_no_longer(tmp_path: Path) -> None:
    async with two(tmp_path) as (play, second, rollout):
        await play.house.controller.promote(rollout, who="ada", why="I know it")
        await both_watch(play, second)
        await play.house.undo("primary", why="I did not")
        for _ in range(COUNT_EVERY + 1):
            play.clock.jump(LOOK_S - TICK_S)
            await tick(play, second)
        assert second.controller.watching.aliases() == frozenset()
        assert second.registry.resolve(name("primary")) == second.registry.resolve(name("old"))


async def test_an_alarm_that_both_houses_hear_takes_a_promotion_back_once(tmp_path: Path) -> None:
    async with two(tmp_path) as (play, second, rollout):
        await play.house.controller.promote(rollout, who="ada", why="I know it")
        await both_watch(play, second)
        watches = [
            one.watching._watches[name("primary")]
            for one in (play.house.controller, second.controller)
        ]
        chance = 1.0 - watches[0].rollout.plan.holdback
        dice = Random(5)
        rows = []
        position = 0
        while Sign.DRIFTED not in watches[0].holdback.since.alarms:
            back = held_back(watches[0].rollout.salt, f"u{position}", 0.05)
            arm, score = ("holdback", 1.0) if back else ("promoted", float(dice.random() < 0.1))
            rows.append(
                Statement(
                    query="add_after_unit",
                    parameters=(
                        rollout, position, f"u{position}", "chat", arm, chance, "dec", score,
                        None, None, 0,
                    ),
                )
            )  # fmt: skip
            for watch in watches:
                watch.holdback.since.update(
                    (position, f"u{position}", "chat", arm, chance, score, None, None)
                )
            position += 1
        await play.house.database.write(*rows)
        for _ in range(3):
            play.clock.jump(LOOK_S - TICK_S)
            await tick(play, second)
        log = (await play.house.controller.view(rollout)).log
        assert [one.phase for one in log].count(Phase.UNDONE) == 1
        assert len(await play.house.registry.moves(name("primary"))) == 3
        assert play.house.controller.watching.aliases() == frozenset()
        assert second.controller.watching.aliases() == frozenset()
