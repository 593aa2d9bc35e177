"""Answers that no rule can grade: a coin chooses who is judged, and nobody's whim decides."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.story.stage import Stage, name, stage

from arbiter.engines.scripted import Die, Say, Scripted, Step
from arbiter.errors import InstanceLost
from arbiter.inference import Arm, Generation
from arbiter.knowledge.tasks import Task
from arbiter.ledger import Kind
from arbiter.refs import RolloutId, TaskName
from arbiter.swap.audit import audit, read_record
from arbiter.swap.driving import TICK_S
from arbiter.swap.rollout import Phase
from arbiter.swap.watching import LOOK_S, WatchView

STEPS = {"unproven_first_step": 0.4, "steps": [0.5], "min_steps": 1}


@pytest.fixture
async def play(tmp_path: Path) -> AsyncIterator[Stage]:
    async with stage(tmp_path / "data") as play:
        await prepared(play)
        yield play


async def prepared(play: Stage) -> None:
    """Two versions, and a task that nothing but a person can grade."""
    await play.add("old", {"chat": 0.9})
    await play.add("new", {"chat": 0.9})
    await play.alias("primary", "old")
    await play.house.admission.add_task(Task(name=TaskName("chat")))


async def ask(play: Stage, times: int) -> None:
    for _ in range(times):
        await play.ask(expected=None)


async def units(play: Stage, rollout: RolloutId) -> int:
    await play.tick()
    judgement = (await play.house.controller.view(rollout)).judgement
    return judgement.n_stable + judgement.n_candidate


async def test_nothing_counts_that_nobody_was_asked_to_judge(play: Stage) -> None:
    rollout = await play.swap("primary", "new", **STEPS)
    await ask(play, 20)
    for decided in play.decided:
        assert not decided.to_judge
        await play.house.feedback(decided.decision, 1.0)
    assert await units(play, rollout) == 0


async def test_what_the_coin_chose_counts_once_it_is_judged_and_in_order(play: Stage) -> None:
    rollout = await play.swap("primary", "new", judge_share=0.5, **STEPS)
    await ask(play, 40)
    chosen = [one.decision for one in play.decided if one.to_judge]
    assert 10 < len(chosen) < 30
    assert await units(play, rollout) == 0
    view = await play.house.controller.view(rollout)
    assert list(view.to_judge) == chosen
    for one in (decided for decided in play.decided if not decided.to_judge):
        await play.house.feedback(one.decision, 0.0)
    for decision in reversed(chosen[1:]):
        await play.house.feedback(decision, 1.0)
    assert await units(play, rollout) == 0  # the first one holds back the others
    await play.house.feedback(chosen[0], 1.0)
    await play.house.feedback(chosen[0], 0.0)  # a changed mind changes no verdict
    assert await units(play, rollout) == len(chosen)
    view = await play.house.controller.view(rollout)
    assert view.judgement.mean_stable == view.judgement.mean_candidate == 1.0
    assert (view.to_judge, view.judged, view.unjudged) == ((), len(chosen), 0)


async def test_what_nobody_judges_in_time_counts_as_bad_in_either_arm(play: Stage) -> None:
    rollout = await play.swap("primary", "new", judge_share=1.0, judge_within_s=2.0, **STEPS)
    await ask(play, 30)
    await play.house.feedback(play.decided[3].decision, 1.0)
    await play.tick(10)
    view = await play.house.controller.view(rollout)
    assert (view.judged, view.unjudged) == (1, 29)
    assert view.judgement.n_stable + view.judgement.n_candidate == 30
    await play.house.feedback(play.decided[5].decision, 1.0)  # too late
    assert (await play.house.controller.view(rollout)).judgement == view.judgement


async def test_a_judgement_that_is_quicker_than_the_disk_is_not_lost(play: Stage) -> None:
    rollout = await play.swap("primary", "new", judge_share=1.0, **STEPS)
    for _ in range(10):
        await play.ask(expected=None)
        await play.house.feedback(play.decided[-1].decision, 1.0)
    await play.tick()
    view = await play.house.controller.view(rollout)
    assert (view.judged, view.unjudged) == (10, 0)


async def test_those_who_signal_without_a_word_judge_nothing(play: Stage) -> None:
    rollout = await play.swap("primary", "new", judge_share=1.0, **STEPS)
    await ask(play, 3)
    for decided in play.decided:
        await play.house.feedback(decided.decision, 0.0, source="implicit")
    assert await units(play, rollout) == 0
    assert len((await play.house.controller.view(rollout)).to_judge) == 3


async def test_what_waits_still_waits_after_a_restart(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with stage(data) as play:
        await prepared(play)
        rollout = await play.swap("primary", "new", judge_share=0.5, **STEPS)
        await ask(play, 30)
        chosen = [one.decision for one in play.decided if one.to_judge]
        for decision in chosen[:4]:
            await play.house.feedback(decision, 1.0)
        before = await play.house.controller.view(rollout)
    async with stage(data, seed=8) as play:
        after = await play.house.controller.view(rollout)
        assert after.judgement == before.judgement
        assert list(after.to_judge) == chosen[4:]
        for decision in chosen[4:]:
            await play.house.feedback(decision, 1.0)
        assert await units(play, rollout) == len(chosen)


async def test_a_worse_candidate_is_rolled_back_by_judgements_alone(play: Stage) -> None:
    rollout = await play.swap("primary", "new", judge_share=1.0, **STEPS)
    for number in range(300):
        await ask(play, 1)
        decided = play.decided[-1]
        good = decided.arm is not Arm.CANDIDATE or number % 2 == 0
        await play.house.feedback(decided.decision, float(good))
        await play.tick()
        if play.house.controller.active(name("primary")) is None:
            break
    view = await play.house.controller.view(rollout)
    assert view.stored.rollout.phase is Phase.ROLLED_BACK


async def promoted(play: Stage, **plan: object) -> RolloutId:
    """Swap, and promote on a person's word; half of the traffic stays with the old version."""
    rollout = await play.swap("primary", "new", **{**STEPS, "holdback": 0.5, **plan})
    await ask(play, 10)  # so that both are in memory
    await play.house.controller.promote(rollout, who="ada", why="seen enough")
    play.decided.clear()
    return rollout


