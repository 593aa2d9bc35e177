"""Files of a database, and what tests write and read there beside the house's own queries."""

from __future__ import annotations

from pathlib import Path

import apsw

from arbiter.storage.database import Statement, Value
from arbiter.storage.sqlite import SqliteDatabase

VERSION = "sha256:" + "a" * 64
UNKNOWN = "sha256:" + "f" * 64

# What tests ask beside the house's own queries: all go through the public constructor.
TEST_QUERIES = {
    "be_impatient": "PRAGMA busy_timeout = 1",
    "lift_limit": "PRAGMA max_page_count = 1000000",
    "check_integrity": "PRAGMA integrity_check",
    "speak_nonsense": "SELECT missing FROM nowhere",
    "misplace": "INSERT INTO moves (seq, name, who, why, at) VALUES ('x', 'n', 'w', 'y', 'a')",
}


def rule(task: str, why: str = "") -> Statement:
    return Statement(query="add_rule", parameters=(task, "primary", None, "[]", why, "2026-01-01"))


def gone_rule(task: str) -> Statement:
    return Statement(query="remove_rule", parameters=(task,), must_change=True)


def nameless_version() -> Statement:
    return Statement(query="add_name", parameters=("n", UNKNOWN, "alias", "2026-01-01"))


def kept(path: Path) -> list[Value]:
    """The tasks that have a rule, as another connection finds them in the file now."""
    other = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return [task for (task,) in other.execute("SELECT task FROM rules ORDER BY task")]
    finally:
        other.close()


async def tasks(database: SqliteDatabase) -> list[Value]:
    return [row[0] for row in await database.read("list_rules")]


LETTER = b"a letter to a friend, and a long one at that" * 100


def letter(path: Path) -> None:
    path.write_bytes(LETTER)


def kept_letter(path: Path) -> bool:
    return path.read_bytes() == LETTER


def folder(path: Path) -> None:
    path.mkdir()
