"""Answers that no rule can grade: a coin chooses who is judged, and nobody's whim decides."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.story.stage import Stage, name, stage

from arbiter.inference import Arm
from arbiter.knowledge.tasks import Task
from arbiter.refs import RolloutId, TaskName
from arbiter.swap.rollout import Phase

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