async def watched(play: Stage, rollout: RolloutId) -> WatchView:
    """The promotion after one more look."""
    play.clock.jump(LOOK_S - TICK_S)
    await play.tick()
    view = (await play.house.controller.view(rollout)).watch
    assert view is not None
    return view


async def test_after_a_promotion_the_coin_still_chooses_and_judgements_are_heard(
    play: Stage,
) -> None:
    rollout = await promoted(play, judge_share=0.5)
    await ask(play, 40)
    chosen = [one.decision for one in play.decided if one.to_judge]
    assert 10 < len(chosen) < 30
    view = await watched(play, rollout)
    assert (list(view.to_judge), view.since.new.count + view.since.old.count) == (chosen, 0)
    for decision in reversed(chosen):
        await play.house.feedback(decision, 1.0)
    for one in (decided for decided in play.decided if not decided.to_judge):
        await play.house.feedback(one.decision, 0.0)
    view = await watched(play, rollout)
    assert view.since.new.value == view.since.old.value == 1.0
    assert (view.since.new.count + view.since.old.count, view.to_judge) == (len(chosen), ())
    assert f"{len(chosen)} were in time" in view.in_words[-1]


async def test_whoever_stops_judging_after_a_promotion_is_no_fall(play: Stage) -> None:
    rollout = await promoted(play, judge_share=1.0, judge_within_s=2.0, alpha_drift=0.5)
    await ask(play, 30)
    await play.house.feedback(play.decided[3].decision, 1.0)
    for _ in range(3):
        await watched(play, rollout)
    view = await watched(play, rollout)
    assert (view.judged.judged, view.judged.unjudged) == (1, 29)
    assert (view.since.new.count + view.since.old.count, view.since.alarms) == (1, {})
    assert "Nobody judged the last 26 of them." in " ".join(view.in_words)
    await play.house.feedback(play.decided[5].decision, 0.0)  # too late
    later = await watched(play, rollout)
    assert (later.judged.judged, later.since.new.count + later.since.old.count) == (1, 1)


async def test_an_answer_that_failed_and_was_to_be_judged_tells_the_alarms_nothing(
    tmp_path: Path,
) -> None:
    """Once nobody judges, failures alone would be told, and look like a fall."""
    deaths: list[Step] = []

    def reply(request: Generation) -> list[Step]:
        del request
        return [deaths.pop()] if deaths else [Say("yes")]

    async with stage(tmp_path / "data", engine=Scripted(reply=reply)) as play:
        await prepared(play)
        rollout = await promoted(play, judge_share=1.0)
        deaths.extend([Die()] * 4)
        asking = asyncio.create_task(ask(play, 1))
        while not asking.done():
            await play.tick()
        with pytest.raises(InstanceLost):
            await asking
        view = await watched(play, rollout)
        (unit,) = await play.house.database.read("list_after_units", (rollout,))
        assert (unit[5], unit[6], unit[9]) == (None, "crash", 0)
        assert (view.since.new.count + view.since.old.count, view.to_judge) == (0, ())


async def test_a_watch_still_waits_after_a_restart_for_what_waited(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with stage(data) as play:
        await prepared(play)
        rollout = await promoted(play, judge_share=0.5)
        await ask(play, 30)
        chosen = [one.decision for one in play.decided if one.to_judge]
        for decision in chosen[:4]:
            await play.house.feedback(decision, 1.0)
    async with stage(data, seed=8) as play:
        view = await watched(play, rollout)
        assert (list(view.to_judge), view.judged.judged) == (chosen[4:], 4)
        for decision in chosen[4:]:
            await play.house.feedback(decision, 0.0)
        view = await watched(play, rollout)
        assert view.since.new.count + view.since.old.count == len(chosen)


async def test_a_fall_that_judgements_alone_tell_is_told_to_a_person_who_decides(
    play: Stage,
) -> None:
    """Whether an answer is judged may hang on who gave it: the house takes nothing back by that."""
    rollout = await promoted(play, judge_share=1.0, judge_within_s=3.0, alpha_drift=0.01)
    for number in range(300):
        await ask(play, 1)
        decided = play.decided[-1]
        if number % 7:
            good = decided.arm is not Arm.PROMOTED or number % 2 == 0
            await play.house.feedback(decided.decision, float(good))
        await watched(play, rollout)
        if await play.house.ledger.of(Kind.ROLLOUT_DRIFTED):
            break
    assert (await play.house.controller.view(rollout)).stored.rollout.phase is Phase.PROMOTED
    (told,) = await play.house.ledger.of(Kind.ROLLOUT_DRIFTED)
    assert json.loads(told.body)["follows"] == "ask"
    assert play.house.controller.watching.aliases()
    record = await read_record(rollout, play.house.database, play.house.ledger)
    assert audit(record).differs is None
