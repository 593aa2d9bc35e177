"""The embedded database: one SQLite file, one writer thread, group commit.

Writes wait in a bounded queue; the writer takes what is there, runs it in one ``BEGIN IMMEDIATE``
transaction and commits it together. When a write has to be undone, the group is run again, each
write in a savepoint of its own. A write that somebody waits for is
committed at once; writes that nobody waits for linger up to `LINGER_S` to share a commit, which
is how little a kill can lose of what nobody was told is stored.

The writer's connection is the only one that checkpoints: two connections that did so at the same
moment could corrupt the file in SQLite before 3.51.3, so such a library is refused outright.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import apsw

from arbiter.errors import ConfigError, Conflict, SchemaTooNew, StorageError, StorageFull
from arbiter.storage.database import Parameters, Row, Statement, Written
from arbiter.storage.queries import EVERY_REQUEST, load_migrations, load_queries, many

LINGER_S = 0.02
QUEUE_BOUND = 50_000
GROUP_BOUND = 1_000
_SIZES = (64, 16, 4, 1)
"""Rows of one statement: few sizes, so that each is prepared once."""

_APPLIED = Written(applied=True, rows=())
_SAFE = ((3, 51, 3), (3, 50, 7), (3, 44, 6))
_ITS_OWN = (
    apsw.ConstraintError,
    apsw.BindingsError,
    apsw.MismatchError,
    apsw.SQLError,
    apsw.TooBigError,
    LookupError,
    OverflowError,
    TypeError,
    ValueError,
)
"""What a write can do wrong by itself; anything else is the disk's doing and fails its group."""


def is_safe_sqlite(version: str) -> bool:
    """Whether this SQLite is free of the WAL-reset bug (fixed in 3.51.3, 3.50.7 and 3.44.6).

    >>> is_safe_sqlite("3.54.1"), is_safe_sqlite("3.50.7"), is_safe_sqlite("3.51.2")
    (True, True, False)
    >>> is_safe_sqlite("3.40.1")
    False
    """
    parts = tuple(int(part) for part in version.split(".")[:3])
    return parts >= _SAFE[0] or any(
        parts[:2] == fixed[:2] and parts >= fixed for fixed in _SAFE[1:]
    )


@dataclass(slots=True)
class _Job:
    statements: tuple[Statement, ...]
    waiter: asyncio.Future[Written] | None
    then: Callable[[bool], None] | None
    scrubs: bool = False


def _is_usual(statement: Statement) -> bool:
    return statement.query in EVERY_REQUEST and not statement.must_change


def _translated(error: apsw.Error) -> StorageError | Conflict:
    if isinstance(error, apsw.ConstraintError):
        return Conflict(f"The database refuses this: {error}.")
    if isinstance(error, apsw.FullError):
        return StorageFull(hint="Free some space; requests are served meanwhile.")
    return StorageError(f"The database failed: {error}.", hint="Requests are served meanwhile.")


