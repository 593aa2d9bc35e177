"""Answers in the OpenAI dialect as servers speak it, streamed or whole.

What is no end of an answer is none: an end without a reason is none while the stream goes on, what
comes after the end is left unread, and a server that says that it gave up has not answered.
"""

from __future__ import annotations

import math
import re
from typing import Final

import msgspec

from arbiter.engines.openai_odds import read_odds
from arbiter.engines.openai_refusal import message_of, words_of
from arbiter.engines.openai_usage import Number, count_of, read_timings, read_usage
from arbiter.inference import (
    Called,
    Delta,
    Finish,
    FinishReason,
    Odds,
    Piece,
    Thought,
    Vectors,
)

_GIVEN_UP: Final = frozenset({"abort", "aborted", "cancelled", "canceled", "error"})
"""How servers end an answer that they did not finish: vLLM and SGLang abort, gateways err."""

_NO_JSON: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"|-?\b(?:NaN|Infinity)\b', re.DOTALL)
"""Strings, which stay as they are, and numbers that Python writes and JSON does not have."""

LONGEST_EVENT: Final = 4 * 1024 * 1024
LONGEST_ANSWER: Final = 4 * 1024 * 1024
"""Bytes of a whole answer, or letters of a streamed one: more than any context holds.

What a model says is kept until it has ended. A server that never ends it would fill the memory.
"""
MOST_BYTES: Final = 64 * LONGEST_ANSWER
"""Bytes of a streamed answer with all that is around its letters, and with what a model thinks."""


class MalformedAnswer(ValueError):
    """The worker's answer is not in the dialect."""


class ReportedError(Exception):
    """The worker ended a stream that had begun with an error of its own."""


