"""After a promotion: some conversations stay with the old version, and a fall is noticed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from tests.story.neighbours import A, Neighbour, offer
from tests.story.stage import Stage, name, stage, task
from tests.story.test_discovery import street

from arbiter.errors import UnknownRollout
from arbiter.events import Event, Listener
from arbiter.inference import Arm
from arbiter.knowledge.rules import Rule
from arbiter.ledger import Kind
from arbiter.pool.instance import State
from arbiter.refs import RolloutId, VersionId, parse_task
from arbiter.registry.registry import Standing
from arbiter.swap.driving import TICK_S
from arbiter.swap.rollout import Phase
from arbiter.swap.watch import Sign
from arbiter.swap.watching import LOOK_S, WatchView

PLAN = {"holdback": 0.5, "alpha_drift": 0.01, "steps": [0.4, 0.5], "unproven_first_step": 0.4}
"""Half of the traffic is much to hold back, and a story is short."""


async def furnish(play: Stage) -> None:
    """Two models: the new one is better at `chat`, and bad at `late`; both are bad at `hard`."""
    for title in ("chat", "late", "hard"):
        await play.house.admission.add_task(task(title, cases=0))
    await play.add("old", {"chat": 0.75, "late": 0.9, "hard": 0.1})
    await play.add("new", {"chat": 0.97, "late": 0.1, "hard": 0.1})
    await play.alias("primary", "old")


async def promote(play: Stage, **plan: object) -> RolloutId:
    """Swap, and see it promoted on evidence."""
    rollout = await play.swap("primary", "new", **{**PLAN, **plan})
    view = await play.live(rollout)
    assert view.stored.rollout.phase is Phase.PROMOTED
    play.decided.clear()
    return rollout


@pytest.fixture
async def play(tmp_path: Path) -> AsyncIterator[Stage]:
    async with stage(tmp_path / "data") as play:
        await furnish(play)
        yield play


def version(play: Stage, title: str) -> VersionId:
    return play.house.registry.resolve(name(title)).version


async def look(play: Stage, times: int = 1) -> None:
    """Let the watch look at everything that is durable by now."""
    for _ in range(times):
        play.clock.jump(LOOK_S - TICK_S)
        await play.tick()


async def traffic(play: Stage, title: str, most: int = 400) -> None:
    """Requests until the promotion is watched no longer, or so many."""
    for number in range(most):
        await play.ask(title)
        if number % 5 == 4:
            await look(play)
            if not play.house.controller.watching.aliases():
                break


async def watched(play: Stage, rollout: RolloutId) -> WatchView:
    view = (await play.house.controller.view(rollout)).watch
    assert view is not None
    return view


async def heard(listener: Listener, most: int = 200) -> list[Event]:
    """The events about rollouts so far."""
    found: list[Event] = []
    while not listener._queue.empty() and len(found) < most:
        found.append(listener._queue.get_nowait()[1])
    return [event for event in found if event.kind.startswith("rollout.")]


# -- who is held back


async def test_some_conversations_stay_with_the_old_version_and_their_chance_is_logged(
    play: Stage,
) -> None:
    rollout = await promote(play, holdback=0.2)
    loads = len(play.engine.loads)
    for _ in range(200):
        await play.ask()
    back = [one for one in play.decided if one.arm is Arm.HOLDBACK]
    others = [one for one in play.decided if one.arm is Arm.PROMOTED]
    assert len(back) + len(others) == 200
    assert 20 <= len(back) <= 60
    assert {one.version for one in back} == {version(play, "old")}
    assert {one.version for one in others} == {version(play, "primary")}
    assert {round(one.probability, 9) for one in back} == {0.2}
    assert {round(one.probability, 9) for one in others} == {0.8}
    assert {one.rollout for one in play.decided} == {rollout}
    assert f"held back by {rollout}, as 20% of conversations are" in back[0].reason
    assert len(play.engine.loads) == loads


async def test_a_conversation_keeps_its_side_while_it_is_watched(play: Stage) -> None:
    await promote(play)
    for _ in range(2):
        for number in range(40):
            await play.ask(conversation=f"talk {number}")
    first, second = play.decided[:40], play.decided[40:]
    assert [one.version for one in first] == [one.version for one in second]
    assert {one.arm for one in first} == {Arm.HOLDBACK, Arm.PROMOTED}


async def test_nobody_goes_back_to_the_old_version_who_was_with_the_new_one(play: Stage) -> None:
    rollout = await play.swap("primary", "new", **PLAN)
    for number in range(100):
        await play.ask(conversation=f"talk {number}")
    before = [one.version for one in play.decided]
    play.decided.clear()
    await play.house.controller.promote(rollout, who="ada", why="I know it")
    for number in range(100):
        await play.ask(conversation=f"talk {number}")
    after = [one.version for one in play.decided]
    old, new = version(play, "old"), version(play, "new")
    moves = {(one, other) for one, other in zip(before, after, strict=True)}
    assert moves == {(new, new), (old, old), (old, new)}
    await play.house.database.settle()
    # they say nothing since: each has been seen before
    assert (await watched(play, rollout)).since.new.count == 0


async def test_no_load_is_made_for_the_sake_of_those_who_are_held_back(play: Stage) -> None:
    rollout = await promote(play)
    await play.house.pool.unload(version(play, "old"), reason="to see")
    loads = len(play.engine.loads)
    for number in range(40):
        await play.ask(conversation=f"talk {number}")
    assert {one.arm for one in play.decided} == {Arm.PROMOTED}
    assert {one.probability for one in play.decided} == {1.0}
    assert len(play.engine.loads) == loads
    assert (await watched(play, rollout)).closed == "the old version is not in memory"


async def test_a_held_back_conversation_goes_over_when_the_old_version_dies_and_stays(
    play: Stage,
) -> None:
    await promote(play)
    old = version(play, "old")
    for number in range(20):
        await play.ask(conversation=f"talk {number}")
    assert old in {one.version for one in play.decided}
    loads = len(play.engine.loads)
    for runner in play.engine.runners:
        if runner.spec.version == old:
            runner.die()
    for _ in range(2):
        play.decided.clear()
        for number in range(20):
            assert await play.ask(conversation=f"talk {number}")
        assert {one.version for one in play.decided} == {version(play, "new")}
    assert len(play.engine.loads) == loads


async def test_who_may_not_get_the_old_version_by_a_rule_is_not_held_back(play: Stage) -> None:
    await promote(play)
    await play.house.rules.add(Rule(task=parse_task("chat"), never=(name("old"),)))
    for _ in range(30):
        await play.ask()
    assert {one.arm for one in play.decided} == {Arm.PROMOTED}


async def test_a_prompt_that_the_old_version_may_have_no_room_for_goes_to_the_new_one(
    play: Stage,
) -> None:
    await promote(play)
    for number in range(30):
        reply = await play.house.ask(f"chat {number} " + "long " * 3_000, model="primary")
        assert reply.reply.decided.arm is Arm.PROMOTED


async def test_with_no_holdback_everybody_gets_the_new_version(play: Stage) -> None:
    rollout = await promote(play, holdback=0.0)
    for _ in range(30):
        await play.ask()
    assert {one.arm for one in play.decided} == {Arm.PROMOTED}
    assert (await watched(play, rollout)).closed == "its plan holds nobody back"


async def test_nobody_is_held_back_where_another_program_runs_a_version(tmp_path: Path) -> None:
    neighbour = Neighbour(servers={A: [offer("ant:1b", "a"), offer("bee:1b", "b")]})
    async with street(tmp_path, neighbour) as here:
        await here.look()
        rollout = (await here.house.swap("ant:1b", "bee:1b", soak_s=0.0)).rollout.id
        while (await here.house.controller.find(rollout)).rollout.phase is Phase.VALIDATING:
            await here.house.database.settle()
        await here.house.controller.promote(rollout, who="test", why="seen enough")
        for number in range(30):
            answered = await here.house.ask(f"hello {number}", model="ant:1b")
            assert answered.reply.decided.arm is Arm.PROMOTED
        view = (await here.house.controller.view(rollout)).watch
        assert view is not None
        assert view.closed == "another program runs the old version"


# -- a fall


async def test_a_model_that_becomes_worse_is_taken_back_with_numbers_and_no_person(
    play: Stage,
) -> None:
    rollout = await promote(play)
    with play.house.announcer.listening() as listener:
        await traffic(play, "late")
        events = [one.kind for one in await heard(listener)]
    found = (await play.house.controller.find(rollout)).rollout
    assert found.phase is Phase.UNDONE
    assert found.reason.startswith("undone by arbiter: Since its promotion it has become worse")
    assert "evidence" in found.reason
    assert version(play, "primary") == version(play, "old")
    assert play.house.registry.version(version(play, "old")).standing is Standing.ACTIVE
    assert play.house.registry.version(version(play, "new")).standing is Standing.ROLLED_BACK
    assert events[-1] == "rollout.undone"
    last = (await play.house.controller.view(rollout)).log[-1]
    assert (last.phase, last.who) == (Phase.UNDONE, "arbiter")
    noted = [
        one.kind for one in await play.house.ledger.of(Kind.ROLLOUT_DRIFTED, Kind.ROLLOUT_UNDONE)
    ]
    assert noted == ["rollout.drifted", "rollout.undone"]
    view = await watched(play, rollout)
    assert (view.state, view.why) == ("alarmed", found.reason)
    with pytest.raises(UnknownRollout, match="taken back before: nothing to undo"):
        await play.house.undo("primary")
    assert await play.ask() in {"yes", "no"}
    assert play.decided[-1].arm is Arm.NONE


async def test_an_operator_who_wants_to_be_asked_is_told_once_and_nothing_moves(
    tmp_path: Path,
) -> None:
    async with stage(tmp_path / "data") as play:
        await furnish(play)
        rollout = await promote(play, on_drift="ask")
        with play.house.announcer.listening() as listener:
            await traffic(play, "late", 120)
            told = [one for one in await heard(listener) if one.kind == "rollout.drifted"]
        assert len(told) == 1
        assert version(play, "primary") == version(play, "new")
        sentence = (await watched(play, rollout)).since.alarms[Sign.DRIFTED].sentence
        assert told[0].detail["reason"] == sentence
    async with stage(tmp_path / "data", seed=8) as play:
        with play.house.announcer.listening() as listener:
            await look(play, 3)
            assert await heard(listener) == []
        assert sentence in (await watched(play, rollout)).in_words
        undone = await play.house.undo("primary", why="you are right")
        assert undone.rollout.reason == "undone by python: you are right"


async def test_traffic_that_gets_harder_is_told_of_and_takes_nothing_back(play: Stage) -> None:
    rollout = await promote(play)
    with play.house.announcer.listening() as listener:
        await traffic(play, "hard", 200)
        told = [one.kind for one in await heard(listener)]
    assert told == ["rollout.drift_suspected"]
    view = await watched(play, rollout)
    assert (view.state, version(play, "primary")) == ("suspected", version(play, "new"))
    assert set(view.since.alarms) == {Sign.SUSPECTED}


async def test_a_restart_goes_on_with_the_same_alarm_to_the_last_bit(tmp_path: Path) -> None:
    async with stage(tmp_path / "data") as play:
        await furnish(play)
        rollout = await promote(play, on_drift="ask")
        await traffic(play, "late", 40)
        await play.house.database.settle()
        before = (await watched(play, rollout)).since
    async with stage(tmp_path / "data", seed=8) as play:
        after = (await watched(play, rollout)).since
        assert after is not before
        assert (after.log_beside, after.log_before) == (before.log_beside, before.log_before)
        assert after.alarms == before.alarms
        play.asked = 10_000
        await traffic(play, "chat", 20)
        assert after.new.count + after.old.count == before.new.count + before.old.count + 20


# -- how it ends


async def test_it_ends_when_its_time_is_over_and_the_old_version_can_be_rolled_out_again(
    play: Stage,
) -> None:
    rollout = await promote(play, keep_s=20.0)
    with play.house.announcer.listening() as listener:
        await look(play, 25)
        (told,) = await heard(listener)
    assert (told.kind, told.detail["reason"]) == ("rollout.retired", "its time is over")
    assert play.house.controller.watching.aliases() == frozenset()
    assert play.house.registry.version(version(play, "old")).standing is Standing.RETIRED
    assert play.house.registry.kept() == ()
    await play.ask()
    assert play.decided[-1].arm is Arm.NONE
    view = await watched(play, rollout)
    assert "watched no longer" in view.in_words[0]
    again = await play.swap("primary", "old", **PLAN)
    assert (await play.house.controller.find(again)).rollout.phase is Phase.PROGRESSING


async def by_a_swap(play: Stage) -> str:
    await play.add("third", {"chat": 0.9})
    rollout = await play.swap("primary", "third", **PLAN)
    return f"the next rollout of primary began: {rollout}"


async def by_hand(play: Stage) -> str:
    await play.alias("primary", "old")
    return "primary was pointed elsewhere"


async def by_undoing(play: Stage) -> str:
    await play.house.undo("primary", why="taste")
    return "undone by python: taste"


@pytest.mark.parametrize("way", [by_a_swap, by_hand, by_undoing])
async def test_it_ends_when_the_alias_goes_on_without_it(
    play: Stage, way: Callable[[Stage], Awaitable[str]]
) -> None:
    rollout = await promote(play)
    why = await way(play)
    await look(play, 2)
    assert (await watched(play, rollout)).why == why
    assert play.house.registry.kept() == ()
    assert play.house.controller.watching.aliases() == frozenset()


async def test_what_is_retired_makes_room_for_others_and_is_not_loaded_again(
    tmp_path: Path,
) -> None:
    async with stage(tmp_path / "data", pool__memory_mb=100) as play:
        await furnish(play)
        await promote(play, keep_s=2.0)
        await look(play, 4)
        await play.ask()
        await play.add("third", {"chat": 0.9})
        await play.ask(model="third")
        states = play.house.pool.states()
        assert states[version(play, "old")] is State.COLD
        assert states[version(play, "new")] is State.READY
