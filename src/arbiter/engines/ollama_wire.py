"""Answers as Ollama gives them: JSON, one object a line, however the network cut it.

What a server reports about itself is not believed blindly: a count or a duration that is missing,
negative or absurd becomes None, and never costs the answer that it came with.

This module knows no HTTP.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator
from typing import Final

import msgspec

from arbiter.engines.base import PullStep
from arbiter.engines.openai_odds import read_odds
from arbiter.engines.openai_refusal import is_too_long, printable, words_of
from arbiter.engines.openai_refusal import parse_refusal as parse_llama_refusal
from arbiter.engines.openai_wire import (
    LONGEST_ANSWER,
    MOST_BYTES,
    MalformedAnswer,
    ReportedError,
    mended,
)
from arbiter.errors import (
    ArbiterError,
    Busy,
    CannotServe,
    EngineError,
    EngineRefused,
    InstanceLost,
    KeyRefused,
    PromptTooLong,
)
from arbiter.inference import (
    Called,
    Delta,
    Finish,
    FinishReason,
    Piece,
    Thought,
    Timings,
    Usage,
    Vectors,
)

_MOST_TOKENS: Final = 2**31
_UNABLE: Final = " does not support "
_LONGEST_NS: Final = 7 * 24 * 3600 * 10**9
_LONGEST_LINE: Final = 4 * 1024 * 1024

Number = float | None


class _Function(msgspec.Struct):
    name: str = ""
    arguments: msgspec.Raw = msgspec.Raw()


class _Call(msgspec.Struct):
    id: str | None = None
    function: _Function = msgspec.field(default_factory=_Function)


class _Message(msgspec.Struct):
    content: str | None = None
    thinking: str | None = None
    tool_calls: list[_Call] | None = None


class _Line(msgspec.Struct, gc=False):
    """A piece of an answer, or a whole one. What is only reported is read at the end."""

    message: _Message | None = None
    response: str | None = None
    thinking: str | None = None
    logprobs: msgspec.Raw = msgspec.Raw()
    done: bool = False
    done_reason: str | None = None
    error: msgspec.Raw = msgspec.Raw()


class _Metrics(msgspec.Struct):
    """Durations are nanoseconds."""

    load_duration: Number = None
    prompt_eval_count: Number = None
    prompt_eval_duration: Number = None
    eval_count: Number = None
    eval_duration: Number = None


class _Vectors(msgspec.Struct):
    embeddings: list[list[float]]


class _Step(msgspec.Struct):
    status: str = ""
    completed: Number = None
    total: Number = None
    digest: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


class _Refusal(msgspec.Struct):
    error: msgspec.Raw


_line = msgspec.json.Decoder(_Line).decode
_metrics = msgspec.json.Decoder(_Metrics).decode
_vectors = msgspec.json.Decoder(_Vectors).decode
_step = msgspec.json.Decoder(_Step).decode
_DIGEST: Final = re.compile(rb'"(sha256:[0-9a-f]{64})"')
_refusal = msgspec.json.Decoder(_Refusal).decode
_text = msgspec.json.Decoder(str).decode


class Lines:
    """Whole lines out of bytes that come in pieces of any size."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The lines that are whole now. Raises `MalformedAnswer` for one without an end."""
        *lines, self._rest = (self._rest + data if self._rest else data).split(b"\n")
        if len(self._rest) > _LONGEST_LINE:
            raise MalformedAnswer("a line without an end")
        return (line for line in lines if line and not line.isspace())

    def end(self) -> Iterator[bytes]:
        """What came after the last end of a line, once nothing comes any more."""
        return self.feed(b"\n")


def parse_answer(
    body: bytes, *, most_calls: int | None
) -> tuple[list[Delta | Thought | Called], Finish]:
    """An answer in one piece. Raises `MalformedAnswer`, `ReportedError`."""
    answer = Answer(most_calls=most_calls)
    pieces = [*answer.feed(body), *answer.end()]
    finish = answer.finish()
    if answer.lines > 1:
        raise MalformedAnswer("more than one answer")
    return pieces, finish


