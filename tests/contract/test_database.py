"""What the seam to a database promises, kept by SQLite on a real file."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from importlib.resources import files
from pathlib import Path

import apsw
import pytest

from arbiter.errors import ConfigError, Conflict, SchemaTooNew, StorageError, StorageFull
from arbiter.storage.database import Row, Statement, Value, Written
from arbiter.storage.queries import load_queries, named
from arbiter.storage.sqlite import (
    GROUP_BOUND,
    QUEUE_BOUND,
    SqliteDatabase,
    is_safe_sqlite,
    migrate,
    open_sqlite,
    require_safe,
    snapshot,
)

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


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "arbiter.db"


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


# -- durable, in order, in groups


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


# -- refusals, which are a write's own


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


# -- a full queue, a full disk, a locked file


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


# -- closing


async def test_closing_twice_is_closing_once(path: Path) -> None:
    database = await open_sqlite(path)
    await asyncio.gather(database.close(), database.close())
    await database.close()
    assert kept(path) == []


async def test_a_close_that_is_cancelled_still_closes(path: Path) -> None:
    # The next close waited for ever, and the connections stayed open.
    database = await open_sqlite(path)
    closing = asyncio.create_task(database.close())
    await asyncio.wait({closing}, timeout=0)
    closing.cancel()
    await asyncio.wait({closing})
    await database.close()
    with pytest.raises(StorageError):
        await database.read("list_rules")


async def test_a_closed_database_refuses_writes(path: Path) -> None:
    database = await open_sqlite(path)
    await database.close()
    with pytest.raises(StorageError, match="closed"):
        await database.write(rule("one"))


async def test_a_closed_database_drops_and_says_so(path: Path) -> None:
    database = await open_sqlite(path)
    await database.close()
    told: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    assert not database.enqueue(rule("one"), then=told.set_result)
    assert not await told
    assert database.dropped == 1


# -- killed in the middle

WRITES_FOR_EVER = """
import asyncio, sys
from pathlib import Path
from arbiter.storage.database import Statement
from arbiter.storage.sqlite import open_sqlite

async def main():
    database = await open_sqlite(Path(sys.argv[1]))
    number = 0
    while True:
        for _ in range(3):
            number += 1
            said = (f"{number:09}", "primary", None, "[]", "", "")
            row = Statement(query="add_rule", parameters=said)
            last = database.enqueue(row) if number % 3 else await database.write(row)
        print(number, flush=True)

asyncio.run(main())
"""


async def test_a_kill_loses_nothing_that_was_acknowledged_and_leaves_no_hole(path: Path) -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WRITES_FOR_EVER, str(path), stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    for _ in range(40):
        await child.stdout.readline()
    child.kill()
    rest = await child.stdout.read()
    await child.wait()
    acknowledged = max([120, *(int(line) for line in rest.split(b"\n")[:-1])])
    again = await open_sqlite(path)
    found = await tasks(again)
    await again.close()
    assert len(found) >= acknowledged
    assert found == [f"{number:09}" for number in range(1, len(found) + 1)]


# -- opening


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


# -- reading beside a house


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


LETTER = b"a letter to a friend, and a long one at that" * 100


def letter(path: Path) -> None:
    path.write_bytes(LETTER)


def kept_letter(path: Path) -> bool:
    return path.read_bytes() == LETTER


async def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path) -> None:
    letter(path)
    with pytest.raises(StorageError, match="not a database"):
        await open_sqlite(path)
    assert kept_letter(path)


def folder(path: Path) -> None:
    path.mkdir()


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


# -- the named queries


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
