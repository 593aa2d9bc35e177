"""Reading beside a house that writes."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest
from tests.contract.database_files import kept_letter, letter, rule

from arbiter.errors import SchemaTooNew, StorageError
from arbiter.storage.sqlite import open_sqlite, snapshot


async def test_a_snapshot_is_of_one_moment_while_the_house_writes_on(path: Path) -> None:
    database = await open_sqlite(path)
    await database.write(rule("one"))
    with snapshot(path) as before:
        assert [row[0] for row in before.read("list_rules")] == ["one"]
        await database.write(rule("two"))
        assert [row[0] for row in before.read("list_rules")] == ["one"]
    with snapshot(path) as after:
        assert len(after.read("list_rules")) == 2
    await database.close()


def content(path: Path) -> bytes:
    return path.read_bytes()


async def test_a_snapshot_of_a_closed_house_writes_nothing(path: Path) -> None:
    database = await open_sqlite(path)
    await database.write(rule("one"))
    await database.close()
    before = content(path)
    with snapshot(path) as record:
        assert len(record.read("list_rules")) == 1
    assert content(path) == before


def test_a_snapshot_of_what_is_no_house_is_refused(path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be read"), snapshot(path):
        pass
    assert not path.exists()
    letter(path)
    with pytest.raises(StorageError, match="not a database"), snapshot(path):
        pass
    assert kept_letter(path)


def test_a_snapshot_of_a_newer_schema_is_refused(path: Path) -> None:
    newer = apsw.Connection(str(path))
    newer.execute("PRAGMA user_version = 9999")
    newer.close()
    with pytest.raises(SchemaTooNew, match="at schema 9999"), snapshot(path):
        pass
