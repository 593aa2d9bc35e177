"""Answers in the OpenAI dialect as servers speak it, streamed or whole.

What is no end of an answer is none: an end without a reason is none while the stream goes on, what
comes after the end is left unread, and a server that says that it gave up has not answered.

What a worker reports about itself is not believed blindly: a count or a duration that is
missing, negative, not finite or absurd becomes None, and never costs the answer that it came with.
"""

from __future__ import annotations

import math
import re
from typing import Final

import msgspec

from arbiter.errors import EngineRefused, PromptTooLong
from arbiter.inference import (
    Called,
    Delta,
    Finish,
    FinishReason,
    Odds,
    Piece,
    Thought,
    Timings,
    Usage,
    Vectors,
)

_MOST_TOKENS: Final = 2**31
_GIVEN_UP: Final = frozenset({"abort", "aborted", "cancelled", "canceled", "error"})
"""How servers end an answer that they did not finish: vLLM and SGLang abort, gateways err."""

_NO_JSON: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"|-?\b(?:NaN|Infinity)\b', re.DOTALL)
"""Strings, which stay as they are, and numbers that Python writes and JSON does not have."""

_LONGEST_MS: Final = 7 * 24 * 3600 * 1000.0
LONGEST_EVENT: Final = 4 * 1024 * 1024
LONGEST_ANSWER: Final = 4 * 1024 * 1024
"""Bytes of a whole answer, or letters of a streamed one: more than any context holds.

What a model says is kept until it has ended. A server that never ends it would fill the memory.
"""
MOST_BYTES: Final = 64 * LONGEST_ANSWER
"""Bytes of a streamed answer with all that is around its letters, and with what a model thinks."""

Number = float | None


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


class _OneOdds(msgspec.Struct):
    token: str
    logprob: float
    bytes: list[int] | None = None
    top_logprobs: list[_OneOdds] | None = None


class _AllOdds(msgspec.Struct):
    """Of a chat; or, in four lists side by side, of a text, as OpenAI's older servers tell it."""

    content: list[_OneOdds] | None = None
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float] | None] | None = None


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


class _Details(msgspec.Struct):
    cached_tokens: Number = None


class _Usage(msgspec.Struct):
    prompt_tokens: Number = None
    completion_tokens: Number = None
    prompt_tokens_details: _Details | None = None


class _Timings(msgspec.Struct):
    prompt_ms: Number = None
    predicted_ms: Number = None


class _Tokens(msgspec.Struct):
    input_tokens: Number = None


class _Problem(msgspec.Struct):
    message: str = ""
    type: str = ""
    n_prompt_tokens: int | None = None
    n_ctx: int | None = None


class _Refusal(msgspec.Struct):
    error: _Problem


_event = msgspec.json.Decoder(_Event).decode
_vectors = msgspec.json.Decoder(_Vectors).decode
_usage = msgspec.json.Decoder(_Usage | None).decode
_timings = msgspec.json.Decoder(_Timings | None).decode
_tokens = msgspec.json.Decoder(_Tokens).decode
_odds = msgspec.json.Decoder(_AllOdds | list[_OneOdds] | None).decode
MORE_ROOM: Final = (
    "Send a shorter prompt, ask a model with more room, or load this one with a larger context "
    "(pool.context, or its server's own setting)."
)
_TOO_LONG: Final = re.compile(
    r"maximum context length|(?:exceed|longer|overflow).{0,80}context"
    r"|context.{0,80}(?:exceed|overflow)",
    re.IGNORECASE,
)
_HAS: Final = re.compile(
    r"\b([0-9]{1,9})(?: input tokens| in the (?:messages|prompt)| tokens\) is longer)"
)
_HOLDS: Final = re.compile(r"context length (?:is |\()([0-9]{1,9}) tokens", re.IGNORECASE)
_problem = msgspec.json.Decoder(_Problem).decode
_refusal = msgspec.json.Decoder(_Refusal).decode
_REASONS: Final = {
    "length": FinishReason.LENGTH,
    "tool_calls": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
}


class StreamedAnswer:
    """Server-sent events as llama.cpp frames them, put together again however they were cut."""

    __slots__ = (
        "_calls",
        "_error",
        "_odds",
        "_reason",
        "_rest",
        "_thought",
        "_timings",
        "_usage",
    )

    def __init__(self) -> None:
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
                self._error = ReportedError(_message(event[7:]))
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
            self._error = ReportedError(_message(bytes(event.error)))
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
            self._odds += read_odds(choice.logprobs)
        delta = choice.delta
        if delta is None:
            return choice.text or ""
        if delta.reasoning_content or delta.reasoning:
            self._thought += delta.thought
        if delta.tool_calls:
            self._calls += [_called(part, place) for place, part in enumerate(delta.tool_calls)]
        return delta.content or ""


