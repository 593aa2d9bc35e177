"""The OpenAI chat dialect as workers speak it: a request out, an answer back, streamed or whole.

What a worker reports about itself is not believed blindly: a count or a duration that is
missing, negative, not finite or absurd becomes None, and never costs the answer that it came with.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

from arbiter.errors import EngineRefused
from arbiter.inference import Finish, FinishReason, Generation, Message, Timings, Usage

CHAT: Final = "/v1/chat/completions"

_MOST_TOKENS: Final = 2**31
_LONGEST_MS: Final = 7 * 24 * 3600 * 1000.0
_LONGEST_EVENT: Final = 4 * 1024 * 1024
_RANDOM_SEED: Final = 0xFFFFFFFF
"""llama.cpp takes this seed as a wish for a random one."""

Number = float | None


class MalformedAnswer(ValueError):
    """The worker's answer is not in the dialect."""


class ReportedError(Exception):
    """The worker ended a stream that had begun with an error of its own."""


class _StreamOptions(msgspec.Struct):
    include_usage: bool = True


class _Request(msgspec.Struct, omit_defaults=True):
    """Every field that is ever sent: nothing that a client wrote passes by accident."""

    messages: tuple[Message, ...]
    stream: bool = False
    stream_options: _StreamOptions | None = None
    cache_prompt: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None


class _Text(msgspec.Struct, gc=False):
    content: str | None = None


class _Choice(msgspec.Struct, gc=False):
    delta: _Text | None = None
    message: _Text | None = None
    finish_reason: str | None = None


class _Event(msgspec.Struct, gc=False):
    """A streamed event or a whole answer. What is only reported stays raw until it is wanted."""

    choices: list[_Choice] = []
    usage: msgspec.Raw = msgspec.Raw()
    timings: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


class _Details(msgspec.Struct):
    cached_tokens: Number = None


class _Usage(msgspec.Struct):
    prompt_tokens: Number = None
    completion_tokens: Number = None
    prompt_tokens_details: _Details | None = None


class _Timings(msgspec.Struct):
    prompt_ms: Number = None
    predicted_ms: Number = None


class _Problem(msgspec.Struct):
    message: str = ""
    type: str = ""
    n_prompt_tokens: int | None = None
    n_ctx: int | None = None


class _Refusal(msgspec.Struct):
    error: _Problem


_encode = msgspec.json.Encoder().encode
_event = msgspec.json.Decoder(_Event).decode
_usage = msgspec.json.Decoder(_Usage | None).decode
_timings = msgspec.json.Decoder(_Timings | None).decode
_problem = msgspec.json.Decoder(_Problem).decode
_refusal = msgspec.json.Decoder(_Refusal).decode
_WITH_USAGE: Final = _StreamOptions()


def encode_request(request: Generation, *, cache_prompt: bool) -> bytes:
    """The body of a chat request."""
    how = request.sampling
    seed = how.seed
    if seed is not None:
        seed &= 0xFFFFFFFF
        seed -= seed == _RANDOM_SEED
    return _encode(
        _Request(
            messages=request.messages,
            stream=request.stream,
            stream_options=_WITH_USAGE if request.stream else None,
            cache_prompt=cache_prompt,
            temperature=how.temperature,
            top_p=how.top_p,
            seed=seed,
            max_tokens=how.max_tokens,
            stop=how.stop or None,
            presence_penalty=how.presence_penalty,
            frequency_penalty=how.frequency_penalty,
        )
    )


class StreamedAnswer:
    """Server-sent events, put together again however the network cut them."""

    __slots__ = ("_error", "_reason", "_rest", "_timings", "_usage")

    def __init__(self) -> None:
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
        if len(self._rest) > _LONGEST_EVENT:
            raise MalformedAnswer("an event without an end")
        text = ""
        for event in events:
            if event.startswith(b"data: {"):
                text += self._take(event[6:])
            elif event.startswith(b"error: "):
                self._error = ReportedError(_message(event[7:]))
            # anything else is "data: [DONE]", or a comment that keeps the connection alive
        return text

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
        if not event.choices:
            return ""
        choice = event.choices[0]
        if choice.finish_reason is not None:
            self._reason = choice.finish_reason
        return (choice.delta.content or "") if choice.delta is not None else ""


def parse_answer(body: bytes) -> tuple[str, Finish]:
    """An answer in one piece. Raises `MalformedAnswer`."""
    event = _parse(body)
    if not event.choices or event.choices[0].message is None:
        raise MalformedAnswer("an answer without a message")
    choice = event.choices[0]
    text = choice.message.content or "" if choice.message is not None else ""
    return text, _finish(choice.finish_reason or "", event.usage, event.timings)


def parse_refusal(status: int, body: bytes) -> EngineRefused:
    """What to tell the caller about a response that is no answer."""
    try:
        problem = _refusal(body).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return EngineRefused(f"The engine refused the request with status {status}.")
    if problem.type == "exceed_context_size_error" and problem.n_prompt_tokens and problem.n_ctx:
        return EngineRefused(
            f"The prompt has {problem.n_prompt_tokens} tokens, and this model is loaded with room "
            f"for {problem.n_ctx}.",
            hint="Send a shorter prompt, or load the model with a larger context.",
            param="messages",
        )
    return EngineRefused(f"The engine refused the request: {problem.message[:500]}")


def _parse(data: bytes) -> _Event:
    try:
        return _event(data)
    except UnicodeDecodeError:
        # a model may stop in the middle of a character
        data = data.decode("utf-8", "replace").encode()
    except msgspec.DecodeError as error:
        raise MalformedAnswer(str(error)) from error
    try:
        return _event(data)
    except msgspec.DecodeError as error:
        raise MalformedAnswer(str(error)) from error


def _message(data: bytes) -> str:
    try:
        return _problem(data).message[:500]
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "it did not say what"


def _finish(reason: str, usage: msgspec.Raw, timings: msgspec.Raw) -> Finish:
    return Finish(
        reason=FinishReason.LENGTH if reason == "length" else FinishReason.STOP,
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


def _count(value: Number) -> int | None:
    if value is None or not 0 <= value < _MOST_TOKENS or value != math.floor(value):
        return None
    return int(value)


def _duration(value: Number) -> float | None:
    if value is None or not 0 <= value <= _LONGEST_MS:
        return None
    return value
