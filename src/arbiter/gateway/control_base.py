"""What the files of the control API share: bodies, and answers that come line by line."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from arbiter.errors import ArbiterError
from arbiter.gateway.rendering import error_body
from arbiter.inference import Limits
from arbiter.refs import TaskName

Plain = dict[str, object]
Say = Callable[[Plain], None]

WHO: Final = "operator"
"""Who did it, in the record, when it was done through the control API."""


class ControlBody(BaseModel):
    """A request's JSON: no field that is not known, and none changed later."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class LimitsBody(ControlBody):
    """Demands of a task or a request."""

    needs: tuple[str, ...] = Field(
        (), description="What the model must be able to do, such as tools or vision."
    )
    threshold: float | None = Field(None, ge=0, le=1, description="Least quality, from 0 to 1.")
    max_latency_ms: float | None = Field(
        None, gt=0, description="Longest time that an answer may take, milliseconds."
    )
    max_memory_mb: float | None = Field(
        None, gt=0, description="Most memory that the model may take, MB."
    )

    def limits(self) -> Limits:
        """As the house's own value."""
        return Limits(
            needs=frozenset(self.needs),
            threshold=self.threshold,
            max_latency_ms=self.max_latency_ms,
            max_memory_mb=self.max_memory_mb,
        )


class Lines(StreamingResponse):
    """An answer that comes line by line, each a JSON object."""

    media_type = "application/x-ndjson"


def streamed(work: Callable[[Say], Awaitable[Plain]], *, etag: str | None = None) -> Lines:
    """Run work to its end, telling its progress line by line; the last line is its result.

    A listener that goes away does not stop the work: a half-registered model would be worse.
    """
    lines: asyncio.Queue[Plain | None] = asyncio.Queue()

    async def run() -> None:
        try:
            lines.put_nowait({"result": await work(lines.put_nowait)})
        except ArbiterError as error:
            lines.put_nowait(json.loads(error_body(error, to_admin=True)))
        finally:
            lines.put_nowait(None)

    running = asyncio.create_task(run())

    async def stream() -> AsyncIterator[bytes]:
        while (line := await lines.get()) is not None:
            yield json.dumps(line).encode() + b"\n"
        await running

    return Lines(stream(), headers=None if etag is None else {"etag": etag})


def telling(say: Say) -> Callable[[TaskName, int, int], None]:
    """Progress through the cases of tasks, as lines."""

    def progress(task: TaskName, done: int, total: int) -> None:
        say({"progress": {"task": task, "done": done, "total": total}})

    return progress
