"""A request that names no task: guessed, or left general, from the door to the record."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.story.stage import Stage, name, stage, task

from arbiter.inference import Arm, Decided, Limits
from arbiter.knowledge.rules import Rule
from arbiter.refs import GENERAL, TaskName
from arbiter.storage.database import Statement

CHAT, SORT = TaskName("chat"), TaskName("sort")


@asynccontextmanager
async def at_work(data_dir: Path, **overrides: Any) -> AsyncIterator[Stage]:
    """Two tasks with their cases; wren is good at the one, owl at the other."""
    async with stage(data_dir, **overrides) as play:
        if not play.house.tasks.all():
            await play.house.admission.add_task(task("chat"))
            await play.house.admission.add_task(task("sort"))
            await play.add("wren", {"chat": 0.95, "sort": 0.3})
            await play.add("owl", {"chat": 0.6, "sort": 0.9})
        yield play


@pytest.fixture
async def play(tmp_path: Path) -> AsyncIterator[Stage]:
    async with at_work(tmp_path / "data") as play:
        yield play


async def _unnamed(play: Stage, text: str, **more: Any) -> Decided:
    answered = await play.house.ask(text, **more)
    return answered.reply.decided


async def _outcome(play: Stage, decided: Decided) -> tuple[str, float | None]:
    await play.house.database.settle()
    record = await play.house.record(decided.decision)
    assert record.outcome is not None
    return record.outcome.task, record.outcome.grade


async def test_a_task_is_guessed_from_its_cases_before_anybody_asked_for_it(play: Stage) -> None:
    decided = await _unnamed(play, "sort case 41")
    assert (decided.task, decided.alias) == ("sort", "owl")
    assert decided.guessed is not None
    assert decided.guessed >= 0.8
    assert decided.reason.startswith(f"task guessed: sort (0.{int(100 * decided.guessed)}); owl")


async def test_a_named_task_teaches_and_an_unnamed_one_is_then_guessed(play: Stage) -> None:
    text = "please write {} haiku about the sea, slowly and gently"
    assert (await _unnamed(play, text.format("ninety"))).guessed is None
    for number in range(12):
        await _unnamed(play, text.format(f"some{number}"), task="chat")
    decided = await _unnamed(play, text.format("ninety"))
    assert decided.task == CHAT
    assert decided.guessed is not None


async def test_an_unsure_guess_leaves_the_request_general(play: Stage) -> None:
    decided = await _unnamed(play, "What is the weather like on Mars in spring, my friend?")
    assert decided.task == GENERAL
    assert decided.guessed is None
    assert "guessed" not in decided.reason


async def test_a_task_that_the_caller_names_is_never_guessed_over(play: Stage) -> None:
    decided = await _unnamed(play, "sort case 41", task="chat")
    assert (decided.task, decided.guessed) == ("chat", None)


async def test_whoever_names_a_model_gets_no_guess(play: Stage) -> None:
    decided = await _unnamed(play, "sort case 41", model="wren")
    assert (decided.alias, decided.task, decided.guessed) == ("wren", "general", None)


async def test_the_rule_of_a_guessed_task_holds(play: Stage) -> None:
    await play.house.rules.add(Rule(task=SORT, prefer=name("wren")))
    decided = await _unnamed(play, "sort case 41")
    assert decided.alias == "wren"
    assert "rule: sort prefers wren" in decided.reason


async def test_a_guess_costs_nobody_an_answer(play: Stage) -> None:
    # nobody can do what the task demands, and the request never said that it is of that task
    await play.house.admission.add_task(task("sort", limits=Limits(needs=frozenset({"vision"}))))
    decided = await _unnamed(play, "sort case 41")
    assert (decided.task, decided.guessed) == ("general", None)


async def test_an_answer_to_a_guessed_task_is_credited_to_it_but_not_graded(play: Stage) -> None:
    # graded by the wrong task's grader, it would be wrong in a version's record for good
    decided = await _unnamed(play, "sort case 41", expected="yes")
    named = await _unnamed(play, "sort case 42", expected="yes", task="sort")
    assert await _outcome(play, decided) == ("sort", None)
    assert (await _outcome(play, named))[1] is not None


async def test_feedback_on_a_guessed_task_counts_for_it(play: Stage) -> None:
    decided = await _unnamed(play, "sort case 41")
    before = play.house.profiles.get(decided.version, SORT)
    await play.house.feedback(decided.decision, 1.0)
    assert play.house.profiles.get(decided.version, SORT).graded == before.graded + 1


async def test_a_guessed_request_is_no_evidence_for_a_rollout(play: Stage) -> None:
    await play.add("owl-2", {"chat": 0.6, "sort": 0.9})
    rollout = await play.swap("owl", "owl-2")
    decided = await _unnamed(play, "sort case 41", expected="yes", conversation="one")
    assert decided.arm is not Arm.NONE
    await play.house.database.settle()
    view = await play.house.controller.view(rollout)
    assert sum(one.n_stable + one.n_candidate for one in view.tasks) == 0


async def test_a_removed_task_is_guessed_no_more(play: Stage) -> None:
    await play.house.admission.remove_task(SORT)
    decided = await _unnamed(play, "sort case 41")
    assert (decided.task, decided.guessed) == ("general", None)


async def test_guessing_can_be_turned_off(tmp_path: Path) -> None:
    async with at_work(tmp_path / "data", selection__guess_tasks=False) as play:
        decided = await _unnamed(play, "sort case 41")
        assert (decided.task, decided.guessed) == ("general", None)
        await _unnamed(play, "sort case 42", task="sort")
        await play.house.admission.remove_task(SORT)


async def test_how_sure_a_guess_must_be_can_be_set(tmp_path: Path) -> None:
    async with at_work(tmp_path / "data", selection__guess_confidence=1.0) as play:
        assert (await _unnamed(play, "sort case 41")).guessed is None


async def test_what_was_learned_outlives_a_restart(tmp_path: Path) -> None:
    text = "please write {} haiku about the sea, slowly and gently"
    async with at_work(tmp_path / "data") as play:
        for number in range(12):
            await _unnamed(play, text.format(f"some{number}"), task="chat")
        before = await _unnamed(play, text.format("ninety"))
    async with at_work(tmp_path / "data") as play:
        after = await _unnamed(play, text.format("ninety"))
        await play.house.database.settle()
        kept = await play.house.database.read("list_guessing")
    assert before.guessed is not None
    assert (after.task, after.guessed) == (before.task, before.guessed)
    assert "haiku" not in str(kept)


async def test_what_the_cases_taught_is_written_at_once(play: Stage) -> None:
    await play.house.database.settle()
    kept = {str(task) for task, _ in await play.house.database.read("list_guessing")}
    assert kept == {"", "chat", "sort"}


@pytest.mark.parametrize("state", ["{}", "no JSON", '{"trust": [1], "learned": 3}', "[]"])
async def test_state_that_cannot_be_read_is_learned_anew(tmp_path: Path, state: str) -> None:
    async with at_work(tmp_path / "data") as play:
        # closing writes what was learned since; nothing was
        for row in ("", "chat", "sort"):
            await play.house.database.write(
                Statement(query="put_guessing", parameters=(row, state, "2026-01-01T00:00:00Z"))
            )
    async with at_work(tmp_path / "data") as play:
        assert (await _unnamed(play, "sort case 41")).task == SORT


async def test_the_door_and_why_say_that_a_task_was_guessed(play: Stage) -> None:
    async with play.house.door() as address, aiohttp.ClientSession() as session:
        url = f"http://{address.host}:{address.port}"

        async def ask(text: str) -> Mapping[str, str]:
            body = {"model": "auto", "messages": [{"role": "user", "content": text}]}
            async with session.post(f"{url}/v1/chat/completions", json=body) as got:
                assert got.status == 200
                return dict(got.headers)

        guessed, general = await ask("sort case 41"), await ask("Is there life on Mars?")
        why = f"{url}/control/v1/decisions/{guessed['x-arbiter-decision']}"
        async with session.get(why) as got:
            record = await got.json()
    assert guessed["x-arbiter-task"] == "sort"
    assert float(guessed["x-arbiter-task-guessed"]) >= 0.8
    assert guessed["x-arbiter-reason"].startswith("task guessed: sort (0.")
    assert record["guessed"] == pytest.approx(float(guessed["x-arbiter-task-guessed"]), abs=0.01)
    assert record["reason"].startswith("task guessed: sort (0.")
    assert general["x-arbiter-task"] == "general"
    assert "x-arbiter-task-guessed" not in general


async def test_why_still_says_so_when_the_decision_is_read_from_disk(tmp_path: Path) -> None:
    async with at_work(tmp_path / "data") as play:
        decided = await _unnamed(play, "sort case 41")
    async with at_work(tmp_path / "data") as play:
        assert (await play.house.record(decided.decision)).decided == decided


async def test_a_general_task_that_is_named_teaches_what_is_no_task(play: Stage) -> None:
    before = await _unnamed(play, "sort case 41")
    for number in range(40):
        await _unnamed(play, f"sort case {number}{number}", task="general")
    assert before.guessed is not None
    assert (await _unnamed(play, "sort case 41")).task == GENERAL


async def test_the_same_request_again_and_again_is_one_lesson(tmp_path: Path) -> None:
    # otherwise one client's loop would be sure of what it never saw twice
    async with at_work(tmp_path / "data") as play:
        for _ in range(40):
            await _unnamed(play, "how is it going?", task="general")
    async with at_work(tmp_path / "data") as play:
        rows = await play.house.database.read("list_guessing")
    kept = {str(row[0]): str(row[1]) for row in rows}
    assert json.loads(kept["general"])["learned"] == 1


async def test_texts_to_make_vectors_of_are_never_told_apart(tmp_path: Path) -> None:
    # two models' vectors in one index are of no use, however well each model suits its texts
    async with at_work(tmp_path / "data") as play:
        await play.add("finch", {"chat": 0.5}, capabilities=["embedding"])
        made = await play.house.embed(["sort case 41"])
    assert (made.reply.decided.task, made.reply.decided.guessed) == ("general", None)
