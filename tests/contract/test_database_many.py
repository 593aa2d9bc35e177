"""What every request writes goes into the database many rows at a time."""

from __future__ import annotations

import pytest

from arbiter.storage.database import Parameters, Statement
from arbiter.storage.queries import EVERY_REQUEST, load_queries, many
from arbiter.storage.sqlite import SqliteDatabase

NUMBER = 150


def decision(number: int, *, probability: float = 1.0) -> Statement:
    row: Parameters = (
        f"dec_{number}", "chat", "house", "sha256:" + "a" * 64, "none", None, probability,
        "as asked", "{}", "local", f"2026-01-01T00:00:{number % 60:02d}",
    )  # fmt: skip
    return Statement(query="add_decision", parameters=row)


def outcome(number: int) -> Statement:
    row: Parameters = (
        f"dec_{number}", "chat", "sha256:" + "a" * 64, "success", *[None] * 11, "unknown", None,
        None, "2026-01-01T00:00:00", None, None, None, None, None,
    )  # fmt: skip
    return Statement(query="add_outcome", parameters=row)


async def stored(database: SqliteDatabase, number: int) -> tuple[bool, bool]:
    decisions = await database.read("get_decision", (f"dec_{number}",))
    outcomes = await database.read("get_outcome", (f"dec_{number}",))
    return bool(decisions), bool(outcomes)


async def test_each_row_of_many_is_stored_and_whoever_is_told_is_told(
    database: SqliteDatabase,
) -> None:
    told: list[bool] = []
    for number in range(NUMBER):
        database.enqueue(decision(number), outcome(number), then=told.append)
    await database.settle()
    assert {await stored(database, number) for number in range(NUMBER)} == {(True, True)}
    assert (told, database.dropped) == ([True] * NUMBER, 0)


@pytest.mark.parametrize("bad", [0, 70, NUMBER - 1])
async def test_one_that_is_refused_among_many_is_refused_alone(
    database: SqliteDatabase, bad: int
) -> None:
    told: dict[int, bool] = {}
    for number in range(NUMBER):
        database.enqueue(
            decision(number, probability=2.0 if number == bad else 1.0),
            outcome(number),
            then=lambda held, number=number: told.__setitem__(number, held),  # type: ignore[misc]  # mypy cannot infer a default
        )
    await database.settle()
    assert [n for n in range(NUMBER) if await stored(database, n) != (True, True)] == [bad]
    assert [number for number, held in told.items() if not held] == [bad]
    assert database.dropped == 1


async def test_who_waits_finds_what_was_written_before(database: SqliteDatabase) -> None:
    for number in range(20):
        database.enqueue(decision(number), outcome(number))
        found = await database.write(Statement(query="get_decision", parameters=(f"dec_{number}",)))
        assert len(found.rows[0]) == 1
        database.enqueue(decision(number))  # once more changes nothing
    await database.settle()
    assert database.dropped == 0


@pytest.mark.parametrize("name", EVERY_REQUEST)
def test_a_statement_for_many_has_as_many_places(name: str) -> None:
    sql = load_queries()[name]
    assert many(sql, 1) == sql
    assert many(sql, 3).count("?") == 3 * sql.count("?")
    assert sql.endswith("DO NOTHING")