def parse_answer(body: bytes) -> tuple[list[Piece], Finish]:
    """An answer in one piece: what was thought, its text, its tool calls; and its end.

    Raises `MalformedAnswer`, and `ReportedError` for an error that pretends to be an answer.
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
        found.append(Delta(text=message.content, odds=read_odds(choice.logprobs)))
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
        reason=FinishReason.STOP, usage=_read_usage(told.usage)
    )


def parse_count(body: bytes) -> int:
    """How many tokens a prompt has. Raises `MalformedAnswer`."""
    try:
        found = _count(_tokens(body).input_tokens)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedAnswer(str(error)) from error
    if found is None:
        raise MalformedAnswer("a count that is none")
    return found


def parse_refusal(status: int, body: bytes) -> EngineRefused:
    """What to tell the caller about a response that is no answer."""
    try:
        problem = _refusal(body).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        words = words_of(body)
        told = f": {words}" if words else "."
        return EngineRefused(f"The engine refused the request with status {status}{told}")
    if problem.type == "exceed_context_size_error" and problem.n_prompt_tokens and problem.n_ctx:
        return PromptTooLong(
            f"The prompt has {problem.n_prompt_tokens} tokens, and this model is loaded with room "
            f"for {problem.n_ctx}.",
            hint=MORE_ROOM,
            param="messages",
            tokens=problem.n_prompt_tokens,
            room=problem.n_ctx,
        )
    told = f"The engine refused the request: {problem.message[:500]}"
    if is_too_long(problem.message):
        tokens, room = lengths_in(problem.message)
        return PromptTooLong(told, param="messages", tokens=tokens, room=room)
    return EngineRefused(told)


def is_too_long(words: str) -> bool:
    """Whether this is how a server says that a prompt does not fit: vLLM, SGLang, Ollama ...

    >>> is_too_long("This model's maximum context length is 4096 tokens. However, ...")
    True
    >>> is_too_long("the input length exceeds the context length"), is_too_long("no such model")
    (True, False)
    """
    return _TOO_LONG.search(words) is not None


def lengths_in(words: str) -> tuple[int | None, int | None]:
    """How many tokens a prompt has, and how many there is room for, where such words say it.

    >>> lengths_in("This model's maximum context length is 4096 tokens. However, you requested "
    ... "5000 tokens (4900 in the messages, 100 in the completion).")
    (4900, 4096)
    >>> lengths_in("The input (50 tokens) is longer than the model's context length (40 tokens).")
    (50, 40)
    >>> lengths_in("the input length exceeds the context length")
    (None, None)
    """
    found = _HAS.search(words), _HOLDS.search(words)
    tokens, room = [None if one is None else int(one[1]) for one in found]
    return tokens, room


def words_of(body: bytes) -> str:
    """What a server says in an error, in whatever form it says so; nothing when it is unreadable.

    >>> words_of(b'{"error":{"message":"too long"}}'), words_of(b'{"detail":"no such thing"}')
    ('too long', 'no such thing')
    >>> words_of(b"upstream is down"), words_of(b"<html><body>502</body></html>")
    ('upstream is down', '')
    """
    try:
        told = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = body[:2000].decode("utf-8", "replace").strip()
        return "" if text.startswith(("<", "{", "[")) else printable(text)
    for _ in range(3):
        if isinstance(told, dict):
            told = told.get("error") or told.get("message") or told.get("detail")
    return printable(told) if isinstance(told, str) else ""


def printable(text: str, *, longest: int = 500) -> str:
    """A text of somebody else's on one line, shortened, with nothing that moves a cursor.

    >>> printable("a" + chr(27) + "[2Jb" + chr(10) + "  c")
    'a [2Jb c'
    """
    shown = "".join(letter if letter.isprintable() else " " for letter in text[: 4 * longest])
    shown = " ".join(shown.split())
    return shown if len(shown) <= longest else f"{shown[:longest]} ..."


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


def _message(data: bytes) -> str:
    try:
        return _problem(data).message[:500]
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "it did not say what"


def _finish(reason: str, usage: msgspec.Raw, timings: msgspec.Raw) -> Finish:
    return Finish(
        reason=_REASONS.get(reason, FinishReason.STOP),
        usage=_read_usage(usage),
        timings=_read_timings(timings),
    )


def _read_usage(raw: msgspec.Raw) -> Usage:
    try:
        told = _usage(raw) if raw else None
    except msgspec.DecodeError:
        told = None
    if told is None:
        return Usage()
    details = told.prompt_tokens_details
    return Usage(
        prompt_tokens=_count(told.prompt_tokens),
        completion_tokens=_count(told.completion_tokens),
        cached_tokens=None if details is None else _count(details.cached_tokens),
    )


def _read_timings(raw: msgspec.Raw) -> Timings:
    try:
        told = _timings(raw) if raw else None
    except msgspec.DecodeError:
        told = None
    if told is None:
        return Timings()
    return Timings(prefill_ms=_duration(told.prompt_ms), decode_ms=_duration(told.predicted_ms))


def read_odds(raw: msgspec.Raw) -> tuple[Odds, ...]:
    """What a server tells of its tokens; nothing where it cannot be understood.

    OpenAI's servers put the list into an object, Ollama does not.
    """
    try:
        told = _odds(raw) if raw else None
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ()
    if isinstance(told, _AllOdds) and told.content is None:
        return _side_by_side(told)
    listed = told.content if isinstance(told, _AllOdds) else told
    return tuple([_one_odds(one) for one in listed or ()])


def _side_by_side(told: _AllOdds) -> tuple[Odds, ...]:
    """The first token of all has no probability where the prompt is told too: it is left out."""
    tokens, logprobs = told.tokens or (), told.token_logprobs or ()
    if len(tokens) != len(logprobs):
        return ()
    tops = told.top_logprobs or ()
    others = tops if len(tops) == len(tokens) else (None,) * len(tokens)
    return tuple(
        [
            Odds(
                token=token,
                logprob=logprob,
                others=tuple([Odds(token=one, logprob=p) for one, p in (top or {}).items()]),
            )
            for token, logprob, top in zip(tokens, logprobs, others, strict=True)
            if logprob is not None
        ]
    )


def _one_odds(told: _OneOdds) -> Odds:
    return Odds(
        token=told.token,
        logprob=told.logprob,
        raw=None if told.bytes is None else tuple(told.bytes),
        others=tuple([_one_odds(one) for one in told.top_logprobs or ()]),
    )


def _count(value: Number) -> int | None:
    if value is None or not 0 <= value < _MOST_TOKENS or value != math.floor(value):
        return None
    return int(value)


def _duration(value: Number) -> float | None:
    if value is None or not 0 <= value <= _LONGEST_MS:
        return None
    return value
