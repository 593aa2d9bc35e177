"""What a server reports of its own work: tokens and times.

It is not believed blindly: a count or a duration that is missing, negative, not finite or absurd
becomes None, and never costs the answer that it came with.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

from arbiter.inference import Timings, Usage

_MOST_TOKENS: Final = 2**31
_LONGEST_MS: Final = 7 * 24 * 3600 * 1000.0

Number = float | None


class _Details(msgspec.Struct):
    cached_tokens: Number = None


class _Usage(msgspec.Struct):
    prompt_tokens: Number = None
    completion_tokens: Number = None
    prompt_tokens_details: _Details | None = None


class _Timings(msgspec.Struct):
    prompt_ms: Number = None
    predicted_ms: Number = None


_usage = msgspec.json.Decoder(_Usage | None).decode
_timings = msgspec.json.Decoder(_Timings | None).decode


def read_usage(raw: msgspec.Raw) -> Usage:
    """The tokens that a server reports; unknown where it says nothing that can be."""
    try:
        told = _usage(raw) if raw else None
    except msgspec.DecodeError:
        told = None
    if told is None:
        return Usage()
    details = told.prompt_tokens_details
    return Usage(
        prompt_tokens=count_of(told.prompt_tokens),
        completion_tokens=count_of(told.completion_tokens),
        cached_tokens=None if details is None else count_of(details.cached_tokens),
    )


def read_timings(raw: msgspec.Raw) -> Timings:
    """The times that llama.cpp reports of its own stopwatch."""
    try:
        told = _timings(raw) if raw else None
    except msgspec.DecodeError:
        told = None
    if told is None:
        return Timings()
    return Timings(prefill_ms=_duration(told.prompt_ms), decode_ms=_duration(told.predicted_ms))


def count_of(value: Number) -> int | None:
    """A number of tokens, or None where it is none."""
    if value is None or not 0 <= value < _MOST_TOKENS or value != math.floor(value):
        return None
    return int(value)


def _duration(value: Number) -> float | None:
    if value is None or not 0 <= value <= _LONGEST_MS:
        return None
    return value
