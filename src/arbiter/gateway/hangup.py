"""Noticing that the client hung up, whatever is going on meanwhile.

Servers tell it through ``receive()`` alone, and nobody calls that while an answer is awaited; so
someone must. https://github.com/BerriAI/litellm/issues/31499 and #30223 are what happens else:
engines go on for people who left.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import cast

from starlette.types import Receive


class Watch:
    """Cancels the work inside its context when the client hangs up, and ends that quietly.

    Ask `gone` afterwards. A cancellation by anybody else passes through.
    """

    __slots__ = ("_receive", "_watcher", "_work", "gone")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.gone = False

    def __enter__(self) -> Watch:
        """Begin to watch for the sake of the current task."""
        self._work = cast("asyncio.Task[None]", asyncio.current_task())
        self._watcher = asyncio.get_running_loop().create_task(self._wait())
        return self

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        self._work.cancel()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        """Stop watching; swallow the cancellation when it was ours and only ours."""
        self._watcher.cancel()
        return (
            self.gone
            and kind is not None
            and issubclass(kind, asyncio.CancelledError)
            and self._work.uncancel() == 0
        )
