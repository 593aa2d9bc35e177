"""A full queue, a full disk, a locked file."""

from __future__ import annotations

import asyncio
from pathlib import Path

import apsw
import pytest
from tests.contract.database_files import rule, tasks

from arbiter.errors import StorageError, StorageFull
from arbiter.storage.database import Statement
from arbiter.storage.sqlite import GROUP_BOUND, QUEUE_BOUND, SqliteDatabase


async def test_a_full_queue_drops_and_counts(path: Path, database: SqliteDatabase) -> None:
    told: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    holder = apsw.Connection(str(path))
    holder.execute("BEGIN IMMEDIATE")  # the writer waits for this with its first group in hand
    taken = sum(database.enqueue() for _ in range(QUEUE_BOUND + GROUP_BOUND + 1))
    assert not database.enqueue(rule("dropped"), then=told.set_result)
    assert not await told
    assert QUEUE_BOUND <= taken <= QUEUE_BOUND + GROUP_BOUND
    assert database.dropped == QUEUE_BOUND + GROUP_BOUND + 2 - taken
    holder.close()
    await database.write(rule("after"))
    assert await tasks(database) == ["after"]


async def test_a_full_disk_is_storage_full(database: SqliteDatabase) -> None:
    await database.write(Statement(query="limit_pages"))
    with pytest.raises(StorageFull):
        await database.write(rule("large", "x" * 50_000))


async def test_a_full_disk_leaves_reads_and_the_file_whole(database: SqliteDatabase) -> None:
    await database.write(rule("one"), Statement(query="limit_pages"))
    with pytest.raises(StorageFull):
        await database.write(rule("large", "x" * 50_000))
    assert await tasks(database) == ["one"]
    assert list(await database.read("check_integrity")) == [("ok",)]


async def test_a_full_disk_tells_whoever_queued_and_counts(database: SqliteDatabase) -> None:
    told: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    await database.write(Statement(query="limit_pages"))
    assert database.enqueue(rule("large", "x" * 50_000), then=told.set_result)
    assert not await told
    assert database.dropped == 1


async def test_writes_work_again_when_there_is_room_again(database: SqliteDatabase) -> None:
    await database.write(Statement(query="limit_pages"))
    with pytest.raises(StorageFull):
        await database.write(rule("large", "x" * 50_000))
    await database.write(Statement(query="lift_limit"))
    await database.write(rule("large", "x" * 50_000))
    assert await tasks(database) == ["large"]


async def test_a_locked_file_fails_writes_and_not_reads(
    database: SqliteDatabase, locked: apsw.Connection
) -> None:
    assert locked.in_transaction
    with pytest.raises(StorageError, match="locked"):
        await database.write(rule("one"))
    assert await tasks(database) == []


async def test_writes_work_again_when_the_lock_is_gone(
    database: SqliteDatabase, locked: apsw.Connection
) -> None:
    with pytest.raises(StorageError):
        await database.write(rule("one"))
    locked.execute("ROLLBACK")
    await database.write(rule("one"))
    assert await tasks(database) == ["one"]


async def test_a_query_that_fails_is_a_storage_error(database: SqliteDatabase) -> None:
    with pytest.raises(StorageError, match="nowhere"):
        await database.read("speak_nonsense")