class Answer:
    """An answer of ``/api/chat`` or ``/api/generate``, streamed or whole.

    most_calls: the most tool calls that are wanted; None takes all. Ollama cannot be told.
    """

    __slots__ = (
        "_bytes",
        "_calls",
        "_error",
        "_has_said",
        "_last",
        "_length",
        "_lines",
        "_most_calls",
        "_reason",
        "lines",
    )

    def __init__(self, *, most_calls: int | None = None) -> None:
        self.lines = 0
        """How many lines have come."""
        self._lines = Lines()
        self._has_said = False
        self._most_calls = most_calls
        self._calls = 0
        self._bytes = 0
        self._length = 0
        self._error: ReportedError | None = None
        self._reason: str | None = None
        self._last: bytes | None = None

    def feed(self, data: bytes) -> Iterator[Piece]:
        """Take some bytes and give the pieces in them.

        Raises `MalformedAnswer` for what is no answer. The server's own error ends the answer, and
        `finish` raises it, after the pieces that came before it.
        """
        self._bytes += len(data)
        if self._bytes > MOST_BYTES:
            raise MalformedAnswer("an answer without an end")
        for line in self._lines.feed(data):
            if not self.is_over:
                yield from self._take(line)
            self.lines += 1

    def end(self) -> Iterator[Piece]:
        """The pieces of a last line that had no end; a whole answer is one."""
        for line in self._lines.end():
            if not self.is_over:
                yield from self._take(line)
            self.lines += 1

    @property
    def is_over(self) -> bool:
        """Whether the end has come, or an error, after which nothing comes."""
        return self._last is not None or self._error is not None

    def finish(self) -> Finish:
        """The end of the answer. Raises `MalformedAnswer` when it never came, `ReportedError`."""
        if self._error is not None:
            raise self._error
        if self._last is None:
            raise MalformedAnswer("the answer stopped without an end")
        if not self._has_said:
            raise MalformedAnswer("an answer without a message")
        reason = FinishReason.LENGTH if self._reason == "length" else FinishReason.STOP
        if self._calls:
            reason = FinishReason.TOOL_CALLS
        told = _reported(self._last)
        return Finish(reason=reason, usage=_usage(told), timings=_timings(told))

    def _take(self, data: bytes) -> Iterator[Piece]:
        line = _parse(data)
        if line.error:
            self._error = ReportedError(_plain(_raw_text(line.error)))
            return
        if line.done:
            self._last, self._reason = data, line.done_reason
        message = line.message
        self._has_said = self._has_said or message is not None or line.response is not None
        thought = line.thinking if message is None else message.thinking
        if thought:
            self._count(thought)
            yield Thought(text=thought)
        text = line.response if message is None else message.content
        if text:
            self._count(text)
            yield Delta(text=text, odds=read_odds(line.logprobs) if line.logprobs else ())
        if message is not None and message.tool_calls:
            for call in message.tool_calls:
                if self._most_calls is None or self._calls < self._most_calls:
                    yield self._called(call, data)

    def _called(self, call: _Call, line: bytes) -> Called:
        index, self._calls = self._calls, self._calls + 1
        # a line has its time in it, so two calls of a conversation do not get one id
        made_up = hashlib.sha256(b"%d " % index + line).hexdigest()[:16]
        arguments = _arguments(call.function.arguments)
        self._count(arguments)
        return Called(
            index=index,
            id=call.id or f"call_{made_up}",
            name=call.function.name,
            arguments=arguments,
        )

    def _count(self, text: str) -> None:
        self._length += len(text)
        if self._length > LONGEST_ANSWER:
            raise MalformedAnswer("an answer without an end")


def parse_vectors(body: bytes, *, wanted: int) -> tuple[Vectors, Finish]:
    """The vectors of an embedding request, in the order of its inputs. Raises `MalformedAnswer`."""
    try:
        vectors = _vectors(body).embeddings
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedAnswer(str(error)) from error
    if len(vectors) != wanted:
        raise MalformedAnswer(f"{len(vectors)} vectors for {wanted} inputs")
    if len({len(vector) for vector in vectors}) > 1 or not all(vectors):
        raise MalformedAnswer("vectors of different lengths")
    if not all(math.isfinite(number) for vector in vectors for number in vector):
        raise MalformedAnswer("a vector with a number that is none")
    told = _reported(body)
    return Vectors(vectors=tuple(vectors)), Finish(
        reason=FinishReason.STOP, usage=_usage(told), timings=_timings(told)
    )


