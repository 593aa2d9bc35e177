"""What a request or a task demands of whoever answers."""

from __future__ import annotations

from typing import Final, Protocol, TypeVar

import msgspec

GPU: Final = "gpu"
"""Needed of where a version runs, and not of itself: an accelerator."""

PLACEMENT: Final = frozenset({GPU})


class Limits(msgspec.Struct, frozen=True, kw_only=True, cache_hash=True):
    """What a request or a task demands. None, or an empty set, demands nothing.

    prompt_chars, answer_tokens: what the context of a version must have room for. They are rounded
    (`arbiter.selection.room`), because what is worked out for some limits is kept for the next
    request that has the same.
    """

    needs: frozenset[str] = frozenset()
    threshold: float | None = None
    max_latency_ms: float | None = None
    max_memory_mb: float | None = None
    prompt_chars: int | None = None
    answer_tokens: int | None = None

    @property
    def abilities(self) -> frozenset[str]:
        """What a version itself must be able to do: everything needed but where it is to run.

        >>> sorted(Limits(needs=frozenset({"tools", "gpu"})).abilities)
        ['tools']
        """
        return self.needs - PLACEMENT

    def narrowed(self, other: Limits) -> Limits:
        """Both demands at once: a request may narrow a task's limits, never widen them.

        >>> Limits(threshold=0.7).narrowed(Limits(threshold=0.5)).threshold
        0.7
        """
        if other is NO_LIMITS or other == NO_LIMITS:
            return self
        if self is NO_LIMITS or self == NO_LIMITS:
            return other
        return Limits(
            needs=self.needs | other.needs,
            threshold=_tighter(self.threshold, other.threshold, pick=max),
            max_latency_ms=_tighter(self.max_latency_ms, other.max_latency_ms, pick=min),
            max_memory_mb=_tighter(self.max_memory_mb, other.max_memory_mb, pick=min),
            prompt_chars=_tighter(self.prompt_chars, other.prompt_chars, pick=max),
            answer_tokens=_tighter(self.answer_tokens, other.answer_tokens, pick=max),
        )


NO_LIMITS = Limits()
"""Nothing is demanded, which most requests and tasks do."""

_Number = TypeVar("_Number", int, float)


class _Pick(Protocol[_Number]):
    def __call__(self, one: _Number, other: _Number, /) -> _Number: ...


def _tighter(one: _Number | None, other: _Number | None, *, pick: _Pick[_Number]) -> _Number | None:
    if one is None:
        return other
    return one if other is None else pick(one, other)
