"""What is opened, and what is refused and left alone."""

from __future__ import annotations

import asyncio
from pathlib import Path

import apsw
import pytest
from tests.contract.database_files import folder, kept, kept_letter, letter, rule

from arbiter.errors import ConfigError, SchemaTooNew, StorageError
from arbiter.storage.sqlite import is_safe_sqlite, open_sqlite, require_safe


async def test_two_connections_of_one_file_lose_no_write(path: Path) -> None:
    one, other = await open_sqlite(path), await open_sqlite(path)
    await asyncio.gather(
        *(
            database.write(rule(f"{n:02}{name}"))
            for n in range(20)
            for name, database in (("a", one), ("b", other))
        )
    )
    await one.close()
    await other.close()
    assert kept(path) == [f"{n:02}{name}" for n in range(20) for name in "ab"]


async def test_a_newer_schema_is_refused_and_left_alone(path: Path) -> None:
    newer = apsw.Connection(str(path))
    newer.execute("PRAGMA user_version = 9999")
    newer.close()
    with pytest.raises(SchemaTooNew, match="at schema 9999"):
        await open_sqlite(path)
    again = apsw.Connection(str(path))
    assert again.pragma("user_version") == 9999
    again.close()


async def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path) -> None:
    letter(path)
    with pytest.raises(StorageError, match="not a database"):
        await open_sqlite(path)
    assert kept_letter(path)


async def test_a_folder_in_the_place_of_the_file_is_refused(path: Path) -> None:
    folder(path)
    with pytest.raises(StorageError, match="cannot be used as a database"):
        await open_sqlite(path)


async def test_a_file_in_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    # A bare FileNotFoundError came out.
    with pytest.raises(StorageError, match="cannot be used as a database"):
        await open_sqlite(tmp_path / "absent" / "arbiter.db")


async def test_nobody_else_may_read_the_files(path: Path) -> None:
    database = await open_sqlite(path)
    await database.write(rule("one"))
    modes = {file.name: oct(file.stat().st_mode & 0o777) for file in path.parent.iterdir()}
    await database.close()
    assert modes == {
        "arbiter.db": "0o600",
        "arbiter.db-wal": "0o600",
        "arbiter.db-shm": "0o600",
    }


VERSIONS_OF_SQLITE = [
    ("3.53.0", True),
    ("3.51.3", True),
    ("3.51.2", False),
    ("3.51.0", False),
    ("3.50.7", True),
    ("3.50.8", True),
    ("3.50.6", False),
    ("3.45.0", False),
    ("3.44.6", True),
    ("3.44.5", False),
    ("3.40.1", False),
    ("3.7.0", False),
    ("4.0", True),
]


@pytest.mark.parametrize(("version", "safe"), VERSIONS_OF_SQLITE)
def test_only_libraries_free_of_the_wal_reset_bug_are_safe(version: str, *, safe: bool) -> None:
    assert is_safe_sqlite(version) is safe


def test_a_library_that_loses_commits_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"SQLite 3\.51\.2 can lose commits"):
        require_safe("3.51.2")


def test_the_library_at_hand_is_safe() -> None:
    require_safe(apsw.sqlite_lib_version())
