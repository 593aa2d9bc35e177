"""What the seam to a database promises, kept by SQLite on a real file."""

from __future__ import annotations

import asyncio
from pathlib import Path

import apsw
import pytest
from tests.contract.database_files import gone_rule, kept, rule, tasks

from arbiter.errors import StorageError
from arbiter.storage.database import Statement, Value, Written
from arbiter.storage.sqlite import GROUP_BOUND, SqliteDatabase, open_sqlite


async def test_what_write_returned_for_is_in_the_file(database: SqliteDatabase, path: Path) -> None:
    await database.write(rule("one"))
    assert kept(path) == ["one"]


async def test_what_was_settled_is_in_the_file(database: SqliteDatabase, path: Path) -> None:
    database.enqueue(rule("one"))
    await database.settle()
    assert kept(path) == ["one"]


async def test_what_was_queued_is_in_the_file_after_closing(path: Path) -> None:
    database = await open_sqlite(path)
    database.enqueue(rule("one"))
    await database.close()
    assert kept(path) == ["one"]


async def test_what_was_scrubbed_is_in_neither_the_file_nor_its_log(
    database: SqliteDatabase, path: Path
) -> None:
    secret = "the blue door " * 1000
    await database.write(rule("one", secret), rule("two", "stays"))
    await database.write(gone_rule("one"))
    await database.scrub()
    log = path.with_name(path.name + "-wal")
    for file in (path, log):
        assert b"the blue door" not in await asyncio.to_thread(file.read_bytes)
    assert kept(path) == ["two"]


async def test_a_log_that_another_program_reads_cannot_be_scrubbed_and_nothing_else_fails(
    database: SqliteDatabase, path: Path
) -> None:
    await database.write(Statement(query="be_impatient"), rule("one"))
    other = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    reading = other.execute("SELECT task FROM rules")
    scrubbing = asyncio.create_task(database.scrub())
    await database.write(rule("two"))
    with pytest.raises(StorageError):
        await scrubbing
    reading.close()
    other.close()
    assert kept(path) == ["one", "two"]


async def test_the_file_opens_again_with_what_was_in_it(path: Path) -> None:
    database = await open_sqlite(path)
    await database.write(rule("one", "because"))
    await database.close()
    again = await open_sqlite(path)
    assert list(await again.read("list_rules")) == [("one", "primary", None, "[]", "because")]
    await again.close()


async def test_writes_are_committed_in_the_order_they_were_asked_for(
    database: SqliteDatabase,
) -> None:
    expected = [f"{number}" for number in range(60)]
    for who in expected[:-1]:
        database.enqueue(_move(who))
    await database.write(_move(expected[-1]))
    assert [row[3] for row in await database.read("list_moves", ("n",))] == expected


def _move(who: str) -> Statement:
    return Statement(query="log_move", parameters=("n", None, None, who, "", None, None, "t"))


async def test_writes_that_nobody_waits_for_share_commits(database: SqliteDatabase) -> None:
    commits = 0

    def counted() -> bool:
        nonlocal commits
        commits += 1
        return False

    database._writer.set_commit_hook(counted)
    for number in range(300):
        database.enqueue(rule(f"t{number}"))
    await database.settle()
    assert commits <= 3


async def test_more_writes_than_a_group_holds_are_all_committed(
    database: SqliteDatabase,
) -> None:
    for number in range(2 * GROUP_BOUND + 1):
        database.enqueue(rule(f"t{number}"))
    await database.settle()
    assert len(await tasks(database)) == 2 * GROUP_BOUND + 1


async def test_a_steady_trickle_of_writes_does_not_put_off_its_commit(
    database: SqliteDatabase,
) -> None:
    # The linger began anew with each write, so a commit came after a thousand of them only.
    committed = asyncio.Event()
    database.enqueue(rule("first"), then=lambda _: committed.set())
    trickled = 0
    while not committed.is_set():
        database.enqueue(rule("next"))
        trickled += 1
        for _ in range(25):  # longer than the linger, also where this machine has other work
            await database.read("list_rules")
    assert trickled < GROUP_BOUND / 2


async def test_then_is_told_true_after_the_commit(database: SqliteDatabase, path: Path) -> None:
    told: asyncio.Future[tuple[bool, list[Value]]] = asyncio.get_running_loop().create_future()
    database.enqueue(rule("one"), then=lambda held: told.set_result((held, kept(path))))
    assert await told == (True, ["one"])


async def test_a_write_of_nothing_applies(database: SqliteDatabase) -> None:
    assert await database.write() == Written(applied=True, rows=())


async def test_a_write_returns_the_rows_of_each_statement(database: SqliteDatabase) -> None:
    written = await database.write(rule("one"), gone_rule("one"))
    assert written == Written(applied=True, rows=((), (("one",),)))


async def test_a_caller_who_gave_up_does_not_disturb_the_write(database: SqliteDatabase) -> None:
    impatient = asyncio.create_task(database.write(rule("one")))
    patient = asyncio.create_task(database.write(rule("two")))
    await asyncio.wait({impatient}, timeout=0)
    impatient.cancel()
    await patient
    assert await tasks(database) == ["one", "two"]
