"""How tokens are chosen."""

from __future__ import annotations

import msgspec


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """How tokens are chosen. None leaves it to the engine's default.

    bias: tokens of the model, by their numbers, and what is added to their logits. odds: how
    probable each token was is to be told, and of this many others at its place.
    """

    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None
    repeat_last_n: int | None = None
    typical_p: float | None = None
    bias: tuple[tuple[int, float], ...] = ()
    odds: int | None = None