class _PartOfFunction(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _PartOfCall(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _PartOfFunction = msgspec.field(default_factory=_PartOfFunction)


class _Text(msgspec.Struct):
    """What is thought goes by one of two names, which others use for things of their own."""

    content: str | None = None
    tool_calls: list[_PartOfCall] | None = None
    reasoning_content: object = None
    reasoning: object = None

    @property
    def thought(self) -> str:
        """What was thought before this was said."""
        told = self.reasoning_content or self.reasoning
        return told if isinstance(told, str) else ""


class _Choice(msgspec.Struct):
    delta: _Text | None = None
    message: _Text | None = None
    text: str | None = None
    finish_reason: str | None = None
    logprobs: msgspec.Raw = msgspec.Raw()


class _Event(msgspec.Struct, gc=False):
    """A streamed event or a whole answer. What is only reported stays raw until it is wanted."""

    choices: list[_Choice] = []
    usage: msgspec.Raw = msgspec.Raw()
    timings: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


class _Vector(msgspec.Struct):
    embedding: list[float]
    index: int | None = None


class _Vectors(msgspec.Struct):
    data: list[_Vector]
    usage: msgspec.Raw = msgspec.Raw()


class _Tokens(msgspec.Struct):
    input_tokens: Number = None


_event = msgspec.json.Decoder(_Event).decode
_vectors = msgspec.json.Decoder(_Vectors).decode
_tokens = msgspec.json.Decoder(_Tokens).decode
_REASONS: Final = {
    "length": FinishReason.LENGTH,
    "tool_calls": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
}


class StreamedAnswer:
    """Server-sent events as llama.cpp frames them, put together again however they were cut.

    odds: as in `Sampling`, what was asked for of other tokens; None: all that come are told.
    """

    __slots__ = (
        "_calls",
        "_error",
        "_most",
        "_odds",
        "_reason",
        "_rest",
        "_thought",
        "_timings",
        "_usage",
    )

    def __init__(self, *, odds: int | None = None) -> None:
        self._most = odds
        self._calls: list[Called] = []
        self._odds: tuple[Odds, ...] = ()
        self._thought = ""
        self._error: ReportedError | None = None
        self._rest = b""
        self._reason: str | None = None
        self._usage = msgspec.Raw()
        self._timings = msgspec.Raw()

    def feed(self, data: bytes) -> str:
        """Take some bytes and give the text in them.

        Raises `MalformedAnswer` for what is no event. The worker's own error ends the answer, and
        `finish` raises it, after the text that came before it.
        """
        data = self._rest + data if self._rest else data
        *events, self._rest = data.split(b"\n\n")
        if len(self._rest) > LONGEST_EVENT:
            raise MalformedAnswer("an event without an end")
        text = ""
        for event in events:
            if event.startswith(b"data: {"):
                text += self._take(event[6:])
            elif event.startswith(b"error: "):
                self._error = ReportedError(message_of(event[7:]))
            # anything else is "data: [DONE]", or a comment that keeps the connection alive
        return text

    def pieces(self, data: bytes) -> list[Piece]:
        """Take some bytes and give what is in them: thoughts, then text, then calls.

        Raises `MalformedAnswer`, as `feed` does.
        """
        text = self.feed(data)
        found: list[Piece] = []
        if self._thought:
            found.append(Thought(text=self._thought))
            self._thought = ""
        if text:
            found.append(Delta(text=text, odds=self._odds) if self._odds else Delta(text=text))
            self._odds = ()
        if self._calls:
            found += self.calls()
        return found

    def calls(self) -> list[Called]:
        """The pieces of tool calls that have come since this was last asked."""
        found, self._calls = self._calls, []
        return found

    @property
    def is_broken(self) -> bool:
        """Whether the worker has reported an error, after which nothing comes."""
        return self._error is not None

    def finish(self) -> Finish:
        """The end of the answer. Raises `MalformedAnswer` when it never came, `ReportedError`."""
        if self._error is not None:
            raise self._error
        if self._reason is None:
            raise MalformedAnswer("the answer stopped without an end")
        return _finish(self._reason, self._usage, self._timings)

    def _take(self, line: bytes) -> str:
        event = _parse(line)
        if event.error:
            self._error = ReportedError(message_of(bytes(event.error)))
        if event.usage:
            self._usage = event.usage.copy()
        if event.timings:
            self._timings = event.timings.copy()
        if not event.choices or self._reason is not None:
            return ""
        choice = event.choices[0]
        # LocalAI has had an empty reason in every event: that is no end
        self._reason = choice.finish_reason or None
        if self._reason is not None and self._reason in _GIVEN_UP:
            self._error = ReportedError(f"it gave up ({self._reason})")
        if choice.logprobs:
            self._odds += read_odds(choice.logprobs, most=self._most)
        delta = choice.delta
        if delta is None:
            return choice.text or ""
        if delta.reasoning_content or delta.reasoning:
            self._thought += delta.thought
        if delta.tool_calls:
            self._calls += [_called(part, place) for place, part in enumerate(delta.tool_calls)]
        return delta.content or ""


def parse_answer(body: bytes, *, odds: int | None = None) -> tuple[list[Piece], Finish]:
    """An answer in one piece: what was thought, its text, its tool calls; and its end.

    odds: as for `StreamedAnswer`. Raises `MalformedAnswer`, and `ReportedError` for an error that
    pretends to be an answer.
    """
    event = _parse(body)
    choice = event.choices[0] if event.choices else _Choice()
    message = choice.message or _Text(content=choice.text)
    if choice.message is None and choice.text is None:
        if event.error:
            raise ReportedError(words_of(body) or "it did not say what")
        raise MalformedAnswer("an answer without a message")
    if choice.finish_reason in _GIVEN_UP:
        raise ReportedError(f"it gave up ({choice.finish_reason})")
    found: list[Piece] = [Thought(text=message.thought)] if message.thought else []
    if message.content:
        found.append(Delta(text=message.content, odds=read_odds(choice.logprobs, most=odds)))
    found += [_called(part, place) for place, part in enumerate(message.tool_calls or ())]
    return found, _finish(choice.finish_reason or "", event.usage, event.timings)


def _called(part: _PartOfCall, place: int) -> Called:
    return Called(
        index=place if part.index is None else part.index,
        id=part.id or None,
        name=part.function.name or None,
        arguments=part.function.arguments or "",
    )


def parse_vectors(body: bytes, *, wanted: int) -> tuple[Vectors, Finish]:
    """The vectors of an embedding request, in the order of its inputs. Raises `MalformedAnswer`."""
    try:
        told = _vectors(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedAnswer(str(error)) from error
    places = [place if v.index is None else v.index for place, v in enumerate(told.data)]
    if sorted(places) != list(range(wanted)):
        raise MalformedAnswer(f"{len(told.data)} vectors for {wanted} inputs")
    ordered = sorted(zip(places, told.data, strict=True), key=lambda pair: pair[0])
    if any(not all(map(math.isfinite, one.embedding)) for one in told.data):
        raise MalformedAnswer("a vector with a number that is none")
    return Vectors(vectors=tuple(one.embedding for _, one in ordered)), Finish(
        reason=FinishReason.STOP, usage=read_usage(told.usage)
    )


def parse_count(body: bytes) -> int:
    """How many tokens a prompt has. Raises `MalformedAnswer`."""
    try:
        found = count_of(_tokens(body).input_tokens)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedAnswer(str(error)) from error
    if found is None:
        raise MalformedAnswer("a count that is none")
    return found


def _parse(data: bytes) -> _Event:
    try:
        return _event(data)
    except (UnicodeDecodeError, msgspec.DecodeError):
        data = mended(data)
    try:
        return _event(data)
    except msgspec.DecodeError as error:
        raise MalformedAnswer(str(error)) from error


def mended(data: bytes) -> bytes:
    """JSON as servers break it, put right where nothing is lost by it.

    A model may stop in the middle of a character. Servers in Python write numbers of their
    stopwatch that JSON does not have; they become null, and null is unknown.

    >>> mended(b'{"say":"NaN","ms":NaN,"in":-Infinity}')
    b'{"say":"NaN","ms":null,"in":null}'
    """
    data = data.decode("utf-8", "replace").encode()
    if b"NaN" not in data and b"Infinity" not in data:
        return data
    return _NO_JSON.sub(lambda found: found[0] if found[0][:1] == b'"' else b"null", data)


def _finish(reason: str, usage: msgspec.Raw, timings: msgspec.Raw) -> Finish:
    return Finish(
        reason=_REASONS.get(reason, FinishReason.STOP),
        usage=read_usage(usage),
        timings=read_timings(timings),
    )
