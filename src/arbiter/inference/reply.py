"""An answer that has begun, what it waited for, and who gives one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import msgspec

from arbiter.inference.ask import Ask
from arbiter.inference.chunks import Chunk
from arbiter.inference.decided import Decided
from arbiter.refs import DecisionId, TaskName


class Reply(Protocol):
    """An answer that has begun: the first byte is there, so nothing is retried any more."""

    @property
    def decided(self) -> Decided:
        """Who answers, and why."""
        ...

    def chunks(self) -> AsyncIterator[Chunk]:
        """The answer, piece by piece; `Finish` is last. Raises `StreamCut` when the engine dies."""
        ...

    def tally(self) -> str:
        """What it took, in short: names and numbers; empty before its end."""
        ...


class Awaited(msgspec.Struct, frozen=True, kw_only=True):
    """What a request waits for before its answer begins, in words."""

    decision: DecisionId
    task: TaskName
    sentence: str


class Answer(Protocol):
    """Whoever answers a request: dispatch does, and app hands it to whoever needs answers.

    Leaving the context before the end tells the engine to stop.
    """

    def answer(self, ask: Ask) -> AbstractAsyncContextManager[Reply]:
        """Enter when the first chunk is there. Raises any `ArbiterError` before that."""
        ...
