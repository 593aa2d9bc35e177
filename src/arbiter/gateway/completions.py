"""POST /v1/chat/completions: from an `Ask` to bytes, in one piece or as a stream.

Once a stream has begun, an error is an event in it, never a second response, and the stream then
ends without ``[DONE]``. The answer's context is left before the last bytes go out: by the time a
client sees the end, the slot is free and the decision can be asked about.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from starlette.types import Receive, Send

from arbiter.errors import ArbiterError, ShuttingDown, StreamCut
from arbiter.gateway.extras import header_extras
from arbiter.gateway.hangup import Line, Watch
from arbiter.gateway.openai import ChatRequest, ask_of, read_chat
from arbiter.gateway.rendering import (
    Header,
    encoded,
    encoded_text,
    error_body,
    known,
    send_error,
    send_json,
)
from arbiter.gateway.rooms import Rooms
from arbiter.gateway.security import Caller, Head
from arbiter.inference import Ask, Chunk, Decided, Delta, Finish, Usage
from arbiter.refs import short

_MAX_REASON = 200
_UNPRINTABLE = dict.fromkeys((*range(32), *range(127, 160)), " ")

_SSE: tuple[Header, ...] = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx would collect the stream otherwise
)
_DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request that came through the door: its caller is known and its body is read."""

    receive: Receive
    send: Send
    head: Head
    caller: Caller
    path: str
    body: bytes = b""
    line: Line | None = None
    """The connection, where the server tells when it is lost."""


async def chat_completions(request: Request, rooms: Rooms) -> None:
    """Answer a chat completion request."""
    chat = read_chat(request.body)
    ask = ask_of(chat, header_extras(request.head), request.caller)
    exchange = _Exchange(request, rooms, chat, created=int(rooms.clock.now().timestamp()))
    try:
        await exchange.answer(ask)
    except asyncio.CancelledError:
        # Not the client's doing, so the server's: it closes and gave up waiting for this one.
        await exchange.fail(ShuttingDown())
    except Exception as error:  # noqa: BLE001  # a client must get an answer; it is logged
        await exchange.fail(known(error))


