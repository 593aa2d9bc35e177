"""What is asked and what is answered, in the house's own types.

The gateway turns wire formats into these, engines turn these into theirs. This module knows no
wire format, no engine and no model.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Protocol

from arbiter.refs import DecisionId, ModelName, RolloutId, TaskName, VersionId

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a conversation, as text."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How tokens are chosen. None leaves it to the engine's default."""

    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    presence_penalty: float | None = None
    frequency_penalty: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """What an engine is asked for. `stream` False lets it answer in one piece."""

    messages: tuple[Message, ...]
    sampling: Sampling = Sampling()
    stream: bool = True


class FinishReason(StrEnum):
    """Why an answer ended."""

    STOP = "stop"
    LENGTH = "length"


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens as the engine counted them; None where it did not say."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """The engine's own stopwatch, in milliseconds."""

    prefill_ms: float | None = None
    decode_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """A piece of the answer's text."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """The end of an answer: always the last chunk, and exactly one."""

    reason: FinishReason
    usage: Usage = Usage()
    timings: Timings = Timings()


Chunk = Delta | Finish


class Arm(StrEnum):
    """Which side of a rollout served a request."""

    NONE = "none"
    """No rollout was going on for this alias."""
    STABLE = "stable"
    CANDIDATE = "candidate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a request or a task demands. None, or an empty set, demands nothing."""

    needs: frozenset[str] = frozenset()
    threshold: float | None = None
    max_latency_ms: float | None = None
    max_memory_mb: float | None = None

    def narrowed(self, other: Limits) -> Limits:
        """Both demands at once: a request may narrow a task's limits, never widen them.

        >>> Limits(threshold=0.7).narrowed(Limits(threshold=0.5)).threshold
        0.7
        """
        return Limits(
            needs=self.needs | other.needs,
            threshold=_tighter(self.threshold, other.threshold, pick=max),
            max_latency_ms=_tighter(self.max_latency_ms, other.max_latency_ms, pick=min),
            max_memory_mb=_tighter(self.max_memory_mb, other.max_memory_mb, pick=min),
        )


class _Pick(Protocol):
    def __call__(self, one: float, other: float, /) -> float: ...


def _tighter(one: float | None, other: float | None, *, pick: _Pick) -> float | None:
    if one is None:
        return other
    return one if other is None else pick(one, other)


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """The caller named a model or alias: it is served by it, always."""

    name: ModelName


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinned:
    """The caller pinned one version (``name@digest``)."""

    name: ModelName
    digest_prefix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Auto:
    """The house is to pick (``auto`` or ``task:NAME``)."""


Target = Named | Pinned | Auto


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A whole request, as the house understands it.

    expected: the known right answer, when the caller sent it along *before* seeing the answer.
        The task's own grader then scores the answer, so it counts for a rollout's verdict.
    conversation: what a rollout's assignment sticks to.
    rehearsal: a validation run: served like any request, but no rollout sees it and it is kept
        out of the record, because whoever runs it keeps its own.
    """

    target: Target
    messages: tuple[Message, ...]
    sampling: Sampling = Sampling()
    stream: bool = False
    task: TaskName | None = None
    limits: Limits = Limits()
    conversation: str
    expected: str | None = None
    caller: str = "local"
    rehearsal: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """A version that was not considered, and why."""

    name: ModelName
    version: VersionId
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What the house decided about a request, for headers, for `why`, and for the record."""

    decision: DecisionId
    task: TaskName
    alias: ModelName
    version: VersionId
    arm: Arm
    reason: str
    probability: float
    rollout: RolloutId | None = None
    fallback: ModelName | None = None
    scores: tuple[tuple[ModelName, float, str], ...] = ()
    """Every version that was considered: name, score, explanation; the best first."""
    dropped: tuple[Dropped, ...] = ()


class Reply(Protocol):
    """An answer that has begun: the first byte is there, so nothing is retried any more."""

    @property
    def decided(self) -> Decided:
        """Who answers, and why."""
        ...

    def chunks(self) -> AsyncIterator[Chunk]:
        """The answer, piece by piece; `Finish` is last. Raises `StreamCut` when the engine dies."""
        ...


class Answer(Protocol):
    """Whoever answers a request: dispatch does, and app hands it to whoever needs answers.

    Leaving the context before the end tells the engine to stop.
    """

    def answer(self, ask: Ask) -> AbstractAsyncContextManager[Reply]:
        """Enter when the first chunk is there. Raises any `ArbiterError` before that."""
        ...
