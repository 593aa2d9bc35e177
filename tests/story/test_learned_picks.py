"""`auto` in a house that learns: it tries, settles, remembers, and notices a loss."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from tests.story.stage import Stage, name, stage, task

from arbiter.knowledge.outcome import Feedback
from arbiter.knowledge.tasks import Grading
from arbiter.refs import TaskName, VersionId
from arbiter.selection.conversations import HELD_S

CHAT = TaskName("chat")


@asynccontextmanager
async def learning(data_dir: Path) -> AsyncIterator[Stage]:
    async with stage(data_dir, selection__strategy="learned") as play:
        yield play


@pytest.fixture
async def play(tmp_path: Path) -> AsyncIterator[Stage]:
    """Two models whose difference nobody knows yet."""
    async with learning(tmp_path / "data") as play:
        await furnish(play)
        yield play


async def furnish(play: Stage) -> None:
    await play.house.admission.add_task(task("chat", cases=0))
    await play.add("good", {"chat": 0.95})
    await play.add("poor", {"chat": 0.4})


async def judged(
    play: Stage, count: int, *, model: str = "auto", score: float | None = None
) -> None:
    """So many requests, each judged by a person: by its answer, or with this score."""
    for _ in range(count):
        play.clock.jump(1.0)
        text = await play.ask(model=model, expected=None)
        right = float(text == "yes") if score is None else score
        decision = play.decided[-1].decision
        await play.house.outcomes.give(Feedback(decision=decision, score=right))


def version(play: Stage, model: str) -> VersionId:
    return play.house.registry.resolve(name(model)).version


def chances(play: Stage) -> dict[str, float]:
    return {one.name: one.chance for one in play.house.select("chat").considered}


async def test_what_people_say_moves_nearly_all_requests_to_the_better_model(play: Stage) -> None:
    await judged(play, 60)
    before = len(play.decided)
    for _ in range(60):
        await play.ask(model="auto")
    found = Counter(str(decided.alias) for decided in play.decided[before:])
    assert found["good"] >= 54


async def test_both_are_tried_while_nobody_knows_better(play: Stage) -> None:
    for _ in range(20):
        await play.ask(model="auto", expected=None)
    found = Counter(str(decided.alias) for decided in play.decided)
    assert min(found["good"], found["poor"]) >= 3
    # whoever has just answered first has the other one tried next for sure
    assert all(0.0 < decided.probability < 1.0 for decided in play.decided[4:])


async def test_a_pick_is_recorded_with_the_chance_that_it_was_drawn_with(play: Stage) -> None:
    await play.ask(model="auto", expected=None)
    decided = play.decided[-1]
    chance = {one.version: one.chance for one in decided.scores}
    assert decided.probability == chance[decided.version]
    assert sum(chance.values()) == pytest.approx(1.0)


async def test_a_conversation_stays_with_its_model_while_others_move(play: Stage) -> None:
    talks = [f"talk {number}" for number in range(12)]
    for talk in talks:
        await play.ask(model="auto", conversation=talk, expected=None)
    first = [decided.version for decided in play.decided]
    assert len(set(first)) == 2
    await judged(play, 2, model="good", score=0.6)
    after = []
    for talk in talks:
        await play.ask(model="auto", conversation=talk, expected=None)
        after.append(play.decided[-1])
    assert [one.version for one in after] == first
    assert all(one.is_held for one in after)
    assert [one.probability for one in after] == [one.probability for one in play.decided[:12]]


async def test_a_conversation_is_drawn_again_after_an_hour(play: Stage) -> None:
    await play.ask(model="auto", conversation="every day", expected=None)
    play.clock.jump(HELD_S)
    await play.ask(model="auto", conversation="every day", expected=None)
    assert not play.decided[-1].is_held


async def test_a_conversation_leaves_a_model_that_turned_out_bad(play: Stage) -> None:
    poor = version(play, "poor")
    number = 0
    while not play.decided or play.decided[-1].version != poor:
        number += 1
        await play.ask(model="auto", conversation=f"talk {number}", expected=None)
    await judged(play, 25, model="poor", score=0.0)
    await judged(play, 25, model="good", score=1.0)
    await play.ask(model="auto", conversation=f"talk {number}", expected=None)
    assert play.decided[-1].alias == "good"


async def test_a_house_knows_after_a_restart_what_it_had_learned(tmp_path: Path) -> None:
    async with learning(tmp_path / "data") as play:
        await furnish(play)
        await judged(play, 40)
        before = chances(play)
    async with learning(tmp_path / "data") as play:
        assert chances(play) == pytest.approx(before, abs=0.05)


async def test_a_model_that_silently_gets_worse_is_noticed_for_good(tmp_path: Path) -> None:
    async with learning(tmp_path / "data") as play:
        await furnish(play)
        await judged(play, 60, model="good", score=1.0)
        await judged(play, 30, model="poor", score=0.6)
        assert chances(play)["good"] > 0.9
        with play.house.announcer.listening() as heard:
            await judged(play, 25, model="good", score=0.0)
            event = await anext(heard.stream())
            while event.kind != "version.fell":
                event = await anext(heard.stream())
        assert event.detail["version"] == version(play, "good")
        assert chances(play)["good"] < 0.1
        good = version(play, "good")
        (fall,) = play.house.learning.falls_of(good)
    async with learning(tmp_path / "data") as play:
        assert play.house.learning.falls_of(good) == (fall,)
        assert chances(play)["good"] < 0.1


async def test_a_successor_is_expected_to_be_what_its_predecessor_was(play: Stage) -> None:
    await judged(play, 40, model="good", score=1.0)
    await judged(play, 40, model="poor", score=0.0)
    heir = play.script("heir", {"chat": 0.9})
    await play.house.add(heir, "heir", predecessor="good")
    await play.house.add(play.script("stranger", {"chat": 0.9}), "stranger")
    found = {str(one.name): one for one in play.house.select("chat").considered}
    assert found["heir"].samples == found["stranger"].samples == 0
    assert found["heir"].score > found["stranger"].score


async def test_only_a_grader_that_changes_what_cases_said_has_the_record_read_again(
    play: Stage,
) -> None:
    before = play.house.learning.reading
    await play.house.admission.add_task(task("other"))
    await play.house.admission.add_task(replace(task("chat"), grading=Grading(kind="contains")))
    assert play.house.learning.reading == before, "nobody ran a case of either"
    await play.add("third", {"chat": 1.0, "other": 1.0})
    await play.house.admission.add_task(task("chat"))
    assert play.house.learning.reading == before + 1


async def test_what_would_change_a_pick_is_told(play: Stage) -> None:
    await judged(play, 20, model="good", score=1.0)
    await judged(play, 20, model="poor", score=0.0)
    choice = play.house.select("chat")
    assert choice.would_change is not None
    assert "more right answers of poor" in choice.would_change
    low, high = choice.considered[0].quality or (0.0, 0.0)
    assert 0.5 < low < high <= 1.0


async def test_a_finer_task_begins_with_what_is_known_of_its_parent(play: Stage) -> None:
    await judged(play, 40, model="good", score=1.0)
    await judged(play, 40, model="poor", score=0.0)
    await play.house.admission.add_task(replace(task("chat.brief", cases=0), parent=CHAT))
    await play.house.admission.add_task(task("other", cases=0))
    fine = {str(one.name): one for one in play.house.select("chat.brief").considered}
    other = {str(one.name): one for one in play.house.select("other").considered}
    assert fine["good"].samples == 0
    gap = fine["good"].score - fine["poor"].score
    assert gap > other["good"].score - other["poor"].score


async def test_whoever_wants_the_plain_rule_has_it(tmp_path: Path) -> None:
    async with stage(tmp_path / "data", selection__strategy="static") as play:
        await furnish(play)
        for _ in range(5):
            await play.ask(model="auto", expected=None)
        assert {decided.probability for decided in play.decided} == {1.0}