class SqliteDatabase:
    """A `Database` in one file. Made by `open_sqlite`."""

    def __init__(self, path: Path, queries: Mapping[str, str]) -> None:
        self.path = path
        self.dropped = 0
        """Writes that nobody waited for and that were lost: a full queue or a failing disk."""
        self._queries = queries
        self._many: dict[tuple[str, int], str] = {}
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._hurry = threading.Event()
        self._closing: asyncio.Task[None] | None = None
        self._reading = threading.Lock()
        self._writer = _connect(path, checkpoints=True)
        self._reader = _connect(path, checkpoints=False)
        self._thread = threading.Thread(target=self._run, name="arbiter-writer", daemon=True)
        self._thread.start()

    async def write(self, *statements: Statement) -> Written:
        """Commit these together and return when they are durable."""
        return await self._waited(statements)

    async def scrub(self) -> None:
        """Leave nothing of what was deleted so far in the file or in its log."""
        await self._waited((), scrubs=True)

    async def _waited(self, statements: tuple[Statement, ...], *, scrubs: bool = False) -> Written:
        if self._closing is not None:
            raise StorageError("The database is closed.")
        waiter: asyncio.Future[Written] = self._loop.create_future()
        self._jobs.put(_Job(statements, waiter, None, scrubs))
        self._hurry.set()
        return await waiter

    def enqueue(self, *statements: Statement, then: Callable[[bool], None] | None = None) -> bool:
        """Write these soon; never waits."""
        if self._closing is not None or self._jobs.qsize() >= QUEUE_BOUND:
            self.dropped += 1
            if then is not None:
                self._loop.call_soon(then, False)
            return False
        self._jobs.put(_Job(statements, None, then))
        return True

    async def read(self, query: str, parameters: Parameters = ()) -> Sequence[Row]:
        """The rows of a named SELECT, read in a thread of their own."""
        return await asyncio.to_thread(self._read, self._queries[query], parameters)

    def _read(self, sql: str, parameters: Parameters) -> Sequence[Row]:
        with self._reading:
            try:
                return list(self._reader.execute(sql, parameters))
            except apsw.Error as error:
                raise _translated(error) from error
            except UnicodeDecodeError as error:
                raise StorageError(
                    "The database holds text that is not UTF-8: another program wrote it.",
                    hint="Bring the data directory back from a copy.",
                ) from error

    async def settle(self) -> None:
        """Return when everything queued so far is durable."""
        await self.write()

    async def close(self) -> None:
        """Commit what is queued and let go."""
        if self._closing is None:
            self._jobs.put(None)
            self._hurry.set()
            self._closing = self._loop.create_task(asyncio.to_thread(self._let_go))
        await asyncio.shield(self._closing)

    def _let_go(self) -> None:
        self._thread.join()
        with self._reading:
            self._reader.close()
        self._writer.close()

    def _run(self) -> None:
        open_ = True
        while open_:
            group, open_ = self._gather()
            if group:
                self._commit(group)

    def _gather(self) -> tuple[list[_Job], bool]:
        """The next group: what is queued, after a linger for more unless somebody waits."""
        job = self._jobs.get()
        if job is not None and job.waiter is None and self._jobs.qsize() < GROUP_BOUND:
            self._hurry.wait(LINGER_S)
        self._hurry.clear()
        group: list[_Job] = []
        while job is not None:
            group.append(job)
            if len(group) >= GROUP_BOUND:
                self._hurry.set()
                return group, True
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return group, True
        return group, False

    def _commit(self, group: list[_Job]) -> None:
        results: list[Written | Exception] = []
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            results.extend(self._together(group) or self._apart(group))
            self._writer.execute("COMMIT")
        except apsw.Error as error:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            results = [_translated(error)] * len(group)
        if any(job.scrubs for job in group):
            self._empty_log(group, results)
        self._loop.call_soon_threadsafe(self._tell, group, results)

    def _empty_log(self, group: list[_Job], results: list[Written | Exception]) -> None:
        """Deleted rows are zeros in the file already; the log still has them as they were."""
        try:
            self._writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except apsw.Error as error:
            # what was committed with it is durable all the same
            for number, job in enumerate(group):
                if job.scrubs:
                    results[number] = _translated(error)

    def _together(self, group: list[_Job]) -> list[Written]:
        """Run every write of a group as it is; nothing when one of them has to be undone.

        Nearly always all of them hold, and a savepoint for each costs about as much as what
        it would undo.
        """
        execute, queries = self._writer.execute, self._queries
        results: list[Written] = []
        rows_of: dict[str, list[Parameters]] = {}
        try:
            for job in group:
                if job.waiter is None and all(_is_usual(one) for one in job.statements):
                    for statement in job.statements:
                        rows_of.setdefault(statement.query, []).append(statement.parameters)
                    results.append(_APPLIED)
                    continue
                self._put_in(rows_of)
                rows: list[tuple[Row, ...]] = []
                for statement in job.statements:
                    found = tuple(execute(queries[statement.query], statement.parameters))
                    if statement.must_change and not found:
                        return []
                    rows.append(found)
                results.append(Written(applied=True, rows=tuple(rows)))
            self._put_in(rows_of)
        except _ITS_OWN:
            return []
        return results

    def _put_in(self, rows_of: dict[str, list[Parameters]]) -> None:
        """Write the rows of what every request writes, many in a statement.

        Each statement lets go of the interpreter and waits to have it back. One by one, the rows of
        a busy house would come faster than they are written.
        """
        for query in EVERY_REQUEST:
            rows = rows_of.pop(query, ())
            at = 0
            while at < len(rows):
                count = next(size for size in _SIZES if size <= len(rows) - at)
                sql = self._many.get((query, count))
                if sql is None:
                    sql = self._many[query, count] = many(self._queries[query], count)
                self._writer.execute(sql, tuple(chain.from_iterable(rows[at : at + count])))
                at += count

    def _apart(self, group: list[_Job]) -> list[Written | Exception]:
        """Begin a group again, each write by itself."""
        if self._writer.in_transaction:
            self._writer.execute("ROLLBACK")
        self._writer.execute("BEGIN IMMEDIATE")
        return [self._attempt(job) for job in group]

    def _attempt(self, job: _Job) -> Written | Exception:
        """Run one write in a savepoint, so that its failure is its own."""
        if not job.statements:
            return Written(applied=True, rows=())
        execute = self._writer.execute
        execute("SAVEPOINT job")
        rows: list[tuple[Row, ...]] = []
        refused = False
        try:
            for statement in job.statements:
                found = tuple(execute(self._queries[statement.query], statement.parameters))
                rows.append(found)
                refused = statement.must_change and not found
                if refused:
                    execute("ROLLBACK TO job")
                    break
        except _ITS_OWN as error:
            execute("ROLLBACK TO job")
            execute("RELEASE job")
            return _translated(error) if isinstance(error, apsw.Error) else error
        execute("RELEASE job")
        return Written(applied=not refused, rows=tuple(rows))

    def _tell(self, group: list[_Job], results: Sequence[Written | Exception]) -> None:
        for job, result in zip(group, results, strict=True):
            held = isinstance(result, Written) and result.applied
            if job.waiter is not None and not job.waiter.done():
                if isinstance(result, Exception):
                    job.waiter.set_exception(result)
                else:
                    job.waiter.set_result(result)
            if job.waiter is None and isinstance(result, Exception):
                self.dropped += 1
            if job.then is not None:
                self._loop.call_soon(job.then, held)


