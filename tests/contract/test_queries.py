"""The named queries."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import apsw
import pytest

from arbiter.storage.database import Row
from arbiter.storage.queries import load_queries, named
from arbiter.storage.sqlite import migrate

BAD_FILES = [
    ("-- name: one\nSELECT 1;\n-- name: one\nSELECT 2;", "two queries are called one"),
    ("-- name: one\nSELECT 1;\n-- name: Two\nSELECT 2;", "the one after it has another name"),
    ("-- name: one\n-- name: two\nSELECT 2;", "one names no query"),
    ("-- name: one\n;", "one names no query"),
]


@pytest.mark.parametrize(("text", "message"), BAD_FILES)
def test_a_file_of_queries_with_a_mistake_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        named(text)


def test_what_stands_before_the_first_name_is_a_remark() -> None:
    assert named("-- hello\n-- name: one\nSELECT 1;\n") == {"one": "SELECT 1"}


def sql(connection: apsw.Connection, query: str) -> list[Row]:
    return [tuple(row) for row in connection.execute(query, (None,) * query.count("?"))]


@pytest.mark.parametrize("name", sorted(load_queries()))
def test_every_query_is_one_statement_that_fits_the_schema(name: str) -> None:
    query = load_queries()[name]
    connection = apsw.Connection(":memory:")
    migrate(connection)
    assert ";" not in query
    assert sql(connection, f"EXPLAIN {query}")
    connection.close()


def asked() -> set[str]:
    """Every query that the package's code names."""
    found: set[str] = set()
    for file in Path(str(files("arbiter"))).rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        found.update(re.findall(r'(?:query=|\.read\(\s*)"(\w+)"', text))
    return found


def test_every_query_is_asked_and_every_asked_query_is_there() -> None:
    assert asked() == set(load_queries())
