"""One request and its reply, whatever was asked for: from an `Ask` to bytes.

Once a stream has begun, an error is an event in it, never a second response, and the stream then
ends without its usual end. The answer's context is left before the last bytes go out: by the time a
client sees the end, the slot is free and the decision can be asked about.

How an answer looks is not known here: a `Writer` says it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import msgspec
from msgspec import structs
from starlette.types import Receive, Send

from arbiter.errors import ArbiterError, ShuttingDown, StreamCut
from arbiter.gateway.hangup import Line, Watch
from arbiter.gateway.rendering import ErrorBody, Header, error_body, known, send_error, send_json
from arbiter.gateway.request_ids import X_REQUEST_ID, client_id
from arbiter.gateway.rooms import Rooms
from arbiter.gateway.security import Caller, Head
from arbiter.gateway.several import Several
from arbiter.gateway.waiting import Patiently
from arbiter.inference import Ask, Awaited, Chunk, Decided, Finish, Reply

_MAX_REASON = 200
_TRACE = (b"traceparent", b"tracestate")
_UNPRINTABLE = dict.fromkeys((*range(32), *range(127, 160)), " ")

SSE: tuple[Header, ...] = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx would collect the stream otherwise
)
NDJSON: tuple[Header, ...] = ((b"content-type", b"application/x-ndjson"), *SSE[1:])


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A request that came through the door: its caller is known and its body is read."""

    receive: Receive
    send: Send
    head: Head
    caller: Caller
    path: str
    body: bytes = b""
    line: Line | None = None
    """The connection, where the server tells when it is lost."""


class Frames(Protocol):
    """The events of one stream. opening: what goes out with the first piece, or with the end."""

    opening: bytes

    def piece(self, chunk: Chunk) -> bytes:
        """The event for a piece of the answer; nothing for one that says nothing."""
        ...

    def ending(self, finish: Finish) -> bytes:
        """The last events."""
        ...

    def failing(self, error: ArbiterError) -> bytes:
        """The last event of a stream that breaks off."""
        ...


Whole = Callable[[Decided, Sequence[Chunk], Finish], bytes]
"""Writes an answer in one piece."""

Streamed = Callable[[Decided], Frames]
"""Begins to write one as a stream."""


def broken_stream(error: ArbiterError, decision: str | None = None) -> bytes:
    """The only event of a stream that fails before its answer began, for OpenAI's clients."""
    return b"data: %s\n\n" % error_body(error, decision)


class Writer(msgspec.Struct, frozen=True, kw_only=True):
    """How an answer becomes bytes. streamed: None for what never comes in pieces.

    error: how what went wrong is told before anything is out. stream: the headers of a stream.
    broken: the event of a stream in which nothing but comments has gone out; None: it has no
    comments, so whoever waits for it is told nothing. id_header: in which its clients look for the
    id of the request.
    """

    whole: Whole
    streamed: Streamed | None = None
    error: ErrorBody = error_body
    stream: tuple[Header, ...] = SSE
    broken: ErrorBody | None = broken_stream
    id_header: bytes = X_REQUEST_ID


async def exchange(request: Request, rooms: Rooms, ask: Ask, writer: Writer) -> None:
    """Have a request answered, and send the answer or what went wrong."""
    if rooms.reads_traces:
        ask = structs.replace(ask, trace=trace_of(request.head))
    sent_as = client_id(request.head)
    if sent_as is not None:
        ask = structs.replace(ask, sent_as=sent_as)
    under_way = _Exchange(request, rooms, writer)
    allowance = request.caller.allowance
    try:
        if allowance is None:
            await under_way.answer(ask)
        else:
            with allowance.one():
                try:
                    await under_way.answer(ask)
                finally:
                    allowance.spend(under_way.tokens)
    except asyncio.CancelledError:
        # Not the client's doing, so the server's: it closes and gave up waiting for this one.
        closing = ShuttingDown()
        await under_way.fail(closing, under_way.id_with(closing))
    except Exception as error:  # noqa: BLE001  # a client must get an answer; it is logged
        found = under_way.id_with(error)
        await under_way.fail(known(error, request=found, sent_as=sent_as), found)


def trace_of(head: Head) -> tuple[tuple[str, str], ...]:
    """The headers by which a client names its trace (W3C Trace Context); what is odd is left out.

    >>> head = Head({b"traceparent": b"00-1-2-01", b"tracestate": b"a=1"})
    >>> head.doubled = {b"tracestate"}
    >>> trace_of(head)
    (('traceparent', '00-1-2-01'),)
    """
    found = [
        (name.decode(), head[name].decode("ascii", "replace"))
        for name in _TRACE
        if name in head and name not in head.doubled
    ]
    return tuple(found)


