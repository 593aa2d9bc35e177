"""Fixtures of the contracts: a real file, a quiet machine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import apsw
import pytest
from tests.contract.database_files import TEST_QUERIES
from tests.contract.knowledge_room import Room, opened
from tests.contract.registry_file import HERON, OWL, PRIMARY, WREN, artifact
from tests.contract.registry_file import opened as registry_opened

from arbiter.registry.registry import Registry
from arbiter.storage.database import Statement
from arbiter.storage.queries import load_queries
from arbiter.storage.sqlite import SqliteDatabase, open_sqlite
from arbiter.studies.check_energy import quiet_machine


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "arbiter.db"


@pytest.fixture
async def room(path: Path) -> AsyncIterator[Room]:
    async with opened(path) as found:
        yield found


@pytest.fixture
async def database(path: Path) -> AsyncIterator[SqliteDatabase]:
    first = await open_sqlite(path)
    await first.close()
    counter = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    pages = int(counter.pragma("page_count"))
    counter.close()
    queries = {
        **load_queries(),
        **TEST_QUERIES,
        "limit_pages": f"PRAGMA max_page_count = {pages + 2}",
    }
    opened = SqliteDatabase(path, queries)
    yield opened
    await opened.close()


@pytest.fixture
async def locked(path: Path, database: SqliteDatabase) -> AsyncIterator[apsw.Connection]:
    """Another program holds the right to write."""
    await database.write(Statement(query="be_impatient"))
    holder = apsw.Connection(str(path))
    holder.execute("BEGIN IMMEDIATE")
    yield holder
    if holder.in_transaction:
        holder.execute("ROLLBACK")
    holder.close()


@pytest.fixture
async def registry(path: Path) -> AsyncIterator[Registry]:
    """Heron (a), owl (b) and wren (c), with `primary` at heron."""
    async with registry_opened(path) as found:
        for letter, name in (("a", HERON), ("b", OWL), ("c", WREN)):
            await found.add(artifact(letter), name)
        await found.set_alias(PRIMARY, HERON, who="user")
        yield found


@pytest.fixture(name="proc")
def fixture_proc() -> Iterator[Path]:
    """The /proc of a machine on which nothing runs."""
    with quiet_machine() as proc:
        yield proc
