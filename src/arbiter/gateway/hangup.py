"""Noticing that the client hung up, whatever is going on meanwhile.

Our own server says so itself (`Line`). Any other tells it through ``receive()`` alone, and nobody
calls that while an answer is awaited; so a task must.
https://github.com/BerriAI/litellm/issues/31499 and #30223 are what happens else: engines go on for
people who left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import cast

from starlette.types import Receive


class Line:
    """What a server knows of one connection: whether it is lost, and whom to tell when it is."""

    __slots__ = ("is_lost", "listener")

    def __init__(self) -> None:
        self.is_lost = False
        self.listener: Callable[[], None] | None = None

    def cut(self) -> None:
        """The connection is gone."""
        self.is_lost = True
        if self.listener is not None:
            self.listener()


class Watch:
    """Cancels the work inside its context when the client hangs up, and ends that quietly.

    Ask `gone` afterwards. A cancellation by anybody else passes through.
    """

    __slots__ = ("_line", "_receive", "_watcher", "_work", "gone")

    def __init__(self, receive: Receive, line: Line | None = None) -> None:
        self._receive = receive
        self._line = line
        self._watcher: asyncio.Task[None] | None = None
        self.gone = False

    def __enter__(self) -> Watch:
        """Begin to watch for the sake of the current task."""
        self._work = cast("asyncio.Task[None]", asyncio.current_task())
        if self._line is None:
            self._watcher = asyncio.get_running_loop().create_task(self._wait())
        elif self._line.is_lost:
            self._left()
        else:
            self._line.listener = self._left
        return self

    def _left(self) -> None:
        self.gone = True
        self._work.cancel()

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._left()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        """Stop watching; swallow the cancellation when it was ours and only ours."""
        if self._watcher is not None:
            self._watcher.cancel()
        if self._line is not None:
            self._line.listener = None
        return (
            self.gone
            and kind is not None
            and issubclass(kind, asyncio.CancelledError)
            and self._work.uncancel() == 0
        )
