"""What is learned of the record as it comes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from tests.contract.knowledge_room import (
    SUMS,
    TALES,
    A,
    B,
    Room,
    decision,
    graded_answers,
    opened,
    outcome,
    plain,
)

from arbiter.knowledge.outcome import Feedback


async def test_grades_and_feedback_are_learned_from_as_they_come(room: Room) -> None:
    before = room.table.get(SUMS, A).mean
    graded_answers(room, range(8), 1.0)
    graded = room.table.get(SUMS, A)
    await room.outcomes.give(Feedback(decision=decision(3), score=0.0))
    judged = room.table.get(SUMS, A)
    assert before < judged.mean < graded.mean
    assert (graded.samples, judged.samples) == (8.0, 9.0)


async def test_a_judgement_that_is_changed_counts_once(room: Room) -> None:
    graded_answers(room, range(8), 1.0)
    await room.outcomes.give(Feedback(decision=decision(3), score=0.0))
    await room.outcomes.give(Feedback(decision=decision(3), score=1.0))
    assert room.table.get(SUMS, A).samples == 9.0
    assert room.table.get(SUMS, A).mean > 0.8


async def test_a_judgement_that_is_changed_over_and_over_moves_nobody(room: Room) -> None:
    answered_by = Feedback(decision=decision(3), score=0.0, caller="key-9")
    graded_answers(room, range(40), 1.0)
    await room.outcomes.give(answered_by)
    before, other = room.table.get(SUMS, A), room.table.get(SUMS, B)
    for number in range(300):
        await room.outcomes.give(replace(answered_by, score=float(number % 2)))
    assert room.table.get(SUMS, A).samples == before.samples
    assert room.table.get(SUMS, B).neglect == pytest.approx(other.neglect, rel=0.01)
    assert not room.learning.falls_of(A)
    assert await room.database.read("list_falls") == []


async def test_a_judgement_counts_once_though_the_record_is_read_again_meanwhile(
    room: Room,
) -> None:
    graded_answers(room, range(8), 1.0)
    async with asyncio.TaskGroup() as group:
        for number in range(8):
            group.create_task(room.outcomes.give(Feedback(decision=decision(number), score=1.0)))
            if number in {2, 5}:
                group.create_task(room.learning.load())
        graded_answers(room, range(8, 12), 1.0)
    assert room.table.get(SUMS, A).samples == 20.0


async def test_a_version_that_fell_is_believed_to_have_fallen_after_a_restart(path: Path) -> None:
    async with opened(path) as room:
        graded_answers(room, range(100), 1.0)
        graded_answers(room, range(100, 125), 0.0)
        await room.database.settle()
        fallen = room.table.get(SUMS, A).mean
        falls = await room.database.read("list_falls")
        since = (await room.outcomes.find(decision(100))).outcome
    assert since is not None
    assert fallen < 0.3
    assert [row[:2] for row in falls] == [(A, SUMS)] or [row[:2] for row in falls] == [(A, None)]
    async with opened(path) as room:
        assert room.table.get(SUMS, A).mean == pytest.approx(fallen, abs=0.05)


async def test_what_is_said_of_a_source_changes_all_that_it_ever_said(room: Room) -> None:
    for number in range(40):
        room.clock.jump(1.0)
        of = plain(number, task=TALES, version=B)
        room.outcomes.begin(of, caller="local")
        room.outcomes.end(of, outcome(of, version=B, task=TALES, grade=None), caller="local")
        await room.outcomes.give(Feedback(decision=decision(number), score=1.0, source="judge"))
    liked = room.table.get(TALES, B).mean
    graded_answers(room, range(40, 80), 0.0)
    for number in range(40, 80):
        await room.outcomes.give(Feedback(decision=decision(number), score=1.0, source="judge"))
    assert room.table.get(TALES, B).mean < liked - 0.05
