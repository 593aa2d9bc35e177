"""The ledger over a real file: an entry with its change or not at all, one after another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import apsw
import pytest

from arbiter.clock import ManualClock
from arbiter.errors import Conflict, InvalidField, StorageError
from arbiter.ledger import Fault, Kind, Ledger, Note, link
from arbiter.storage.database import Statement
from arbiter.storage.queries import load_queries
from arbiter.storage.sqlite import SqliteDatabase, open_sqlite

DISK = {
    "fill_disk": "PRAGMA max_page_count = 1",  # no smaller than the file is now
    "empty_disk": "PRAGMA max_page_count = 1000000",
}


def note(number: int = 1, *, kind: Kind = Kind.NAME_ADDED) -> Note:
    return Note(kind=kind, who="ada", body={"number": number})


def rule(task: str) -> Statement:
    return Statement(query="add_rule", parameters=(task, "primary", None, "[]", "", "2026-01-01"))


REFUSED = Statement(query="remove_rule", parameters=("absent",), must_change=True)
FORBIDDEN = Statement(query="add_name", parameters=("n", "sha256:none", "alias", "t"))


@dataclass
class Room:
    """A ledger, its file, and what the file holds."""

    ledger: Ledger
    database: SqliteDatabase
    path: Path

    async def numbers(self) -> list[object]:
        """What was noted, the oldest first."""
        return [entry.plain() for entry in reversed(await self.ledger.list())]

    async def rules(self) -> list[object]:
        return [row[0] for row in await self.database.read("list_rules")]

    def tamper(self, sql: str, *parameters: str) -> None:
        """What somebody does who can write the file."""
        other = apsw.Connection(str(self.path))
        other.execute(sql, parameters)
        other.close()


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[Room]:
    await (await open_sqlite(path)).close()
    database = SqliteDatabase(path, {**load_queries(), **DISK})
    ledger = Ledger(database, ManualClock())
    try:
        await ledger.load()
        yield Room(ledger, database, path)
    finally:
        await database.close()


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    async with opened(tmp_path / "arbiter.db") as found:
        yield found


@pytest.fixture
async def written(room: Room) -> Room:
    """Three entries."""
    await room.ledger.write(notes=[note(1), note(2)])
    await room.ledger.write(notes=[note(3, kind=Kind.ROLLOUT_STARTED)])
    return room


# -- together, or not at all


async def test_a_change_and_its_entries_are_committed_together(room: Room) -> None:
    done = await room.ledger.write(rule("sums"), notes=[note(1), note(2)])
    assert (done.applied, await room.rules()) == (True, ["sums"])
    assert await room.numbers() == [{"number": 1}, {"number": 2}]


async def test_an_entry_says_when_by_whom_and_what(written: Room) -> None:
    first = (await written.ledger.list())[-1]
    assert first == link(note(1), at="2026-01-01T00:00:00+00:00", after=None)


async def test_a_change_that_is_refused_leaves_no_entry_and_the_head_where_it_was(
    written: Room,
) -> None:
    before = await written.ledger.head()
    done = await written.ledger.write(rule("sums"), REFUSED, notes=[note(9)])
    assert (done.applied, await written.rules()) == (False, [])
    assert await written.ledger.head() == before
    await written.ledger.write(notes=[note(4)])
    assert (await written.ledger.verify()).good == 4


async def test_a_change_that_the_schema_forbids_leaves_no_entry(written: Room) -> None:
    before = await written.ledger.head()
    with pytest.raises(Conflict, match="FOREIGN KEY"):
        await written.ledger.write(FORBIDDEN, notes=[note(9)])
    assert await written.ledger.head() == before
    await written.ledger.write(notes=[note(4)])
    assert (await written.ledger.verify()).good == 4


async def test_a_note_that_cannot_be_written_stops_its_change(room: Room) -> None:
    bad = Note(kind=Kind.ALIAS_SET, who="ada", body={"why": "\ud800"})
    with pytest.raises(InvalidField):
        await room.ledger.write(rule("sums"), notes=[note(1), bad])
    assert (await room.rules(), await room.numbers()) == ([], [])


async def test_a_change_without_a_note_is_written_as_ever(room: Room) -> None:
    await room.ledger.write(rule("sums"))
    assert (await room.rules(), await room.ledger.head()) == (["sums"], None)


async def test_what_the_disk_did_not_take_is_no_entry(written: Room) -> None:
    await written.database.write(Statement(query="fill_disk"))
    big = Note(kind=Kind.ALIAS_SET, who="ada", body={"why": "x" * 1_000_000})
    with pytest.raises(StorageError):
        await written.ledger.write(rule("sums"), notes=[big])
    await written.database.write(Statement(query="empty_disk"))
    await written.ledger.write(notes=[note(4)])
    assert (await written.ledger.verify()).good == 4
    assert await written.rules() == []


# -- one after another


async def test_many_at_once_make_one_chain(room: Room) -> None:
    expected = [{"number": number} for number in range(40)]
    await asyncio.gather(*(room.ledger.write(notes=[note(number)]) for number in range(40)))
    assert await room.numbers() == expected
    assert (await room.ledger.verify()).bad is None


async def test_whoever_is_cancelled_while_it_is_written_does_not_break_the_chain(
    room: Room,
) -> None:
    # the write goes on without its writer: the head is one further than the ledger was told
    for number in range(20):
        writing = asyncio.create_task(room.ledger.write(notes=[note(number)]))
        for _ in range(number % 4):
            await asyncio.wait({writing}, timeout=0)
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
    await room.ledger.write(notes=[note(99)])
    assert (await room.ledger.verify()).bad is None
    assert (await room.numbers())[-1] == {"number": 99}


async def test_a_chain_goes_on_where_it_ended_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "arbiter.db"
    for number in range(3):
        async with opened(path) as room:
            await room.ledger.write(notes=[note(number)])
    async with opened(path) as room:
        assert (await room.ledger.verify()).good == 3


async def test_a_second_writer_is_told_of_and_nothing_is_changed(written: Room) -> None:
    async with opened(written.path) as other:
        await other.ledger.write(notes=[note(4)])
        with pytest.raises(Conflict) as caught:
            await written.ledger.write(rule("sums"), notes=[note(5)])
    assert str(caught.value) == (
        "Another program wrote to the ledger. "
        "Nothing was changed; see what it wrote with: arbiter ledger list."
    )
    assert await written.rules() == []
    await written.ledger.write(rule("sums"), notes=[note(5)])
    assert (await written.ledger.verify()).good == 5


# -- looking


async def test_the_newest_comes_first_and_no_more_than_was_asked_for(written: Room) -> None:
    assert [entry.seq for entry in await written.ledger.list(limit=2)] == [3, 2]


ASKED = [
    (None, [3, 2, 1]),
    ("name", [2, 1]),
    ("name.added", [2, 1]),
    ("rollout", [3]),
    ("alias", []),
]


@pytest.mark.parametrize(("kind", "expected"), ASKED)
async def test_a_kind_or_a_group_of_kinds_may_be_asked_for(
    written: Room, kind: str | None, expected: list[int]
) -> None:
    assert [entry.seq for entry in await written.ledger.list(kind=kind)] == expected


@pytest.mark.parametrize("kind", ["lunch", "%", "name.", ""])
async def test_a_kind_that_is_none_is_refused(written: Room, kind: str) -> None:
    with pytest.raises(InvalidField, match=r"The kinds are alias\.set, "):
        await written.ledger.list(kind=kind)


async def test_every_entry_of_some_kinds_comes_in_order(written: Room) -> None:
    found = await written.ledger.of(Kind.ROLLOUT_STARTED, Kind.NAME_ADDED)
    assert [entry.seq for entry in found] == [1, 2, 3]


# -- checking what is in the file

TAMPERED = [
    ("UPDATE ledger SET who = 'eve' WHERE seq = 2", 2, Fault.HASH),
    ("UPDATE ledger SET at = '2025-01-01T00:00:00+00:00' WHERE seq = 1", 1, Fault.HASH),
    ("UPDATE ledger SET body = '{\"number\":9}' WHERE seq = 3", 3, Fault.HASH),
    ("UPDATE ledger SET kind = 'name.moved' WHERE seq = 2", 2, Fault.HASH),
    ("UPDATE ledger SET seq = 7 WHERE seq = 2", 2, Fault.GAP),
    ("DELETE FROM ledger WHERE seq = 1", 1, Fault.GAP),
    ("DELETE FROM ledger WHERE seq = 2", 2, Fault.GAP),
    ("UPDATE ledger SET hash = 'sha256:' || substr(hash, 8, 63) || 'x'", 1, Fault.HASH),
]


@pytest.mark.parametrize(("sql", "seq", "fault"), TAMPERED)
async def test_what_somebody_did_to_the_file_is_found(
    written: Room, sql: str, seq: int, fault: Fault
) -> None:
    written.tamper(sql)
    bad = (await written.ledger.verify()).bad
    assert bad is not None
    assert (bad.seq, bad.fault) == (seq, fault)


async def test_a_chain_cut_off_under_a_running_house_is_found(written: Room) -> None:
    written.tamper("DELETE FROM ledger WHERE seq = 3")
    verdict = await written.ledger.verify()
    assert verdict.bad is not None
    assert (verdict.good, verdict.bad.fault) == (2, Fault.HEAD)


async def test_a_chain_cut_off_while_the_house_was_closed_is_found_by_a_head_written_down(
    tmp_path: Path,
) -> None:
    path = tmp_path / "arbiter.db"
    async with opened(path) as room:
        await room.ledger.write(notes=[note(1), note(2)])
        head = (await room.ledger.verify()).head
        assert head is not None
        room.tamper("DELETE FROM ledger WHERE seq = 2")
    async with opened(path) as room:
        assert (await room.ledger.verify()).bad is None
        bad = (await room.ledger.verify(head)).bad
        assert bad is not None
        assert bad.fault is Fault.HEAD


async def test_bytes_that_are_no_text_are_told_as_a_fault_of_the_file(written: Room) -> None:
    # UnicodeDecodeError came out
    written.tamper("UPDATE ledger SET who = CAST(x'ff41' AS TEXT) WHERE seq = 2")
    with pytest.raises(StorageError, match="holds text that is not UTF-8"):
        await written.ledger.verify()
