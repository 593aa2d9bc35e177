"""What an engine says of its own work: tokens and times."""

from __future__ import annotations

import msgspec


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens as the engine counted them; None where it did not say."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None


class Timings(msgspec.Struct, frozen=True, kw_only=True):
    """The engine's own stopwatch, in milliseconds. load_ms: with the house's load for an answer."""

    prefill_ms: float | None = None
    decode_ms: float | None = None
    load_ms: float | None = None
