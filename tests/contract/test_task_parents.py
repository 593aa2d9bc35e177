"""Tasks that take after others: what comes down, and what may stand where."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from tests.contract.knowledge_room import EXACT, FULL, SUMS, TALES, Room, cases, opened

from arbiter.errors import InvalidField, StillInUse
from arbiter.inference import Limits
from arbiter.knowledge.tasks import (
    Task,
)
from arbiter.refs import GENERAL, TaskName

FINE = Task(name=TaskName("sums.long"), parent=SUMS)


async def test_a_task_takes_after_its_parent_also_after_a_restart(path: Path) -> None:
    async with opened(path) as room:
        await room.tasks.add(FULL)
        await room.tasks.add(FINE)
    async with opened(path) as room:
        found = room.tasks.get(FINE.name)
        assert (found.limits, found.grading, found.weights) == (FULL.limits, EXACT, FULL.weights)
        assert found.cases == ()
        assert room.tasks.decided(FINE.name) == FINE
        assert room.tasks.all() == (FULL, FINE)
        assert room.tasks.grading(FINE.name) == EXACT.digest
        assert room.tasks.in_force() == (FULL, found)


async def test_the_digest_of_knowledge_is_of_what_was_decided_not_of_what_comes_down(
    room: Room,
) -> None:
    await room.tasks.add(FULL)
    await room.tasks.add(FINE)
    before = room.tasks.all()[1].digest
    await room.tasks.add(replace(FULL, limits=Limits()))
    assert room.tasks.all()[1].digest == before == FINE.digest


async def test_parents_and_the_line_above_a_task_are_told(room: Room) -> None:
    await room.tasks.add(FULL)
    await room.tasks.add(FINE)
    assert room.tasks.parents() == {FINE.name: SUMS}
    assert room.tasks.parents() is room.tasks.parents()
    assert room.tasks.line(FINE.name) == (FINE.name, SUMS, GENERAL)
    assert room.tasks.line(GENERAL) == (GENERAL,)
    assert [task.name for task in room.tasks.family(SUMS)] == [SUMS, FINE.name]


async def test_every_change_of_a_task_or_a_parent_is_another_revision(room: Room) -> None:
    seen = [room.tasks.revision]
    for task in (FULL, FINE, replace(FINE, parent=None)):
        await room.tasks.add(task)
        seen.append(room.tasks.revision)
    await room.tasks.remove(SUMS)
    seen.append(room.tasks.revision)
    assert len(set(seen)) == len(seen)


async def test_a_task_that_counts_as_before_is_still_the_same_value(room: Room) -> None:
    # what was derived from it is kept for as long as it is
    await room.tasks.add(FULL)
    await room.tasks.add(FINE)
    before, general = room.tasks.get(FINE.name), room.tasks.get(GENERAL)
    await room.tasks.add(Task(name=TALES))
    assert room.tasks.get(FINE.name) is before
    assert room.tasks.get(GENERAL) is general


async def test_a_parent_that_is_not_there_is_refused_and_nothing_kept(room: Room) -> None:
    with pytest.raises(InvalidField, match=r"The parent of task sums\.long is not there: sums"):
        await room.tasks.add(FINE)
    assert room.tasks.all() == ()


async def test_a_ring_is_refused_and_nothing_changed(room: Room) -> None:
    await room.tasks.add(FULL)
    await room.tasks.add(FINE)
    with pytest.raises(InvalidField, match="above each other"):
        await room.tasks.add(replace(FULL, parent=FINE.name))
    assert room.tasks.all() == (FULL, FINE)


async def test_what_stands_below_may_not_come_to_stand_too_deep(room: Room) -> None:
    above: TaskName | None = None
    for name in map(TaskName, "abcd"):
        await room.tasks.add(Task(name=name, parent=above))
        above = name
    await room.tasks.add(Task(name=TALES))
    with pytest.raises(InvalidField, match="Task d would stand 5 levels deep"):
        await room.tasks.add(Task(name=TaskName("a"), parent=TALES))


async def test_a_parent_cannot_be_removed_before_its_children(room: Room) -> None:
    await room.tasks.add(FULL)
    await room.tasks.add(FINE)
    await room.tasks.add(Task(name=TaskName("sums.odd"), parent=SUMS))
    with pytest.raises(StillInUse, match=r"sums is the parent of sums\.long, sums\.odd\. Remove"):
        await room.tasks.remove(SUMS)
    assert room.tasks.get(SUMS) == FULL
    for name in (FINE.name, TaskName("sums.odd"), SUMS):
        await room.tasks.remove(name)
    assert room.tasks.all() == ()


async def test_cases_may_be_graded_as_the_parents_are(room: Room) -> None:
    await room.tasks.add(FULL)
    await room.tasks.add(replace(FINE, cases=cases(10)))
    assert room.tasks.get(FINE.name).grading == EXACT


async def test_a_parent_cannot_lose_the_grader_that_its_childrens_cases_need(room: Room) -> None:
    await room.tasks.add(FULL)
    await room.tasks.add(replace(FINE, cases=cases(10)))
    with pytest.raises(InvalidField, match=r"Task sums\.long is below it .* cases but no grader"):
        await room.tasks.add(replace(FULL, grading=None, cases=()))
    assert room.tasks.get(SUMS) == FULL


async def test_of_two_changes_at_once_that_do_not_fit_each_other_one_is_made(room: Room) -> None:
    await room.tasks.add(Task(name=SUMS))
    found = await asyncio.gather(
        room.tasks.add(FINE), room.tasks.remove(SUMS), return_exceptions=True
    )
    assert [type(one) for one in found].count(StillInUse) == 1
    assert room.tasks.parents() == {FINE.name: SUMS}
