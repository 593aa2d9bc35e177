"""Answers as Ollama's clients expect them: one JSON object a line, the last with its figures.

A duration is what somebody measured: the whole by the house's clock, the parts by the engine's. A
figure that nobody told is absent; none is made up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec

from arbiter.clock import Clock
from arbiter.errors import ArbiterError, MalformedCall
from arbiter.gateway.chat_answer import call_id, odds_shown
from arbiter.gateway.ollama_error import ollama_error
from arbiter.gateway.rendering import encoded, encoded_text
from arbiter.inference import (
    Called,
    Chunk,
    Decided,
    Delta,
    Finish,
    FinishReason,
    Odds,
    Thought,
    ToolCall,
    Vectors,
    calls_of,
    text_of,
    thought_of,
)

_decode: Final = msgspec.json.Decoder().decode


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What the lines of one answer have in common.

    model: as the client wrote it. is_chat: a turn of a conversation, not a text. began: by the
    monotonic clock, in seconds.
    """

    model: str
    is_chat: bool
    clock: Clock
    began: float

    def head(self) -> bytes:
        """The beginning of a line."""
        return b'{"model":%s,"created_at":"%s",' % (
            encoded_text(self.model),
            moment(self.clock.now()).encode(),
        )

    def whole(self) -> int:
        """Nanoseconds since the request came."""
        return round((self.clock.monotonic() - self.began) * 1e9)


class OllamaFrames:
    """The lines of one stream. Calls of tools are told whole, as Ollama's clients expect them."""

    __slots__ = ("_calls", "_decision", "_told", "opening")

    def __init__(self, decided: Decided, *, told: Told) -> None:
        self.opening = b""
        self._decision = decided.decision
        self._told = told
        self._calls: list[Called] = []

    def piece(self, chunk: Chunk) -> bytes:
        """The line for a piece of text or of a thought."""
        match chunk:
            case Delta(text=text, odds=odds) if text:
                return self._line(text=text, odds=odds)
            case Thought(text=text) if text:
                return self._line(thought=text)
            case Called():
                self._calls.append(chunk)
        return b""

    def ending(self, finish: Finish) -> bytes:
        """The calls, if there are any, and the line with the figures. Raises `MalformedCall`."""
        calls = self._line(calls=calls_of(self._calls)) if self._calls else b""
        told = self._told
        empty = said(told, text="")
        return calls + b"%s%s,%s}\n" % (told.head(), empty, figures(told, finish))

    def failing(self, error: ArbiterError) -> bytes:
        """The last line of a stream that breaks off."""
        return ollama_error(error, self._decision) + b"\n"

    def _line(
        self,
        *,
        text: str = "",
        thought: str = "",
        calls: Sequence[ToolCall] = (),
        odds: Sequence[Odds] = (),
    ) -> bytes:
        told = self._told
        more = b',"logprobs":%s' % encoded(_odds(odds)) if odds else b""
        part = said(told, text=text, thought=thought, calls=_shown(calls, self._decision))
        return b'%s%s%s,"done":false}\n' % (told.head(), part, more)


def whole_answer(decided: Decided, chunks: Sequence[Chunk], finish: Finish, *, told: Told) -> bytes:
    """A whole answer. Raises `MalformedCall`."""
    odds = [one for chunk in chunks if isinstance(chunk, Delta) for one in chunk.odds]
    return b"%s%s%s,%s}" % (
        told.head(),
        said(
            told,
            text=text_of(chunks),
            thought=thought_of(chunks),
            calls=_shown(calls_of(chunks), decided.decision),
        ),
        b',"logprobs":%s' % encoded(_odds(odds)) if odds else b"",
        figures(told, finish),
    )


def whole_vectors(
    decided: Decided, chunks: Sequence[Chunk], finish: Finish, *, told: Told
) -> bytes:
    """The vectors of ``/api/embed``."""
    del decided  # the headers say it
    vectors = [vector for chunk in chunks if isinstance(chunk, Vectors) for vector in chunk.vectors]
    return encoded(
        {
            "model": told.model,
            "embeddings": vectors,
            "total_duration": told.whole(),
            **_known(
                load_duration=_nanoseconds(finish.timings.load_ms),
                prompt_eval_count=finish.usage.prompt_tokens,
            ),
        }
    )


def one_vector(decided: Decided, chunks: Sequence[Chunk], finish: Finish) -> bytes:
    """The vector of ``/api/embeddings``, which says nothing else."""
    del decided, finish
    vectors = [vector for chunk in chunks if isinstance(chunk, Vectors) for vector in chunk.vectors]
    return encoded({"embedding": vectors[0] if vectors else []})


def nothing_said(told: Told, reason: str) -> bytes:
    """The answer to a request that only loads or unloads a model."""
    return b'%s%s,"done":true,"done_reason":"%s"}' % (
        told.head(),
        said(told, text=""),
        reason.encode(),
    )


def said(
    told: Told,
    *,
    text: str,
    thought: str = "",
    calls: Sequence[Mapping[str, object]] = (),
) -> bytes:
    """What the model said, thought and called, in the form of the address that was asked."""
    thinking = b',"thinking":%s' % encoded_text(thought) if thought else b""
    called = b',"tool_calls":%s' % encoded(calls) if calls else b""
    if told.is_chat:
        return b'"message":{"role":"assistant","content":%s%s%s}' % (
            encoded_text(text),
            thinking,
            called,
        )
    return b'"response":%s%s%s' % (encoded_text(text), thinking, called)


def figures(told: Told, finish: Finish) -> bytes:
    """Why it ended, and what it took, in nanoseconds and tokens."""
    reason = b"length" if finish.reason is FinishReason.LENGTH else b"stop"
    usage, timings = finish.usage, finish.timings
    known = _known(
        total_duration=told.whole(),
        load_duration=_nanoseconds(timings.load_ms),
        prompt_eval_count=usage.prompt_tokens,
        prompt_eval_duration=_nanoseconds(timings.prefill_ms),
        eval_count=usage.completion_tokens,
        eval_duration=_nanoseconds(timings.decode_ms),
    )
    return b'"done":true,"done_reason":"%s",%s' % (reason, encoded(known)[1:-1])


def moment(at: datetime) -> str:
    """A time as Ollama writes it.

    >>> from datetime import UTC
    >>> moment(datetime(2026, 1, 1, tzinfo=UTC))
    '2026-01-01T00:00:00.000000Z'
    """
    return f"{at:%Y-%m-%dT%H:%M:%S.%f}Z"


def object_of(call: ToolCall) -> dict[str, object]:
    """The arguments of a call as an object. Raises `MalformedCall` when they are none."""
    try:
        found = _decode(call.arguments or "{}")
    except (msgspec.DecodeError, UnicodeEncodeError):
        found = None
    if not isinstance(found, dict):
        raise MalformedCall
    return found


def _shown(calls: Sequence[ToolCall], decision: str) -> list[dict[str, object]]:
    return [
        {
            "id": call.id or call_id(decision, index),
            "function": {"index": index, "name": call.name, "arguments": object_of(call)},
        }
        for index, call in enumerate(calls)
    ]


def _odds(odds: Sequence[Odds]) -> list[dict[str, object]]:
    return [
        {**odds_shown(one), "top_logprobs": [odds_shown(other) for other in one.others]}
        for one in odds
    ]


def _known(**figures: int | None) -> dict[str, int]:
    return {name: value for name, value in figures.items() if value is not None}


def _nanoseconds(milliseconds: float | None) -> int | None:
    return None if milliseconds is None else round(milliseconds * 1e6)
