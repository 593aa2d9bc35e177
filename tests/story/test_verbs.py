"""What a person says to a rollout: once is as good as twice, and the record tells who and why."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.story.stage import Stage, name, stage, task

from arbiter.errors import Conflict, RolloutActive
from arbiter.inference import Arm
from arbiter.swap.rollout import Phase


@pytest.fixture
async def play(tmp_path: Path) -> AsyncIterator[Stage]:
    async with stage(tmp_path / "data") as play:
        await play.add("old", {"chat": 0.75})
        await play.alias("primary", "old")
        await play.house.admission.add_task(task("chat", cases=0))
        await play.add("new", {"chat": 0.75})
        yield play


async def test_every_verb_may_be_said_twice_even_when_it_is_over(play: Stage) -> None:
    controller = play.house.controller
    rollout = await play.swap("primary", "new")
    for verb in (controller.pause, controller.resume, controller.promote):
        first = await verb(rollout, who="ada", why="so")
        assert (await verb(rollout, who="bob", why="again")).rollout == first.rollout
    assert (await controller.find(rollout)).rollout.reason == "promoted by ada: so"
    second = await play.swap("primary", "old")
    first = await controller.abort(second, who="ada", why="no")
    assert (await controller.abort(second, who="bob", why="no")).rollout == first.rollout
    with pytest.raises(Conflict, match="aborted"):
        await controller.resume(second, who="ada", why="after all")


async def test_a_step_that_a_person_takes_is_in_the_log_with_their_name(play: Stage) -> None:
    controller = play.house.controller
    rollout = await play.swap("primary", "new", soak_s=3600.0)
    await controller.step(rollout, who="ada", why="quiet day", to=1)
    entry = (await controller.view(rollout)).log[-1]
    assert (entry.who, entry.reason, entry.step) == ("ada", "stepped by ada: quiet day", 1)


async def test_a_retry_goes_on_with_the_evidence_bit_for_bit(play: Stage) -> None:
    controller = play.house.controller
    rollout = await play.swap("primary", "new", unproven_first_step=0.3, steps=[0.4, 0.5])
    for _ in range(80):
        await play.ask()
    await play.tick()
    await controller.abort(rollout, who="ada", why="lunch")
    await play.house.database.settle()
    before = await controller.view(rollout)
    assert before.judgement is not None
    retried = await controller.retry(rollout, who="ada", why="after lunch")
    again = retried.rollout.id
    assert again != rollout
    assert retried.rollout.continues == rollout
    after = await controller.view(again)
    assert after.judgement is not None
    assert (after.judgement.e_worse, after.judgement.n_candidate) == (
        before.judgement.e_worse,
        before.judgement.n_candidate,
    )
    assert after.log[0].reason == "retried by ada: after lunch"
    assert (await controller.retry(rollout, who="bob", why="again")).rollout.id == again
    assert (await controller.find(rollout)).rollout.phase is Phase.ABORTED


async def test_a_conversation_of_the_first_try_is_no_new_evidence_in_the_second(
    play: Stage,
) -> None:
    controller = play.house.controller
    rollout = await play.swap("primary", "new")
    for number in range(30):
        await play.ask(conversation=f"talk {number}")
    await play.tick()
    await controller.abort(rollout, who="ada", why="lunch")
    await play.house.database.settle()
    again = (await controller.retry(rollout, who="ada", why="")).rollout.id
    while (await controller.find(again)).rollout.phase is Phase.VALIDATING:
        await play.house.database.settle()
    for number in range(30):
        await play.ask(conversation=f"talk {number}")
    await play.tick()
    view = await controller.view(again)
    assert view.judgement is not None
    assert view.judgement.n_stable + view.judgement.n_candidate == 30


async def test_a_retry_survives_a_restart_with_all_its_evidence(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with stage(data) as play:
        await play.add("old", {"chat": 0.75})
        await play.add("new", {"chat": 0.75})
        await play.alias("primary", "old")
        await play.house.admission.add_task(task("chat", cases=0))
        rollout = await play.swap("primary", "new", soak_s=3600.0)
        for _ in range(40):
            await play.ask()
        await play.house.controller.abort(rollout, who="ada", why="")
        await play.house.database.settle()
        again = (await play.house.controller.retry(rollout, who="ada", why="")).rollout.id
        while (await play.house.controller.find(again)).rollout.phase is Phase.VALIDATING:
            await play.house.database.settle()
        for _ in range(40):
            await play.ask()
        await play.tick()
        before = await play.house.controller.view(again)
    async with stage(data) as play:
        after = await play.house.controller.view(again)
        assert after.judgement == before.judgement
        assert after.metrics == before.metrics
        assert after.judgement is not None
        assert after.judgement.n_stable + after.judgement.n_candidate == 80


async def test_what_was_proved_worse_is_not_retried(play: Stage) -> None:
    await play.add("bad", {"chat": 0.1})
    view = await play.live(await play.swap("primary", "bad"))
    assert view.stored.rollout.phase is Phase.ROLLED_BACK
    with pytest.raises(Conflict, match="proved to be worse"):
        await play.house.controller.retry(view.stored.rollout.id, who="ada", why="please")


async def test_what_failed_to_answer_may_be_retried_once_it_is_repaired(play: Stage) -> None:
    dying = [{"match": ".", "reply": "yes", "die_after_tokens": 0}]
    await play.house.admission.register(play.script("frail", {}, rules=dying), name("frail"))
    view = await play.live(await play.swap("primary", "frail"), most=200)
    assert view.stored.rollout.phase is Phase.ROLLED_BACK
    retried = await play.house.controller.retry(view.stored.rollout.id, who="ada", why="more RAM")
    assert retried.rollout.phase is Phase.VALIDATING


async def test_a_retry_waits_for_its_turn_and_for_the_alias_it_began_with(play: Stage) -> None:
    controller = play.house.controller
    first = await play.swap("primary", "new")
    with pytest.raises(Conflict, match="progressing"):
        await controller.retry(first, who="ada", why="")
    await controller.abort(first, who="ada", why="")
    await play.add("third", {"chat": 0.9})
    second = await play.swap("primary", "third")
    with pytest.raises(RolloutActive):
        await controller.retry(first, who="ada", why="")
    await controller.promote(second, who="ada", why="")
    with pytest.raises(Conflict, match="has moved since"):
        await controller.retry(first, who="ada", why="")


async def test_every_decision_of_a_rollout_has_the_digest_of_its_plan(play: Stage) -> None:
    await play.ask()
    rollout = await play.swap("primary", "new", soak_s=3600.0, unproven_first_step=0.1)
    while Arm.CANDIDATE not in play.arms:
        await play.ask()
    digest = (await play.house.controller.find(rollout)).rollout.plan.digest
    assert [one.plan for one in play.decided] == [None] + [digest] * (len(play.decided) - 1)
    await play.house.database.settle()
    play.house.outcomes._recent.clear()
    assert (await play.house.record(play.decided[-1].decision)).decided.plan == digest


async def test_failures_to_answer_and_latencies_are_shown_beside_the_grades(play: Stage) -> None:
    dying = [{"match": "[49]$", "reply": "yes", "die_after_tokens": 0}]
    path = play.script("frail", {}, rules=[*dying, {"match": ".", "reply": "yes"}])
    await play.house.admission.register(path, name("frail"))
    rollout = await play.swap("primary", "frail", soak_s=3600.0, unproven_first_step=0.1)
    for _ in range(200):
        await play.ask()
    await play.tick()
    view = await play.house.controller.view(rollout)
    reliability, latency = view.metrics
    assert (reliability.metric, latency.metric) == ("reliability", "latency")
    assert reliability.stable == 1.0
    assert reliability.candidate is not None
    assert reliability.candidate < 1.0
    assert reliability.n_stable + reliability.n_candidate == 200
    assert latency.n_stable > 0
