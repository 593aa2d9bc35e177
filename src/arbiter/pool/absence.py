"""Whether the server behind a lease was found gone, and the one wait that this ends.

An event and two tasks would do the same, and cost every request more than the choice of its model.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TypeVar

from arbiter.errors import InstanceLost

T = TypeVar("T")

_WORDS = "The server was found gone before its answer began."


class Absence:
    """Set once, by whoever finds the server gone."""

    __slots__ = ("_waits", "is_set")

    def __init__(self) -> None:
        self.is_set = False
        self._waits: asyncio.Task[object] | None = None

    def set(self) -> None:
        """The server is gone: whoever waits need not."""
        self.is_set = True
        if self._waits is not None:
            self._waits.cancel()
            self._waits = None

    async def next_of(self, pieces: AsyncIterator[T]) -> T:
        """The next piece. Raises `InstanceLost` as soon as the server is found gone.

        A cancellation from elsewhere stays one: it is told apart as `asyncio.timeout` does.
        """
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("only a task can be called off")
        if self.is_set:
            raise InstanceLost(_WORDS)
        cancelled_before = task.cancelling()
        self._waits = task
        try:
            return await anext(pieces)
        except asyncio.CancelledError as error:
            if self._waits is not task and task.uncancel() <= cancelled_before:
                raise InstanceLost(_WORDS) from error
            raise
        finally:
            self._waits = None