def parse_refusal(
    status: int, body: bytes, *, model: str, url: str, retry_after_s: int | None = None
) -> ArbiterError:
    """What a response that is no answer means for the request that got it.

    retry_after_s: when to come again, where the server says so.
    """
    told = _told(body)
    words = _plain(told)
    if status in {405, 501} or (status == 404 and not told) or _UNABLE in told:
        # an older Ollama has not every address, and each says so of its models in these words
        return CannotServe(
            f"The Ollama at {url} cannot do this with {model}: status {status}, {words}.",
            hint="Ask for another model, or leave the choice to the house: auto.",
            param="model",
        )
    if status == 404:
        return InstanceLost(f"{url} does not have {model} any more: {words}.")
    if status in {401, 403}:
        return KeyRefused(
            f"{url} refuses the key, or wants one: {words}.", hint="Set it in [discovery.keys]."
        )
    if status in {429, 503}:
        pause = 1 if retry_after_s is None else retry_after_s
        return Busy(f"{url} is busy: {words}.", hint="Try again shortly.", retry_after_s=pause)
    if 300 <= status < 400:
        return EngineError(f"{url} sends requests elsewhere (status {status}); that is refused.")
    if not 400 <= status < 499:
        # no verdict on the request: a runner that ended, memory that ran out
        return EngineError(f"{url} failed with status {status}: {words}.")
    if told.startswith("{"):
        return parse_llama_refusal(status, told.encode())
    refused = PromptTooLong if is_too_long(words) else EngineRefused
    return refused(f"Ollama refused the request: {words}.")


def error_words(body: bytes) -> str:
    """What the server says went wrong, without the full stop."""
    return _plain(_told(body))


def parse_step(line: bytes) -> PullStep:
    """One line of a pull. Raises `MalformedAnswer`, `ReportedError`."""
    try:
        told = _step(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedAnswer(str(error)) from error
    if told.error:
        raise ReportedError(_plain(_raw_text(told.error)))
    return PullStep(
        status=printable(told.status),
        completed=_whole(told.completed, most=2**53),
        total=_whole(told.total, most=2**53),
        digest=_digest(told.digest),
    )


def _digest(raw: msgspec.Raw) -> str | None:
    """A digest as Ollama writes it; None for anything else."""
    found = _DIGEST.fullmatch(bytes(raw))
    return None if found is None else found[1].decode()


def _parse(data: bytes) -> _Line:
    try:
        return _line(data)
    except (UnicodeDecodeError, msgspec.DecodeError):
        data = mended(data)
    try:
        return _line(data)
    except msgspec.DecodeError as error:
        raise MalformedAnswer(str(error)) from error


def _raw_text(raw: msgspec.Raw) -> str:
    try:
        return _text(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""


def _told(body: bytes) -> str:
    """The error in a body, as it stands there; nothing when there is none."""
    try:
        return _raw_text(_refusal(body).error)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""


def _plain(told: str) -> str:
    """An error as people read it. Newer servers pass on what llama.cpp's server told them, as JSON.

    >>> _plain('{"error":{"message":"out of memory."}}'), _plain("")
    ('out of memory', 'it did not say why')
    """
    words = words_of(told.encode()) if told.startswith("{") else told
    return printable(words).rstrip(".") or "it did not say why"


def _arguments(raw: msgspec.Raw) -> str:
    """The arguments as JSON text; some servers send a text already."""
    if not raw:
        return "{}"
    told = bytes(raw)
    return _text(told) if told.startswith(b'"') else told.decode("utf-8", "replace")


def _reported(data: bytes) -> _Metrics:
    try:
        return _metrics(mended(data))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _Metrics()


def _usage(told: _Metrics) -> Usage:
    return Usage(
        prompt_tokens=_whole(told.prompt_eval_count, most=_MOST_TOKENS),
        completion_tokens=_whole(told.eval_count, most=_MOST_TOKENS),
    )


def _timings(told: _Metrics) -> Timings:
    return Timings(
        prefill_ms=_milliseconds(told.prompt_eval_duration),
        decode_ms=_milliseconds(told.eval_duration),
        load_ms=_milliseconds(told.load_duration),
    )


def _whole(value: Number, *, most: int) -> int | None:
    if value is None or not 0 <= value < most or value != math.floor(value):
        return None
    return int(value)


def _milliseconds(nanoseconds: Number) -> float | None:
    if nanoseconds is None or not 0 <= nanoseconds <= _LONGEST_NS:
        return None
    return nanoseconds / 1e6
