"""A write that is refused or faulty: it alone, and nothing of it stays."""

from __future__ import annotations

import asyncio

import pytest
from tests.contract.database_files import gone_rule, nameless_version, rule, tasks

from arbiter.errors import Conflict, StorageError
from arbiter.storage.database import Statement, Written
from arbiter.storage.sqlite import SqliteDatabase


async def test_a_refused_must_change_rolls_its_whole_write_back(database: SqliteDatabase) -> None:
    written = await database.write(rule("one"), gone_rule("absent"), rule("two"))
    assert written == Written(applied=False, rows=((), ()))
    assert await tasks(database) == []


async def test_a_refusal_leaves_the_others_of_its_group(database: SqliteDatabase) -> None:
    results = await asyncio.gather(
        database.write(rule("before")),
        database.write(rule("refused"), gone_rule("absent")),
        database.write(rule("after")),
    )
    assert [written.applied for written in results] == [True, False, True]
    assert await tasks(database) == ["after", "before"]


async def test_then_is_told_false_of_a_refused_write(database: SqliteDatabase) -> None:
    # It was told True, though nothing of the write was there.
    told: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    database.enqueue(rule("one"), gone_rule("absent"), then=told.set_result)
    assert not await told


async def test_what_the_schema_forbids_is_a_conflict(database: SqliteDatabase) -> None:
    with pytest.raises(Conflict, match="FOREIGN KEY constraint failed"):
        await database.write(rule("one"), nameless_version())
    assert await tasks(database) == []


FAULTY = [
    (
        Statement(query="add_rule", parameters=("t", "p", None, "[]", "\ud800", "a")),
        UnicodeEncodeError,
    ),
    (Statement(query="add_rule", parameters=("t", "p", None, "[]", 2**64, "a")), OverflowError),
    (Statement(query="add_rule", parameters=("t", "p", None, "[]", b"", object())), TypeError),  # type: ignore[arg-type]  # on purpose
    (Statement(query="add_rule", parameters=("too few",)), StorageError),
    (Statement(query="no_such_query"), KeyError),
    (Statement(query="speak_nonsense"), StorageError),
    (Statement(query="misplace"), StorageError),
]


@pytest.mark.parametrize(("faulty", "error"), FAULTY)
async def test_a_faulty_write_fails_alone(
    database: SqliteDatabase, faulty: Statement, error: type[Exception]
) -> None:
    # Half a surrogate pair ended the writer's thread, and every later write waited for ever.
    before = database.write(rule("before"))
    wrong = database.write(rule("wrong"), faulty)
    after = database.write(rule("after"))
    results = await asyncio.gather(before, wrong, after, return_exceptions=True)
    assert isinstance(results[1], error)
    assert await tasks(database) == ["after", "before"]


async def test_a_faulty_write_that_nobody_waits_for_is_counted(database: SqliteDatabase) -> None:
    told: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    database.enqueue(nameless_version(), then=told.set_result)
    assert not await told
    assert database.dropped == 1


async def test_a_callback_that_fails_does_not_hold_up_its_group(database: SqliteDatabase) -> None:
    # It left whoever waited for the same commit waiting for ever.
    reported: list[str] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: reported.append(str(context["exception"]))
    )

    def fails(held: bool) -> None:
        raise ValueError(f"told {held}")

    database.enqueue(rule("one"), then=fails)
    await database.write(rule("two"))
    assert reported == ["told True"]
