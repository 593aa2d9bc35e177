"""What guesses are learned from, over a real file: what is kept, how much, and what is not."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from arbiter.clock import ManualClock
from arbiter.inference import Completion, Message
from arbiter.knowledge.guesser import (
    ALL_UP_TO,
    MOST_CASES,
    ONE_IN,
    REMEMBERED,
    SAVE_EVERY,
    Guesser,
)
from arbiter.knowledge.kinds import MOST_TASKS
from arbiter.knowledge.tasks import Case, Task
from arbiter.refs import GENERAL, TaskName
from arbiter.storage.sqlite import SqliteDatabase, open_sqlite

SUM, POEM = TaskName("sum"), TaskName("poem")


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    database: SqliteDatabase
    guesser: Guesser

    async def learned(self, task: TaskName) -> int:
        """How many requests of a task are on disk."""
        await self.database.settle()
        rows = await self.database.read("list_guessing")
        found = {str(row[0]): json.loads(str(row[1])) for row in rows}
        return int(found[task]["learned"]) if task in found else 0


def a_guesser(database: SqliteDatabase) -> Guesser:
    return Guesser(database, ManualClock(), least=0.8)


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    database = await open_sqlite(tmp_path / "house.db")
    yield Room(database=database, guesser=a_guesser(database))
    await database.close()


def said(number: int, words: str = "add up") -> Completion:
    return Completion(prompt=f"{words} item{number}")


def with_cases(name: TaskName, many: int, words: str = "add up") -> Task:
    return Task(
        name=name,
        cases=tuple(
            Case(messages=(Message(role="user", content=said(n, words).prompt),), expected="yes")
            for n in range(many)
        ),
    )


async def test_what_requests_taught_is_written_now_and_then_and_when_asked_to(room: Room) -> None:
    for number in range(SAVE_EVERY - 1):
        room.guesser.learn(said(number), SUM)
    assert await room.learned(SUM) == 0
    room.guesser.learn(said(SAVE_EVERY), SUM)
    assert await room.learned(SUM) == SAVE_EVERY
    room.guesser.learn(said(SAVE_EVERY + 1), SUM)
    room.guesser.save()
    assert await room.learned(SUM) == SAVE_EVERY + 1


async def test_a_beginning_teaches_once(room: Room) -> None:
    for _ in range(5):
        room.guesser.learn(said(1), SUM)
    room.guesser.save()
    assert await room.learned(SUM) == 1


async def test_a_beginning_that_is_long_forgotten_teaches_again(room: Room) -> None:
    room.guesser.learn(said(0), SUM)
    for number in range(REMEMBERED):
        room.guesser.learn(said(number, "else"), TaskName(f"task-{number % 100}"))
    room.guesser.learn(said(0), SUM)
    room.guesser.save()
    assert await room.learned(SUM) == 2


async def test_of_a_task_that_is_asked_often_some_requests_teach(room: Room) -> None:
    further = 200
    for number in range(ALL_UP_TO + further):
        room.guesser.learn(said(number), SUM)
    room.guesser.save()
    assert ALL_UP_TO < await room.learned(SUM) < ALL_UP_TO + 2 * further / ONE_IN


async def test_a_task_too_many_teaches_nothing_and_harms_nobody(room: Room) -> None:
    for number in range(MOST_TASKS):
        room.guesser.learn(said(number), TaskName(f"task-{number}"))
    one_more = TaskName("one-more")
    room.guesser.learn(said(0, "else"), one_more)
    room.guesser.take(with_cases(one_more, 3))
    room.guesser.save()
    assert await room.learned(one_more) == 0
    assert await room.learned(TaskName("task-0")) == 1


async def test_cases_teach_once_whoever_opens_the_house_again(room: Room) -> None:
    task = with_cases(SUM, 12)
    await room.guesser.load([task])
    again = a_guesser(room.database)
    await room.database.settle()
    await again.load([task])
    again.take(task)
    assert await room.learned(SUM) == 12


async def test_new_cases_of_a_task_teach_and_the_old_ones_not_again(room: Room) -> None:
    room.guesser.take(with_cases(SUM, 12))
    room.guesser.take(with_cases(SUM, 15))
    assert await room.learned(SUM) == 15


async def test_of_very_many_cases_the_first_teach(room: Room) -> None:
    room.guesser.take(with_cases(SUM, MOST_CASES + 50))
    assert await room.learned(SUM) == MOST_CASES


async def test_what_is_kept_of_a_task_that_is_gone_is_not_guessed(room: Room) -> None:
    room.guesser.take(with_cases(SUM, 30))
    room.guesser.take(with_cases(POEM, 30, "sing of love, dear muse"))
    assert room.guesser.guess(said(99)) is not None
    await room.database.settle()
    again = a_guesser(room.database)
    await again.load([with_cases(POEM, 30, "sing of love, dear muse")])
    assert again.guess(said(99)) is None


async def test_what_general_requests_taught_is_read_again(room: Room) -> None:
    for number in range(SAVE_EVERY):
        room.guesser.learn(said(number), GENERAL)
    await room.database.settle()
    again = a_guesser(room.database)
    await again.load([])
    again.learn(said(SAVE_EVERY), GENERAL)
    again.save()
    assert await room.learned(GENERAL) == SAVE_EVERY + 1


async def test_forgetting_takes_what_was_counted_from_the_disk(room: Room) -> None:
    room.guesser.take(with_cases(SUM, 12))
    room.guesser.forget(SUM)
    assert await room.learned(SUM) == 0
