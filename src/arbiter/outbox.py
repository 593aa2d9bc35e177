"""Writes that are gathered: what is to go out in one turn of the loop goes out in one go.

Whoever is written to sleeps, and waking it costs as much as the write. Written in between the work
for several requests, each of them wakes it anew; one behind the other, the first one alone does.
Nothing in this module knows what is written, or to whom.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

Write = Callable[[], None]
"""Writes what there is by then, if anything; nothing is wrong with being called for nothing."""


class Outbox:
    """The writes to one program, or of one server, until the loop has done what it has at hand."""

    __slots__ = ("_loop", "_writes")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._writes: list[Write] = []

    def put(self, write: Write) -> None:
        """Have this called in the loop's next turn, in order."""
        if not self._writes:
            self._loop.call_soon(self._empty)
        self._writes.append(write)

    def _empty(self) -> None:
        writes, self._writes = self._writes, []
        for write in writes:
            try:
                write()
            except Exception as error:  # noqa: BLE001  # as a loop does with what it calls
                self._loop.call_exception_handler(
                    {"message": "a write has failed", "exception": error}
                )
