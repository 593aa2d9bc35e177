"""A task that is a finer kind of another one, from the pick to the grade and into another house."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.story.stage import Stage, name, stage, task

from arbiter.errors import InvalidField, KnowledgeFileError, NothingCapable, StillInUse
from arbiter.inference import Chat, Limits, Message
from arbiter.knowledge.profiles import NOTHING, Profile
from arbiter.knowledge.tasks import Grading, Task
from arbiter.refs import GENERAL, TaskName
from arbiter.swap.rollout import Phase

SORT, FINE, OTHER = TaskName("sort"), TaskName("sort.fine"), TaskName("sort.other")


def fine(title: TaskName = FINE, cases: int = 0) -> Task:
    """A finer kind of ``sort`` that says nothing itself."""
    return replace(task(title, cases=cases), parent=SORT, grading=None)


@pytest.fixture
async def play(tmp_path: Path) -> AsyncIterator[Stage]:
    """Owl is good at sorting, wren is not."""
    async with stage(tmp_path / "data") as play:
        await play.house.admission.add_task(task("sort"))
        await play.house.admission.add_task(fine())
        await play.add("owl", {"sort": 0.95, "sort.fine": 0.95, "sort.other": 0.95})
        await play.add("wren", {"sort": 0.2, "sort.fine": 0.2})
        yield play


def cell(play: Stage, model: str, at: TaskName) -> Profile:
    return play.house.profiles.get(play.house.registry.resolve(name(model)).version, at)


async def test_what_the_parent_demands_is_demanded_of_the_finer_task(play: Stage) -> None:
    vision = Limits(needs=frozenset({"vision"}))
    await play.house.admission.add_task(task("sort", limits=vision))
    with pytest.raises(NothingCapable, match="cannot do vision"):
        play.house.select(FINE)


async def test_the_finer_task_may_demand_more_than_its_parent(play: Stage) -> None:
    strict = replace(fine(), limits=Limits(needs=frozenset({"vision"})))
    await play.house.admission.add_task(strict)
    assert play.house.select(SORT).alias == "owl"
    with pytest.raises(NothingCapable, match="cannot do vision"):
        play.house.select(FINE)


async def test_an_answer_is_graded_as_the_parents_are(play: Stage) -> None:
    await play.ask(FINE, model="owl")
    await play.house.database.settle()
    record = await play.house.record(play.decided[0].decision)
    assert record.outcome is not None
    assert record.outcome.grade in {0.0, 1.0}


async def test_cases_of_the_finer_task_are_graded_as_the_parents_are(play: Stage) -> None:
    await play.house.admission.add_task(fine(cases=20))
    await play.house.admission.calibrate_task(fine())
    assert cell(play, "owl", FINE).graded == 20
    assert cell(play, "owl", FINE).quality > cell(play, "wren", FINE).quality


async def test_another_grader_of_the_parent_scores_the_finer_tasks_cases_anew(play: Stage) -> None:
    await play.house.admission.add_task(fine(cases=20))
    await play.house.admission.calibrate_task(fine())
    before = cell(play, "owl", FINE)
    again = replace(task("sort"), grading=Grading(kind="contains"))
    await play.house.admission.add_task(again)
    assert cell(play, "owl", FINE) == NOTHING
    await play.house.admission.calibrate_task(again)
    assert cell(play, "owl", FINE).graded == 20
    await play.house.admission.add_task(task("sort"))
    assert cell(play, "owl", FINE) == before, "what was measured is never thrown away"


async def test_a_grader_that_does_not_fit_the_cases_below_is_refused(play: Stage) -> None:
    await play.house.admission.add_task(fine(cases=20))
    number = replace(task("sort", cases=0), grading=Grading(kind="number"))
    with pytest.raises(InvalidField, match=r"Task sort\.fine is below it .* Case 1"):
        await play.house.admission.add_task(number)
    assert play.house.tasks.get(SORT) == task("sort")


async def test_a_parent_is_not_removed_before_its_children(play: Stage) -> None:
    with pytest.raises(StillInUse, match=r"Task sort is the parent of sort\.fine"):
        await play.house.admission.remove_task(SORT)
    await play.house.admission.remove_task(FINE)
    await play.house.admission.remove_task(SORT)
    assert play.house.tasks.all() == ()


async def test_a_swap_judges_a_finer_task_by_the_cases_of_its_own(play: Stage) -> None:
    await play.house.admission.add_task(fine(cases=30))
    await play.alias("primary", "owl")
    await play.add("next", {"sort": 0.95, "sort.fine": 0.0})
    before = play.house.knowledge()
    rollout = await play.swap("primary", "next")
    view = await play.house.controller.view(rollout)
    assert view.stored.rollout.phase is Phase.BLOCKED
    assert "sort.fine" in view.stored.rollout.reason
    assert play.house.knowledge() == before


async def test_two_kinds_that_cannot_be_told_apart_are_guessed_to_be_their_parent(
    tmp_path: Path,
) -> None:
    def letters(number: int) -> Chat:
        text = f"please arrange these letters from the oldest to the newest, number {number}"
        return Chat(messages=(Message(role="user", content=text),))

    async with stage(tmp_path / "guessing", selection__guess_confidence=0.6) as play:
        for title in ("sort", "chat"):
            await play.house.admission.add_task(task(title))
        await play.add("owl", {"sort": 0.95, "chat": 0.9})
        await play.house.admission.add_task(fine())
        await play.house.admission.add_task(fine(OTHER))
        assert play.house.guesser is not None
        for number in range(400):
            play.house.guesser.learn(letters(number), (FINE, OTHER)[number % 2])
        decided = (await play.house.ask(letters(999))).reply.decided
        assert (decided.task, decided.alias) == (SORT, "owl")
        assert decided.guessed is not None
        assert decided.guessed >= 0.6
        for one in (FINE, OTHER):  # without their parent they are as unlike as any others
            await play.house.admission.add_task(Task(name=one))
        assert (await play.house.ask(letters(999))).reply.decided.task == GENERAL


async def test_a_family_is_carried_into_another_house(play: Stage, tmp_path: Path) -> None:
    await play.ask(FINE, model="owl")
    await play.house.database.settle()
    await play.house.export_knowledge(tmp_path / "k.jsonl")
    async with stage(tmp_path / "away") as other:
        await other.house.import_knowledge(tmp_path / "k.jsonl")
        assert other.house.tasks.parents() == {FINE: SORT}
        assert other.house.knowledge() == play.house.knowledge()
        await other.add("owl", {"sort": 0.95, "sort.fine": 0.95, "sort.other": 0.95})
        assert cell(other, "owl", FINE).graded == 1
    async with stage(tmp_path / "away") as other:
        assert other.house.tasks.parents() == {FINE: SORT}


async def test_a_file_that_would_make_a_line_too_long_brings_nothing(
    play: Stage, tmp_path: Path
) -> None:
    await play.house.export_knowledge(tmp_path / "k.jsonl")
    async with stage(tmp_path / "away") as other:
        above: TaskName | None = None
        for title in ("a", "b", "c", "sort"):
            await other.house.admission.add_task(Task(name=TaskName(title), parent=above))
            above = TaskName(title)
        before = other.house.knowledge()
        with pytest.raises(KnowledgeFileError, match=r"do not go together: .* 5 levels deep"):
            await other.house.import_knowledge(tmp_path / "k.jsonl")
        assert other.house.knowledge() == before


async def test_theirs_replaces_a_parent_and_what_stands_below_counts_anew(
    play: Stage, tmp_path: Path
) -> None:
    await play.house.export_knowledge(tmp_path / "k.jsonl")
    async with stage(tmp_path / "away") as other:
        await other.add("owl", {"sort": 0.95, "sort.fine": 0.95, "sort.other": 0.95})
        mine = replace(task("sort", cases=0), grading=Grading(kind="contains"))
        await other.house.admission.add_task(mine)
        await other.house.admission.add_task(fine(OTHER, cases=20))
        await other.house.admission.calibrate_task(fine(OTHER))
        assert cell(other, "owl", OTHER).graded == 20
        await other.house.import_knowledge(tmp_path / "k.jsonl", prefer_theirs=True)
        assert other.house.tasks.get(OTHER).grading == Grading(kind="exact")
        assert cell(other, "owl", OTHER) == NOTHING


async def test_harvested_cases_make_what_comes_from_the_parent_no_decision(
    tmp_path: Path,
) -> None:
    async with stage(tmp_path / "kept", privacy__store_prompts=True) as play:
        await play.house.admission.add_task(task("sort"))
        await play.house.admission.add_task(fine())
        await play.add("owl", {"sort": 0.95, "sort.fine": 0.95})
        for _ in range(12):
            await play.ask(FINE, model="owl")
        await play.house.database.settle()
        found = await play.house.harvesting.harvest(FINE, limit=20)
        assert (found.cases, found.is_added) == (12, True)
        assert play.house.tasks.decided(FINE).grading is None
        assert play.house.tasks.decided(FINE).digest == found.after
        assert play.house.tasks.get(GENERAL).cases == ()