class _Exchange:
    """One request and its reply: what was decided, and whether bytes are out already."""

    __slots__ = (
        "_chat",
        "_created",
        "_line",
        "_receive",
        "_rooms",
        "_send",
        "decided",
        "is_ending",
        "is_streaming",
    )

    def __init__(self, request: Request, rooms: Rooms, chat: ChatRequest, *, created: int) -> None:
        self._receive = request.receive
        self._line = request.line
        self._send = request.send
        self._rooms = rooms
        self._chat = chat
        self._created = created
        self.decided: Decided | None = None
        self.is_streaming = False
        self.is_ending = False

    async def answer(self, ask: Ask) -> None:
        """Send the answer; nothing when the client hangs up."""
        last = b""
        with Watch(self._receive, self._line) as watch:
            async with self._rooms.answer.answer(ask) as reply:
                decided = self.decided = reply.decided
                if ask.stream:
                    last = await self._stream(decided, reply.chunks())
                else:
                    last = await self._whole(decided, reply.chunks())
        if watch.gone:
            return
        self.is_ending = True
        if ask.stream:
            await self._send({"type": "http.response.body", "body": last})
        else:
            await send_json(self._send, last, headers=decision_headers(decided))

    async def _stream(self, decided: Decided, chunks: AsyncIterator[Chunk]) -> bytes:
        """Send everything but the end, which is returned."""
        send = self._send
        frames = Frames(decided, self._chat.model, self._created, with_usage=self._chat.wants_usage)
        headers = [*_SSE, *decision_headers(decided)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        self.is_streaming = True
        waiting = frames.opening
        async for chunk in chunks:
            if isinstance(chunk, Finish):
                return waiting + frames.ending(chunk)
            if isinstance(chunk, Delta) and chunk.text:
                body = waiting + frames.delta(chunk.text)
                waiting = b""
                await send({"type": "http.response.body", "body": body, "more_body": True})
        raise StreamCut

    async def _whole(self, decided: Decided, chunks: AsyncIterator[Chunk]) -> bytes:
        parts: list[str] = []
        async for chunk in chunks:
            if isinstance(chunk, Delta):
                parts.append(chunk.text)
            elif isinstance(chunk, Finish):
                return _completion(
                    decided, self._chat.model, self._created, text="".join(parts), finish=chunk
                )
        raise StreamCut

    async def fail(self, error: ArbiterError) -> None:
        """Say what went wrong, in whichever form is still possible."""
        if self.is_ending:
            return
        decided = self.decided
        decision = decided.decision if decided else None
        if self.is_streaming:
            event = b"data: " + error_body(error, decision) + b"\n\n"
            await self._send({"type": "http.response.body", "body": event})
            return
        headers = decision_headers(decided) if decided else ()
        await send_error(self._send, error, decision=decision, headers=headers)


def decision_headers(decided: Decided) -> list[Header]:
    """What the house decided, for every reply."""
    reason = decided.reason[:_MAX_REASON].translate(_UNPRINTABLE)
    return [
        (b"x-arbiter-decision", decided.decision.encode()),
        (b"x-arbiter-task", decided.task.encode()),
        (b"x-arbiter-alias", decided.alias.encode()),
        (b"x-arbiter-version", decided.version.encode()),
        (b"x-arbiter-arm", decided.arm.value.encode()),
        (b"x-arbiter-reason", reason.encode("latin-1", "replace")),
        (b"x-arbiter-probability", b"%.6g" % decided.probability),
    ]


class Frames:
    """The chunks of one stream. Only the text differs between them, so only it is encoded."""

    __slots__ = ("_head", "_tail", "_with_usage", "opening")

    def __init__(self, decided: Decided, model: str, created: int, *, with_usage: bool) -> None:
        self._with_usage = with_usage
        self._head = (
            b'data: {"id":"chatcmpl-%s","object":"chat.completion.chunk","created":%d,'
            b'"model":%s,"system_fingerprint":"%s","choices":['
            % (
                decided.decision.encode(),
                created,
                encoded_text(model),
                short(decided.version).encode(),
            )
        )
        self._tail = b'],"usage":null}\n\n' if with_usage else b"]}\n\n"
        self.opening = self._choice(b'{"role":"assistant","content":""}', b"null")

    def _choice(self, delta: bytes, reason: bytes) -> bytes:
        return b'%s{"index":0,"delta":%s,"logprobs":null,"finish_reason":%s}%s' % (
            self._head,
            delta,
            reason,
            self._tail,
        )

    def delta(self, text: str) -> bytes:
        """A chunk of text."""
        return self._choice(b'{"content":%s}' % encoded_text(text), b"null")

    def ending(self, finish: Finish) -> bytes:
        """The last chunks: why it ended, what it used when that was asked for, and ``[DONE]``."""
        end = self._choice(b"{}", b'"%s"' % finish.reason.value.encode())
        if self._with_usage:
            end += self._head + b'],"usage":%s}\n\n' % encoded(usage_of(finish.usage))
        return end + _DONE


def usage_of(usage: Usage) -> dict[str, object] | None:
    """The usage as OpenAI shows it; None when the engine did not count both sides.

    Clients add these numbers up: a made-up zero would be worse than saying nothing.
    """
    prompt, completion = usage.prompt_tokens, usage.completion_tokens
    if prompt is None or completion is None:
        return None
    shown: dict[str, object] = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }
    if usage.cached_tokens is not None:
        shown["prompt_tokens_details"] = {"cached_tokens": usage.cached_tokens}
    return shown


def _completion(decided: Decided, model: str, created: int, *, text: str, finish: Finish) -> bytes:
    return (
        b'{"id":"chatcmpl-%s","object":"chat.completion","created":%d,"model":%s,'
        b'"system_fingerprint":"%s","choices":[{"index":0,"message":{"role":"assistant",'
        b'"content":%s,"refusal":null},"logprobs":null,"finish_reason":"%s"}],"usage":%s}'
        % (
            decided.decision.encode(),
            created,
            encoded_text(model),
            short(decided.version).encode(),
            encoded_text(text),
            finish.reason.value.encode(),
            encoded(usage_of(finish.usage)),
        )
    )