class _Exchange:
    """What was decided about a request, and whether bytes are out already."""

    __slots__ = (
        "_line",
        "_receive",
        "_rooms",
        "_send",
        "_writer",
        "decided",
        "finish",
        "frames",
        "is_ending",
        "is_streaming",
        "pieces",
    )

    def __init__(self, request: Request, rooms: Rooms, writer: Writer) -> None:
        self._receive = request.receive
        self._line = request.line
        self._send = request.send
        self._rooms = rooms
        self._writer = writer
        self.decided: Decided | None = None
        self.frames: Frames | None = None
        """What writes the stream, once the answer has begun."""
        self.is_streaming = False
        """Whether a stream has begun, if only with comments."""
        self.is_ending = False
        self.finish: Finish | None = None
        self.pieces = 0
        """How many came, the end included: at least one token each."""

    @property
    def tokens(self) -> int:
        """What the answer came to; of one that broke off, or was not counted, at least so many."""
        usage = None if self.finish is None else self.finish.usage
        if usage is None:
            return self.pieces
        return (usage.prompt_tokens or 0) + (usage.completion_tokens or self.pieces)

    async def answer(self, ask: Ask) -> None:
        """Send the answer; nothing when the client hangs up."""
        last = b""
        streamed = self._writer.streamed if ask.stream else None
        with Watch(self._receive, self._line) as watch:
            async with self._answering(ask, is_told=streamed is not None) as reply:
                decided = self.decided = reply.decided
                if streamed is not None:
                    last = await self._stream(decided, streamed(decided), reply.chunks())
                else:
                    last = await self._whole(decided, reply.chunks())
        if watch.gone:
            return
        self.is_ending = True
        if streamed is not None:
            await self._send({"type": "http.response.body", "body": last})
        else:
            headers = decision_headers(decided, self._writer.id_header)
            tally = reply.tally()
            if tally:
                headers.append((b"x-arbiter-receipt", tally.encode()))
            await send_json(self._send, last, headers=headers)

    def _answering(self, ask: Ask, *, is_told: bool) -> AbstractAsyncContextManager[Reply]:
        """The answer under way; is_told: its client hears meanwhile what it waits for."""
        answer, after_s = self._rooms.answer, self._rooms.tell_after_s
        if not (is_told and after_s) or self._writer.broken is None:
            return answer.answer(ask)
        if isinstance(answer, Several):
            return answer.answer(ask, each=self._patiently)
        return self._patiently(answer.answer(ask))

    def _patiently(self, answering: AbstractAsyncContextManager[Reply]) -> Patiently:
        rooms = self._rooms
        return Patiently(answering, self._comment, after_s=rooms.tell_after_s, clock=rooms.clock)

    async def _stream(
        self, decided: Decided, frames: Frames, chunks: AsyncIterator[Chunk]
    ) -> bytes:
        """Send everything but the end, which is returned."""
        send = self._send
        if not self.is_streaming:
            await self._start(decision_headers(decided, self._writer.id_header))
        self.frames = frames
        has_begun = False
        end = b""
        # gone through to its end: what is left of a generator costs a task that closes it
        async for chunk in chunks:
            self.pieces += 1
            if isinstance(chunk, Finish):
                self.finish = chunk
                end = frames.ending(chunk)
                continue
            body = frames.piece(chunk)
            if body:
                if not has_begun:
                    has_begun = True
                    body = frames.opening + body
                await send({"type": "http.response.body", "body": body, "more_body": True})
        if not end:
            raise StreamCut
        return end if has_begun else frames.opening + end

    async def _start(self, headers: Sequence[Header]) -> None:
        self.is_streaming = True
        told = [*self._writer.stream, *headers]
        await self._send({"type": "http.response.start", "status": 200, "headers": told})

    async def _comment(self, awaited: Awaited) -> None:
        """Tell a client that still waits for what; who will answer is not known for sure yet."""
        if not self.is_streaming:
            await self._start(
                (
                    (self._writer.id_header, awaited.decision.encode()),
                    (b"x-arbiter-decision", awaited.decision.encode()),
                    (b"x-arbiter-task", awaited.task.encode()),
                )
            )
        line = f": {awaited.sentence.translate(_UNPRINTABLE)}\n\n".encode()
        await self._send({"type": "http.response.body", "body": line, "more_body": True})

    async def _whole(self, decided: Decided, chunks: AsyncIterator[Chunk]) -> bytes:
        parts: list[Chunk] = []
        async for chunk in chunks:
            self.pieces += 1
            parts.append(chunk)
        finish = parts.pop() if parts else None
        if not isinstance(finish, Finish):
            raise StreamCut
        self.finish = finish
        return self._writer.whole(decided, parts, finish)

    def id_with(self, error: Exception) -> str:
        """By which the request is found again: its decision, or else a name for the log."""
        decision = error.decision if isinstance(error, ArbiterError) else None
        if decision is None and self.decided is not None:
            return self.decided.decision
        return decision or self._rooms.new_request()

    async def fail(self, error: ArbiterError, request: str) -> None:
        """Say what went wrong, in whichever form is still possible."""
        if self.is_ending:
            return
        decided = self.decided
        if decided is not None and error.decision not in {None, decided.decision}:
            decided = None  # of several answers one has begun well and another has failed
        decision = decided.decision if decided else None
        if self.frames is not None:
            event = self.frames.failing(error)
            await self._send({"type": "http.response.body", "body": event})
            return
        if self.is_streaming and self._writer.broken is not None:
            event = self._writer.broken(error, decision)
            await self._send({"type": "http.response.body", "body": event})
            return
        named = self._writer.id_header
        headers = decision_headers(decided, named) if decided else [(named, request.encode())]
        body = self._writer.error
        await send_error(self._send, error, body=body, decision=decision, headers=headers)


def decision_headers(decided: Decided, id_header: bytes) -> list[Header]:
    """What the house decided, for every reply."""
    reason = decided.reason[:_MAX_REASON]
    if not (reason.isascii() and reason.isprintable()):
        reason = reason.translate(_UNPRINTABLE)
    decision = decided.decision.encode()
    headers = [
        (id_header, decision),
        (b"x-arbiter-decision", decision),
        (b"x-arbiter-task", decided.task.encode()),
        (b"x-arbiter-alias", decided.alias.encode()),
        (b"x-arbiter-version", decided.version.encode()),
        (b"x-arbiter-arm", decided.arm.encode()),
        (b"x-arbiter-reason", reason.encode("latin-1", "replace")),
        (b"x-arbiter-probability", b"%.6g" % decided.probability),
    ]
    if decided.guessed is not None:
        headers.append((b"x-arbiter-task-guessed", b"%.2f" % decided.guessed))
    if decided.to_judge:
        headers.append((b"x-arbiter-judge", b"wanted"))
    return headers
