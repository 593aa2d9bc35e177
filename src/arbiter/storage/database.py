"""The seam to a database: named queries in, rows out, and what "durable" means.

One writer. Writes are queued and committed in groups: `write` returns when its group is on disk,
`enqueue` does not wait, is bounded, and counts what it had to drop. The request path only ever
enqueues. Rows are plain tuples in the order that the query's SELECT names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

Value = str | int | float | None
Row = tuple[Value, ...]
Parameters = tuple[Value, ...]


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """A named query with its parameters.

    must_change: an empty result is a refusal, and rolls the whole write back.
    """

    query: str
    parameters: Parameters = ()
    must_change: bool = False


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a write: the rows that each statement returned, and whether all applied."""

    applied: bool
    rows: tuple[tuple[Row, ...], ...]


class Database(Protocol):
    """Where the house keeps what it must not forget."""

    async def write(self, *statements: Statement) -> Written:
        """Commit these together, or none of them; return when they are durable.

        Raises `StorageError` when the disk fails, `Conflict` when the schema forbids it.
        """
        ...

    def enqueue(self, *statements: Statement, then: Callable[[bool], None] | None = None) -> bool:
        """Write these soon, in order with every other write. False: the queue is full, dropped.

        then is called in the event loop: with True after the commit that holds them, with False
        when they were refused, or lost to a failing disk or a full queue.
        """
        ...

    async def read(self, query: str, parameters: Parameters = ()) -> Sequence[Row]:
        """The rows of a named SELECT, as of the last commit."""
        ...

    async def scrub(self) -> None:
        """Leave nothing of what was deleted so far in the files. Raises `StorageError`."""
        ...

    async def settle(self) -> None:
        """Return when everything queued so far is durable."""
        ...

    async def close(self) -> None:
        """Commit what is queued and let go. Idempotent."""
        ...