def _connect(path: Path, *, checkpoints: bool) -> apsw.Connection:
    connection = apsw.Connection(str(path))
    connection.set_busy_timeout(5_000)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    # what a person wants forgotten must not lie about in free pages
    connection.execute("PRAGMA secure_delete = ON")
    # what a savepoint would undo; a temporary file for it costs about a seventh of a write's CPU
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute(f"PRAGMA wal_autocheckpoint = {1000 if checkpoints else 0}")
    return connection


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A database as it was at one moment. Made by `snapshot`."""

    _connection: apsw.Connection
    _queries: Mapping[str, str]

    def read(self, query: str, parameters: Parameters = ()) -> Sequence[Row]:
        """The rows of a named SELECT."""
        return list(self._connection.execute(self._queries[query], parameters))


@contextmanager
def snapshot(path: Path) -> Iterator[Snapshot]:
    """Read a house's file, while the house runs or not: nothing is written, nothing waits.

    Raises `StorageError` when it cannot be read, `SchemaTooNew` when it is a newer Arbiter's.
    """
    newest = load_migrations()[-1][0]
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            connection.set_busy_timeout(5_000)
            connection.execute("BEGIN")
            (current,) = connection.execute("PRAGMA user_version").fetchone() or (0,)
            if int(current) > newest:
                raise _too_new(int(current), newest)
            yield Snapshot(connection, load_queries())
        finally:
            connection.close()
    except apsw.Error as error:
        raise StorageError(
            f"{path} cannot be read: {error}.",
            hint="Name the data directory of a house that this Arbiter has opened once.",
        ) from error


def _too_new(current: int, newest: int) -> SchemaTooNew:
    return SchemaTooNew(
        f"The data directory is at schema {current}, this Arbiter knows {newest}.",
        hint="Upgrade Arbiter, or start with another --data-dir.",
    )


def migrate(connection: apsw.Connection) -> int:
    """Bring the schema to this release and return its number.

    Raises `SchemaTooNew` when a newer Arbiter wrote the file.
    """
    (current,) = connection.execute("PRAGMA user_version").fetchone() or (0,)
    known = load_migrations()
    if int(current) > known[-1][0]:
        raise _too_new(int(current), known[-1][0])
    for number, _, sql in known:
        if number > int(current):
            with connection:
                connection.execute(sql)
                connection.execute(f"PRAGMA user_version = {number:d}")
    return known[-1][0]


def require_safe(version: str) -> None:
    """Raise `ConfigError` when this SQLite is one that loses data."""
    if not is_safe_sqlite(version):
        raise ConfigError(
            f"SQLite {version} can lose commits (the WAL-reset bug).",
            hint="Install apsw 3.51.3 or newer.",
        )


def _prepare(path: Path) -> None:
    require_safe(apsw.sqlite_lib_version())
    try:
        if not path.exists():
            path.touch(mode=0o600)
        connection = _connect(path, checkpoints=True)
        try:
            migrate(connection)
        finally:
            connection.close()
    except (apsw.Error, OSError) as error:
        raise StorageError(
            f"{path} cannot be used as a database: {error}.",
            hint="Name another --data-dir, or move the file away.",
        ) from error


async def open_sqlite(path: Path) -> SqliteDatabase:
    """Open or make the database at this path, at this release's schema.

    Raises `StorageError` when the file cannot be used, `SchemaTooNew` when it is a newer
    Arbiter's, `ConfigError` when the SQLite library is one that loses data.
    """
    await asyncio.to_thread(_prepare, path)
    return SqliteDatabase(path, load_queries())
