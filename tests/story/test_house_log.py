"""The log of a house, read while it runs: what was picked, with which chance, how good it was."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.story.stage import Stage, name, stage, task

from arbiter.errors import StorageError
from arbiter.knowledge.outcome import Feedback
from arbiter.knowledge.rules import Rule
from arbiter.studies.hindsight import in_hindsight
from arbiter.studies.house_log import HELD, NAMED, RULED, house_log
from arbiter.studies.log import Decision, Log, Result


@pytest.fixture
async def play(tmp_path: Path) -> AsyncIterator[Stage]:
    """Two models with 30 graded cases each."""
    async with stage(tmp_path / "data") as play:
        await play.house.admission.add_task(task("chat"))
        await play.add("good", {"chat": 0.9})
        await play.add("poor", {"chat": 0.4})
        yield play


async def log_of(play: Stage) -> Log:
    await play.house.database.settle()
    return await asyncio.to_thread(house_log, play.folder.parent / "data")


def decisions(log: Log) -> list[Decision]:
    return [one for one in log.entries if isinstance(one, Decision)]


async def test_a_pick_of_auto_is_a_decision_with_everybodys_chance_and_its_grade(
    play: Stage,
) -> None:
    await play.ask(model="auto")
    (one,) = decisions(await log_of(play))
    decided = play.decided[0]
    assert one.picked == decided.alias
    assert set(one.among) == {"good", "poor"}
    assert one.among[one.picked] == decided.version
    assert one.chances is not None
    assert sum(one.chances.values()) == pytest.approx(1.0)
    assert one.propensity == one.chances[one.picked] == decided.probability
    assert one.result.score in {0.0, 1.0}
    assert one.result.latency_ms is not None


async def test_graded_cases_come_before_and_are_evidence(play: Stage) -> None:
    await play.ask(model="auto")
    entries = (await log_of(play)).entries
    assert [type(one) for one in entries] == [Result] * 60 + [Decision]


async def test_what_a_person_says_is_the_score_of_an_answer_that_no_rule_graded(
    play: Stage,
) -> None:
    await play.ask(model="auto", expected=None)
    assert decisions(await log_of(play))[0].result.score is None
    given = Feedback(decision=play.decided[0].decision, score=0.3)
    await play.house.outcomes.give(given)
    assert decisions(await log_of(play))[0].result.score == 0.3


async def test_a_request_by_name_and_one_under_a_rule_are_evidence_and_no_decision(
    play: Stage,
) -> None:
    await play.ask(model="poor")
    await play.house.rules.add(Rule(task=task("chat").name, prefer=name("poor")))
    await play.ask(model="auto")
    log = await log_of(play)
    assert decisions(log) == []
    assert dict(log.left_out) == {NAMED: 1, RULED: 1}
    assert len(log.entries) == 62


async def test_a_rule_of_a_task_above_decided_as_well(play: Stage) -> None:
    fine = replace(task("chat.brief", cases=0), parent=task("chat").name)
    await play.house.admission.add_task(fine)
    await play.ask("chat.brief", model="auto")
    await play.house.rules.add(Rule(task=task("chat").name, prefer=name("poor")))
    await play.ask("chat.brief", model="auto")
    log = await log_of(play)
    assert [decided.by_rule for decided in play.decided] == [False, True]
    assert [one.picked for one in decisions(log)] == [play.decided[0].alias]
    assert dict(log.left_out) == {RULED: 1}


async def test_during_a_rollout_the_chance_is_that_of_the_name(play: Stage) -> None:
    """The arm is the rollout's business: whoever picks the name gets the same arms."""
    await play.add("newer", {"chat": 0.9})
    await play.swap("good", "newer")
    await play.tick()
    for _ in range(40):
        await play.ask(model="auto")
    found = decisions(await log_of(play))
    assert {one.propensity for one in found} == {1.0}
    assert {decided.probability < 1.0 for decided in play.decided} == {True}
    assert not (await log_of(play)).left_out


async def test_what_goes_on_with_a_conversation_is_no_further_draw(tmp_path: Path) -> None:
    async with stage(tmp_path / "data", selection__strategy="learned") as play:
        await play.house.admission.add_task(task("chat"))
        await play.add("good", {"chat": 0.9})
        await play.add("poor", {"chat": 0.2})
        for _ in range(3):
            await play.ask(model="auto", conversation="a long talk")
        log = await log_of(play)
    assert log.left_out[HELD] == 2
    assert len({decided.version for decided in play.decided}) == 1
    assert len({decided.probability for decided in play.decided}) == 1


async def test_a_house_is_judged_on_its_own_log(play: Stage) -> None:
    for _ in range(60):
        await play.ask(model="auto")
    found = in_hindsight(await log_of(play), "static")
    assert found["used"] == 60
    assert found["difference"] == {"mean": 0.0, "se": 0.0, "interval": [0.0, 0.0]}
    assert name("good") in {one.picked for one in decisions(await log_of(play))}


async def test_where_no_house_ever_was_there_is_no_log(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be read"):
        house_log(tmp_path)
