"""One request on its way, and what became of it so far."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

import msgspec

from arbiter.dispatch.route import Route
from arbiter.errors import (
    ArbiterError,
    Busy,
    EngineError,
    Unexpected,
)
from arbiter.inference import (
    Ask,
    Chunk,
    Decided,
)
from arbiter.knowledge.outcome import NO_FAULT, Attempt, Status
from arbiter.knowledge.tries import Vain
from arbiter.pool.instance import Lease
from arbiter.pool.reply import Served
from arbiter.refs import VersionId

if TYPE_CHECKING:
    # needs the extra otel
    from arbiter.tracing.request import Trace


class Moved(Exception):
    """A version failed where it is served, before its first byte, and is to be had elsewhere.

    at: the instance that failed, or was busy.
    """

    def __init__(self, why: EngineError | Busy, at: str) -> None:
        self.why = why
        self.at = at
        super().__init__(why.message)


Begun = tuple[Chunk, AsyncGenerator[Chunk, None], Lease]
"""The first chunk of an answer, the generator of the others, and the lease that it holds."""


class Journey(msgspec.Struct, kw_only=True):
    """One request on its way, and what became of it so far."""

    ask: Ask
    route: Route
    decided: Decided
    started: float
    attempts: list[Attempt] = []
    vain: list[Vain] = []
    """Every try that gave no answer, those of the same version too."""
    begun: Begun | None = None
    served: Served | None = None
    failed: ArbiterError | None = None
    tried: VersionId
    """The version that was asked last."""
    is_spent: bool = False
    """Whether the house tries nothing again for it, because it has for too many."""
    wait_ms: float | None = None
    """From the request's arrival to the slot that serves it."""
    trace: Trace | None = None


def status_of(
    served: Served | None, failed: ArbiterError | None
) -> tuple[Status, ArbiterError | None]:
    """How a request ended, and its error if there was one."""
    if served is not None and served.finished:
        return Status.SUCCESS, None
    error = failed or (served.error if served is not None else None)
    if error is None:
        return Status.CANCELLED, None
    fault = isinstance(error, Unexpected) or not error.ours
    return (Status.FAILURE if fault else Status.REFUSED), error


def is_no_fault(error: ArbiterError | None) -> bool:
    """Whether an error says nothing against the version that was asked."""
    return error is not None and error.code in NO_FAULT
