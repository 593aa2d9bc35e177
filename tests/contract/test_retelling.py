"""The record told again: after a restart the learner stands where it stood, to the last bit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.contract.knowledge_room import (
    GRADED,
    SUMS,
    TALES,
    A,
    B,
    Room,
    decision,
    opened,
    outcome,
    plain,
)

from arbiter.errors import StorageError
from arbiter.events import Announcer
from arbiter.knowledge.learning import Learning
from arbiter.knowledge.outcome import Feedback
from arbiter.knowledge.outcomes import Outcomes
from arbiter.refs import TaskName, VersionId
from arbiter.storage.database import Database, Parameters, Row, Statement, Written

Told = tuple[VersionId, TaskName, float, str]
"""Of whom at what a score comes, and who says it: a rule, a case, or a caller."""


async def tell(room: Room, number: int, told: Told) -> None:
    version, task, score, who = told
    room.clock.jump(1.0)
    if who == "case":
        reading = room.learning.reading
        now = room.clock.now().isoformat()
        row = (version, task, GRADED, f"case-{number}", score, 1, None, now)
        await room.database.write(Statement(query="add_validation", parameters=row))
        room.learning.ran(version, task, score, reading=reading)
        return
    of = plain(number, task=task, version=version)
    grade = score if who == "rule" else None
    room.outcomes.begin(of, caller="local")
    room.outcomes.end(of, outcome(of, version=version, task=task, grade=grade), caller="local")
    if who != "rule":
        await judge(room, number, score, who)


async def judge(room: Room, number: int, score: float, who: str) -> None:
    room.clock.jump(1.0)
    await room.outcomes.give(Feedback(decision=decision(number), score=score, caller=who))


def scores(dice: Random, count: int, rate: float, *, version: VersionId = A) -> list[Told]:
    """So many scores of a version: mostly of one task, by rules, people, and a caller or two."""
    return [
        (
            version,
            dice.choice((SUMS, SUMS, SUMS, TALES)),
            float(dice.random() < rate),
            dice.choice(("rule", "rule", "local", "key-1", "case")),
        )
        for _ in range(count)
    ]


async def test_a_suspicion_stands_after_a_restart_where_it_stood(tmp_path: Path) -> None:
    path = tmp_path / "arbiter.db"
    dice = Random(7)
    told = [*scores(dice, 120, 0.9), *scores(dice, 30, 0.6, version=B), *scores(dice, 9, 0.2)]
    async with opened(path) as room:
        for number, one in enumerate(told):
            await tell(room, number, one)
        before = room.table.to_state()
        assert room.learning.falls_of(A) == ()
    assert max(alarm(before, A)) > 1.0
    async with opened(path) as room:
        assert room.table.to_state() == before


def alarm(state: dict[str, object], version: VersionId) -> list[float]:
    cells = state["cells"]
    assert isinstance(cells, list)
    return [found for _, of, found, *_ in cells if of == version]


@pytest.mark.parametrize("before_restart", [1, 5, 9, 13])
async def test_a_restart_in_the_midst_of_a_fall_delays_its_notice_by_nothing(
    tmp_path: Path, before_restart: int
) -> None:
    dice = Random(3)
    good, bad = scores(dice, 150, 0.95), scores(dice, 60, 0.3)

    async def noticed(path: Path, restarts: Sequence[int]) -> tuple[int, object]:
        told, at = [*good, *bad], 0
        for stop in (*restarts, len(told)):
            async with opened(path) as room:
                room.clock.jump(1000.0 * at)
                while at < stop:
                    await tell(room, at, told[at])
                    at += 1
                    if room.learning.falls_of(A):
                        return at, room.learning.falls_of(A)[0].task
        return at, "never"

    straight = await noticed(tmp_path / "straight.db", ())
    broken = await noticed(tmp_path / "broken.db", (len(good) + before_restart,))
    assert broken == straight
    assert len(good) < straight[0] < len(good) + len(bad)


async def test_a_fall_is_where_it_was_after_a_restart_and_is_not_told_again(tmp_path: Path) -> None:
    path = tmp_path / "arbiter.db"
    dice = Random(5)
    told = [*scores(dice, 150, 0.95), *scores(dice, 60, 0.2), *scores(dice, 60, 0.9)]
    async with opened(path) as room:
        for number, one in enumerate(told):
            await tell(room, number, one)
        before, falls = room.table.to_state(), room.learning.falls_of(A)
        assert falls
    for _ in range(2):
        async with opened(path) as room:
            assert room.table.to_state() == before
            assert room.learning.falls_of(A) == falls
            assert len(await room.database.read("list_falls")) == len(falls)


async def test_a_fall_that_no_score_shows_any_more_is_known_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "arbiter.db"
    async with opened(path) as room:
        for number in range(40):
            await tell(room, number, (A, SUMS, 1.0, "rule"))
        now = room.clock.now().isoformat()
        await room.database.write(Statement(query="add_fall", parameters=(A, SUMS, now, None, now)))
        for number in range(40, 50):
            await tell(room, number, (A, SUMS, 0.0, "rule"))
    async with opened(path) as room:
        assert room.table.get(SUMS, A).mean < 0.3


@pytest.mark.parametrize("retold", [0, 40, 150])
async def test_what_is_older_comes_as_sums_that_have_faded_alike(
    tmp_path: Path, retold: int
) -> None:
    path = tmp_path / "arbiter.db"
    dice = Random(9)
    told = [*scores(dice, 150, 0.95), *scores(dice, 60, 0.2), *scores(dice, 60, 0.9)]
    async with opened(path) as room:
        for number, one in enumerate(told):
            await tell(room, number, one)
        assert room.learning.falls_of(A)
        before = sums(room)
    async with opened(path, retold=retold) as room:
        assert sums(room) == pytest.approx(before, abs=0.03)


def sums(room: Room) -> list[float]:
    room.table.settle()
    return [
        number
        for task in (SUMS, TALES)
        for one in [room.table.get(task, A)]
        for number in (one.mean, one.samples)
    ]


class Failing:
    """A database whose disk fails when the record is read, as often as it is told to."""

    def __init__(self, real: Database, times: int) -> None:
        self._real = real
        self.times = times

    async def write(self, *statements: Statement) -> Written:
        fails = self.times > 0 and any(one.query == "faded_grades" for one in statements)
        written = await self._real.write(*statements)
        if fails:
            self.times -= 1
            raise StorageError("the disk is full")
        return written

    def enqueue(self, *statements: Statement, then: Callable[[bool], None] | None = None) -> bool:
        return self._real.enqueue(*statements, then=then)

    async def read(self, query: str, parameters: Parameters = ()) -> Sequence[Row]:
        return await self._real.read(query, parameters)

    async def scrub(self) -> None:
        await self._real.scrub()

    async def settle(self) -> None:
        await self._real.settle()

    async def close(self) -> None:
        await self._real.close()


async def test_what_was_said_while_a_reading_failed_is_learned_once(tmp_path: Path) -> None:
    async with opened(tmp_path / "arbiter.db") as room:
        for number in range(20):
            await tell(room, number, (A, SUMS, 1.0, "rule"))
        database = Failing(room.database, times=1)
        learning = Learning(
            database=database,
            clock=room.clock,
            learner=room.table,
            profiles=room.profiles,
            announcer=Announcer(),
        )
        outcomes = Outcomes(database, room.clock, learning)
        async with asyncio.TaskGroup() as group:
            group.create_task(outcomes.give(Feedback(decision=decision(3), score=0.0)))
            group.create_task(refused(learning))
            group.create_task(outcomes.give(Feedback(decision=decision(4), score=0.0)))
        assert database.times == 0
        assert room.table.get(SUMS, A).samples == 22.0
        await learning.load()
        assert room.table.get(SUMS, A).samples == 22.0


async def refused(learning: Learning) -> None:
    with pytest.raises(StorageError):
        await learning.load()


async def test_whoever_asks_while_the_record_is_read_is_answered_from_what_was_known(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path / "arbiter.db") as room:
        for number in range(600):
            await tell(room, number, (A, SUMS, 1.0, "rule"))
        known = room.table.get(SUMS, A)
        turns = 0
        async with asyncio.TaskGroup() as group:
            loading = group.create_task(room.learning.load())
            while not loading.done():
                assert room.table.get(SUMS, A) == known
                await room.clock.sleep(0.0)
                turns += 1
        assert turns > 6
        assert room.table.get(SUMS, A).mean == pytest.approx(known.mean, abs=0.02)


WHO = st.sampled_from(["rule", "local", "key-1", "case"])
STORIES = st.lists(
    st.tuples(st.sampled_from([A, B]), st.sampled_from([SUMS, TALES]), st.booleans(), WHO),
    max_size=30,
)
CHANGES = st.lists(
    st.tuples(st.integers(0, 29), st.booleans(), st.sampled_from(["local", "key-1"])), max_size=6
)


async def lived(
    path: Path, story: Sequence[Told], changes: Sequence[tuple[int, bool, str]]
) -> None:
    async with opened(path) as room:
        for number in range(45):
            await tell(room, number, (A, SUMS, 1.0, "rule"))
        for number, one in enumerate(story, start=45):
            await tell(room, number, one)
        for number, score, who in changes:
            if number < len(story) and story[number][3] != "case":
                await judge(room, number + 45, float(score), who)
        await room.database.settle()
        before = room.table.to_state()
    async with opened(path) as room:
        assert room.table.to_state() == before


@settings(max_examples=25, deadline=None)
@given(STORIES, CHANGES)
def test_whatever_was_told_is_told_again_to_the_same_state(
    story: Sequence[tuple[VersionId, TaskName, bool, str]],
    changes: Sequence[tuple[int, bool, str]],
) -> None:
    told = [(version, task, float(score), who) for version, task, score, who in story]
    with TemporaryDirectory() as folder:
        asyncio.run(lived(Path(folder) / "arbiter.db", told, changes))
