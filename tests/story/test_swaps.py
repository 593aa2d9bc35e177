"""A swap from its first word to its last, with scripted models and a clock moved by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.story.stage import Stage, name, stage, task

from arbiter.engines.scripted import Scripted
from arbiter.errors import (
    Conflict,
    InvalidField,
    RolloutActive,
    StorageError,
    UnknownModel,
    UnknownRollout,
)
from arbiter.inference import Arm
from arbiter.knowledge.rules import Rule
from arbiter.knowledge.tasks import Task
from arbiter.refs import RolloutId, parse_task
from arbiter.registry.registry import Standing
from arbiter.storage.sqlite import SqliteDatabase
from arbiter.swap.audit import Audit, audit, read_record
from arbiter.swap.driving import TICK_S
from arbiter.swap.plan import Apart
from arbiter.swap.rollout import Phase

OLD, BETTER, WORSE = 0.75, 0.97, 0.35


@pytest.fixture
async def play(tmp_path: Path) -> AsyncIterator[Stage]:
    async with stage(tmp_path / "data") as play:
        await play.add("old", {"chat": OLD, "sort": OLD})
        await play.alias("primary", "old")
        await play.house.admission.add_task(task("chat", cases=0))
        yield play


def _version(play: Stage, title: str) -> str:
    return play.house.registry.resolve(name(title)).version


async def test_a_better_version_is_promoted_on_live_evidence(play: Stage) -> None:
    await play.add("new", {"chat": BETTER})
    view = await play.live(await play.swap("primary", "new"))
    rollout = view.stored.rollout
    assert rollout.phase is Phase.PROMOTED
    assert "not worse" in rollout.reason
    assert _version(play, "primary") == _version(play, "new")
    assert view.judgement is not None
    assert view.judgement.e_not_worse >= 20


async def test_a_promotion_keeps_rules_and_tasks_digest_for_digest(play: Stage) -> None:
    await play.house.admission.add_task(task("chat"))
    for title in ("chat.long", "chat.short"):
        await play.house.admission.add_task(Task(name=parse_task(title), parent=parse_task("chat")))
    for rule in (
        Rule(task=parse_task("chat"), prefer=name("primary"), why="so"),
        Rule(task=parse_task("chat.long"), only=name("primary")),
        Rule(task=parse_task("chat.short"), never=(name("primary"),)),
        Rule(task=parse_task("general"), prefer=name("primary"), never=(name("old"),)),
    ):
        await play.house.rules.add(rule)
    await play.add("new", {"chat": BETTER})
    before = play.house.knowledge()
    view = await play.live(await play.swap("primary", "new"))
    assert view.stored.rollout.phase is Phase.PROMOTED
    assert (view.stored.knowledge_before, view.stored.knowledge_after) == (before, before)
    assert play.house.knowledge() == before


async def test_the_old_version_is_kept_for_seven_days_and_is_no_arm_of_auto(play: Stage) -> None:
    await play.house.admission.add_task(task("chat"))
    await play.add("new", {"chat": BETTER})
    await play.live(await play.swap("primary", "new"))
    old = play.house.registry.resolve(name("old"))
    until = play.house.registry.kept_until(old.version)
    assert old.standing is Standing.RETIRED
    assert str(until).startswith("2026-01-08")
    assert old.version not in play.house.registry.arms()


async def test_a_worse_version_is_rolled_back_with_the_reason(play: Stage) -> None:
    await play.add("new", {"chat": WORSE})
    view = await play.live(await play.swap("primary", "new"))
    assert view.stored.rollout.phase is Phase.ROLLED_BACK
    assert "worse" in view.stored.rollout.reason
    assert _version(play, "primary") == _version(play, "old")
    assert play.house.registry.resolve(name("new")).standing is Standing.ROLLED_BACK


async def test_a_version_broken_on_one_task_is_blocked_before_any_traffic(play: Stage) -> None:
    await play.house.admission.add_task(task("chat"))
    await play.house.admission.add_task(task("sort"))
    await play.add("new", {"chat": BETTER, "sort": 0.0})
    rollout = await play.swap("primary", "new")
    found = await play.house.controller.view(rollout)
    assert found.stored.rollout.phase is Phase.BLOCKED
    assert "sort: 0.00 against" in found.stored.rollout.reason
    assert await play.ask() is not None
    assert play.arms == (Arm.NONE,)


async def test_a_weakness_that_only_live_traffic_has_is_rolled_back(play: Stage) -> None:
    """Stored cases say ``sort case``, live traffic says ``sort live``."""
    await play.house.admission.add_task(task("sort"))
    path = play.script("new", {"sort case": 1.0, "sort live": 0.2, "chat": BETTER})
    await play.house.add(path, "new")
    rollout = await play.swap("primary", "new")
    assert (await play.house.controller.find(rollout)).rollout.phase is Phase.PROGRESSING
    view = await play.live(rollout, ("chat", "sort"))
    assert view.stored.rollout.phase is Phase.ROLLED_BACK


async def test_a_version_that_cannot_be_loaded_is_blocked_and_says_why(play: Stage) -> None:
    await play.house.admission.add_task(task("chat"))
    path = play.script("new", {"chat": 1.0}, fail_load="out of cheese")
    await play.house.admission.register(path, name("new"))
    found = await play.house.controller.find(await play.swap("primary", "new"))
    assert found.rollout.phase is Phase.BLOCKED
    assert "out of cheese" in found.rollout.reason


async def test_a_candidate_that_dies_at_every_request_is_taken_out_and_nothing_is_lost(
    play: Stage,
) -> None:
    dying = [{"match": ".", "reply": "yes", "die_after_tokens": 0}]
    path = play.script("new", {}, rules=dying)
    await play.house.admission.register(path, name("new"))
    view = await play.live(await play.swap("primary", "new"), most=200)
    assert view.stored.rollout.phase is Phase.ROLLED_BACK
    assert "3 times in a row" in view.stored.rollout.reason
    records = [await play.house.record(decided.decision) for decided in play.decided]
    assert {r.outcome.status for r in records if r.outcome is not None} == {"success"}


async def test_a_request_that_its_candidate_failed_counts_against_the_candidate(
    play: Stage,
) -> None:
    dying = [{"match": ".", "reply": "yes", "die_after_tokens": 0}]
    await play.house.admission.register(play.script("new", {}, rules=dying), name("new"))
    rollout = await play.swap("primary", "new")
    while Arm.CANDIDATE not in play.arms:
        assert await play.ask() in {"yes", "no"}
    await play.house.database.settle()
    rows = await play.house.database.read("list_units", (rollout,))
    assert [score for _, _, _, arm, _, score, *_ in rows if arm == "candidate"] == [0.0]
    failed = next(d for d in play.decided if d.arm is Arm.CANDIDATE)
    record = await play.house.record(failed.decision)
    assert failed.version == _version(play, "old")
    assert record.outcome is not None
    assert [a.version for a in record.outcome.attempts] == [_version(play, "new")]


async def test_a_candidate_is_no_arm_of_auto_but_answers_to_its_own_name(play: Stage) -> None:
    await play.house.admission.add_task(task("chat"))
    await play.add("new", {"chat": BETTER})
    await play.swap("primary", "new")
    new = play.house.registry.resolve(name("new"))
    assert new.standing is Standing.CANDIDATE
    assert new.version not in play.house.registry.arms()
    await play.ask(model="new")
    assert (play.decided[-1].version, play.decided[-1].arm) == (new.version, Arm.NONE)


async def test_auto_goes_through_the_rollout_of_the_alias_that_it_picks(play: Stage) -> None:
    await play.house.admission.add_task(task("chat"))
    await play.add("new", {"chat": BETTER})
    await play.swap("primary", "new")
    for _ in range(60):
        await play.ask(model="auto")
    assert {decided.alias for decided in play.decided} == {"primary"}
    assert set(play.arms) == {Arm.STABLE, Arm.CANDIDATE}


async def test_a_conversation_stays_on_its_arm_and_its_probability_is_logged(play: Stage) -> None:
    await play.add("new", {"chat": BETTER})
    rollout = await play.swap("primary", "new", steps=[0.3, 0.5])
    for number in range(40):
        for _ in range(3):
            await play.ask(conversation=f"talk {number}")
    by_talk = [play.arms[at : at + 3] for at in range(0, 120, 3)]
    assert all(len(set(arms)) == 1 for arms in by_talk)
    weight = 0.05  # no stored case: unproven, so it begins with the cautious step
    assert {(d.arm, round(d.probability, 6)) for d in play.decided} <= {
        (Arm.CANDIDATE, weight),
        (Arm.STABLE, 1 - weight),
    }
    await play.house.database.settle()
    assert len(await play.house.database.read("list_units", (rollout,))) == 40


async def test_only_the_first_request_of_a_conversation_is_evidence(play: Stage) -> None:
    await play.add("new", {"chat": BETTER})
    rollout = await play.swap("primary", "new")
    for _ in range(12):
        await play.ask(conversation="one long talk")
    await play.tick()
    view = await play.house.controller.view(rollout)
    assert view.judgement is not None
    assert view.judgement.n_stable + view.judgement.n_candidate == 1


async def test_answers_that_no_rule_can_grade_never_promote(play: Stage) -> None:
    await play.add("new", {"chat": BETTER})
    rollout = await play.swap("primary", "new")
    for _ in range(300):
        await play.ask(expected=None)
    await play.tick(3)
    view = await play.house.controller.view(rollout)
    assert view.stored.rollout.phase is Phase.PROGRESSING
    assert view.judgement is not None
    assert view.judgement.n_candidate == 0


async def test_silence_pauses_and_asks_and_never_promotes(play: Stage) -> None:
    await play.add("new", {"chat": BETTER})
    rollout = await play.swap("primary", "new", expiry_s=1.0)
    await play.tick(8)
    found = await play.house.controller.find(rollout)
    assert found.rollout.phase is Phase.PAUSED
    assert "No verdict in time" in found.rollout.reason


async def test_a_clock_that_jumps_soaks_two_ticks_at_most(play: Stage) -> None:
    await play.add("new", {"chat": BETTER})
    rollout = await play.swap("primary", "new", soak_s=3600.0)
    await play.tick()
    before = (await play.house.controller.find(rollout)).rollout.total_s
    play.clock.jump(86_400.0)
    await play.tick()
    after = (await play.house.controller.find(rollout)).rollout.total_s
    assert after - before <= 3 * TICK_S


async def test_undo_restores_the_old_version_at_once(play: Stage) -> None:
    await play.house.admission.add_task(task("chat"))
    await play.add("new", {"chat": BETTER})
    await play.live(await play.swap("primary", "new"))
    undone = await play.house.undo("primary", why="changed my mind")
    assert undone.rollout.phase is Phase.UNDONE
    assert _version(play, "primary") == _version(play, "old")
    assert play.house.registry.resolve(name("old")).standing is Standing.ACTIVE
    with pytest.raises(UnknownRollout, match="nothing to undo"):
        await play.house.undo("primary")


async def test_a_person_may_pause_resume_promote_and_abort(play: Stage) -> None:
    await play.add("new", {"chat": BETTER})
    controller = play.house.controller
    rollout = await play.swap("primary", "new")
    paused = await controller.pause(rollout, who="ada", why="lunch")
    again = await controller.pause(rollout, who="ada", why="lunch")
    assert (paused.rollout.phase, again.rollout) == (Phase.PAUSED, paused.rollout)
    resumed = await controller.resume(rollout, who="ada", why="back")
    assert resumed.rollout.phase is Phase.PROGRESSING
    aborted = await controller.abort(rollout, who="ada", why="no")
    assert aborted.rollout.phase is Phase.ABORTED
    with pytest.raises(Conflict, match="aborted"):
        await controller.promote(rollout, who="ada", why="yes")
    second = await play.swap("primary", "new")
    promoted = await controller.promote(second, who="ada", why="I know it")
    assert promoted.rollout.reason == "promoted by ada: I know it"
    assert _version(play, "primary") == _version(play, "new")


async def test_a_swap_that_is_said_twice_is_begun_once(play: Stage) -> None:
    await play.add("new", {"chat": BETTER})
    first = await play.swap("primary", "new", min_units=1000)
    before = await play.house.ledger.list(limit=100)
    assert await play.swap("primary", "new", min_units=1000) == first
    assert await play.house.ledger.list(limit=100) == before
    with pytest.raises(RolloutActive, match="has a rollout going on"):
        await play.swap("primary", "new", min_units=1001)  # another plan is another rollout
    await play.house.controller.abort(first, who="ada", why="no")
    assert await play.swap("primary", "new", min_units=1000) != first


async def test_a_swap_that_is_said_twice_at_once_is_begun_once(play: Stage) -> None:
    await play.add("new", {"chat": BETTER})
    said = [play.swap("primary", "new", min_units=1000) for _ in range(3)]
    assert len(set(await asyncio.gather(*said))) == 1
    assert len(await play.house.controller.list()) == 1


async def test_a_swap_in_windows_of_a_length_that_was_found_is_the_same_when_loads_take_longer(
    play: Stage,
) -> None:
    await play.add("new", {"chat": BETTER})
    first = await play.swap("primary", "new", apart=Apart.SLICES)
    going = (await play.house.controller.view(first)).stored.rollout.plan
    assert going.slice_s is not None
    assert await play.swap("primary", "new", apart=Apart.SLICES, slice_s=going.slice_s) == first
    assert await play.swap("primary", "new", apart=Apart.SLICES) == first
    with pytest.raises(RolloutActive, match="has a rollout going on"):
        await play.swap("primary", "new", apart=Apart.SLICES, slice_s=going.slice_s + 60.0)


async def test_why_a_swap_was_begun_is_in_its_log_from_python_too(play: Stage) -> None:
    await play.add("new", {"chat": BETTER})
    stored = await play.house.swap("primary", "new", why="it knows more")
    view = await play.house.rollout(stored)
    assert view.log[0].reason == "validating on stored cases: it knows more"


async def test_an_alias_has_one_rollout_and_a_version_is_one_candidate(play: Stage) -> None:
    await play.add("new", {"chat": BETTER})
    await play.alias("fast", "old")
    await play.swap("primary", "new")
    with pytest.raises(RolloutActive, match="has a rollout going on"):
        await play.house.swap("primary", "new")
    with pytest.raises(RolloutActive, match="part of another rollout"):
        await play.house.swap("fast", "new")


async def test_what_makes_vectors_is_not_swapped_step_by_step(play: Stage) -> None:
    await play.add("near", {"chat": 1.0}, capabilities=["embedding"])
    await play.add("nearer", {"chat": 1.0}, capabilities=["embedding"])
    with pytest.raises(InvalidField, match=r"do not mix.*arbiter alias set near nearer"):
        await play.house.swap("near", "nearer")


async def test_a_swap_with_itself_or_with_nothing_is_refused(play: Stage) -> None:
    with pytest.raises(InvalidField, match="already"):
        await play.house.swap("primary", "old")
    with pytest.raises(UnknownModel, match="Known: old, primary"):
        await play.house.swap("primary", "ghost")
    await play.add("new", {"chat": BETTER})
    with pytest.raises(InvalidField, match="does not hold"):
        await play.house.swap("primary", "new", soak_s=-1.0)


async def test_a_rollout_goes_on_after_a_restart_with_the_same_bits(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with stage(data) as play:
        await play.add("old", {"chat": OLD})
        await play.add("new", {"chat": BETTER})
        await play.alias("primary", "old")
        await play.house.admission.add_task(task("chat", cases=0))
        rollout = await play.swap("primary", "new", soak_s=3600.0)
        for _ in range(150):
            await play.ask()
        await play.tick()
        before = await play.house.controller.view(rollout)
    async with stage(data) as play:
        after = await play.house.controller.view(rollout)
        assert after.judgement == before.judgement
        assert after.tasks == before.tasks
        assert after.stored.rollout.salt == before.stored.rollout.salt
        assert play.house.controller.active(name("primary")) is not None


async def test_an_arm_that_another_version_had_to_serve_scores_nothing_whichever_it_is(
    tmp_path: Path,
) -> None:
    """Otherwise equal versions that fail equally often would look unequal."""
    async with stage(tmp_path / "data") as play:
        dying = [{"match": ".", "reply": "yes", "die_after_tokens": 0}]
        await play.house.admission.add_task(task("chat", cases=0))
        await play.add("spare", {"chat": 1.0})
        for title in ("old", "new"):
            path = play.script(title, {}, rules=dying, default=title)
            await play.house.admission.register(path, name(title))
        await play.alias("primary", "old")
        rollout = await play.swap("primary", "new", steps=[0.4, 0.5], unproven_first_step=0.4)
        for _ in range(12):
            play.asked += 1
            answered = await play.house.ask(
                f"chat live {play.asked}", model="auto", task="chat", expected="yes"
            )
            assert answered.text == "yes"
        await play.house.database.settle()
        rows = await play.house.database.read("list_units", (rollout,))
        assert {(arm, score) for _, _, _, arm, _, score, *_ in rows} <= {
            ("stable", 0.0),
            ("candidate", 0.0),
        }


async def test_failures_before_a_restart_still_count_towards_taking_a_candidate_out(
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    dying = [{"match": ".", "reply": "yes", "die_after_tokens": 0}]
    async with stage(data) as play:
        await play.house.admission.add_task(task("chat", cases=0))
        await play.add("old", {"chat": OLD})
        await play.alias("primary", "old")
        await play.house.admission.register(play.script("new", {}, rules=dying), name("new"))
        rollout = await play.swap("primary", "new")
        while play.arms.count(Arm.CANDIDATE) < 2:
            await play.ask()
        await play.house.database.settle()
    async with stage(data) as play:
        play.asked = 10_000
        while Arm.CANDIDATE not in play.arms:
            await play.ask()
        await play.tick()
        found = await play.house.controller.find(rollout)
        assert found.rollout.phase is Phase.ROLLED_BACK
        assert "3 times in a row" in found.rollout.reason


async def test_a_full_disk_delays_a_validation_and_decides_nothing(tmp_path: Path) -> None:
    gate = asyncio.Event()
    engine = Scripted()
    async with stage(tmp_path / "data", engine=engine) as play:
        await play.house.admission.add_task(task("chat"))
        await play.add("old", {"chat": OLD})
        await play.alias("primary", "old")
        await play.house.admission.register(play.script("new", {"chat": 1.0}), name("new"))
        engine.load_gate = gate
        rollout = (await play.house.swap("primary", "new", soak_s=0.0)).rollout.id
        _limited(play, 1)
        with pytest.raises(StorageError):
            await _fill(play)
        with play.house.announcer.listening() as listener:
            gate.set()
            heard = await anext(e async for e in listener.stream() if e.kind == "rollout.waiting")
        assert "disk is full" in str(heard.detail["reason"])
        assert await _phase(play, rollout) is Phase.VALIDATING
        _limited(play, 1_000_000)
        while await _phase(play, rollout) is Phase.VALIDATING:
            play.clock.jump(1.0)
            await play.house.database.settle()
        assert await _phase(play, rollout) is Phase.PROGRESSING


async def _phase(play: Stage, rollout: RolloutId) -> Phase:
    return (await play.house.controller.find(rollout)).rollout.phase


async def _fill(play: Stage) -> None:
    """Write until the disk is full."""
    for number in range(10_000):
        await play.house.rules.add(
            Rule(task=parse_task(f"t{number}"), prefer=name("old"), why="x" * 400)
        )


def _limited(play: Stage, pages: int) -> None:
    """Let the database have no more pages than this, or than it has already."""
    database = play.house.database
    assert isinstance(database, SqliteDatabase)
    database._writer.execute(f"PRAGMA max_page_count = {pages:d}")


async def _audited(play: Stage, rollout: RolloutId) -> Audit:
    return audit(await read_record(rollout, play.house.database, play.house.ledger))


async def test_every_end_of_a_rollout_follows_from_its_rows_also_after_a_restart(
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    async with stage(data) as play:
        await play.add("old", {"chat": OLD})
        await play.alias("primary", "old")
        await play.house.admission.add_task(task("chat", cases=0))
        await play.add("bad", {"chat": WORSE})
        await play.add("new", {"chat": BETTER})
        back = await play.swap("primary", "bad")
        await play.live(back)
        path = play.script("dying", {}, rules=[{"match": ".", "reply": "x", "die_after_tokens": 0}])
        await play.house.admission.register(path, name("dying"))
        taken_out = await play.swap("primary", "dying")
        await play.live(taken_out, most=200)
        done = await play.swap("primary", "new")
        await play.live(done)
        await play.house.undo("primary", why="only to see")
        ended = {back: "rolled_back", taken_out: "rolled_back", done: "undone"}
    async with stage(data) as play:
        for rollout, phase in ended.items():
            found = await _audited(play, rollout)
            stored = await play.house.controller.find(rollout)
            assert (found.differs, stored.rollout.phase) == (None, phase)
            view = await play.house.controller.view(rollout)
            assert found.later or found.judgement == view.judgement


async def test_a_score_that_somebody_changed_in_the_file_is_found(play: Stage) -> None:
    await play.add("new", {"chat": BETTER})
    rollout = await play.swap("primary", "new")
    await play.live(rollout)
    database = play.house.database
    assert isinstance(database, SqliteDatabase)
    database._writer.execute("UPDATE units SET score = 1.0 - score WHERE position = 3")
    found = await _audited(play, rollout)
    assert found.differs is not None
    assert "before position" in found.differs
    database._writer.execute("UPDATE units SET score = 1.0 - score WHERE position = 3")
    assert (await _audited(play, rollout)).differs is None
