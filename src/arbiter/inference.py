"""What is asked and what is answered, in the house's own types.

The gateway turns wire formats into these, engines turn these into theirs. This module knows no
wire format, no engine and no model.

What every request makes anew is a struct of msgspec: as frozen and as keyword-only as a frozen
dataclass, which costs ten times as much to make. `msgspec.structs.replace` changes one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal, Protocol, TypeVar, assert_never

import msgspec

from arbiter.refs import DecisionId, ModelName, RolloutId, TaskName, VersionId

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A tool that the model wants called. arguments: JSON as the model wrote it, so maybe wrong."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """A picture or a sound. format: ``png``, ``wav``, ...; data: the file, in base64.

    It is never an address: nothing is fetched for a client.
    """

    kind: Literal["image", "audio"]
    format: str
    data: str


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One turn of a conversation, as text.

    calls: the tools that an assistant's turn asked for. answers: for the role ``tool``, the id of
    the call whose result this is. name: for the role ``tool``, the tool's name where it is known.
    thought: what the assistant thought before it said this; some templates want it back. parts:
    texts and media in their order, where there are media; ``content`` has the texts alone.
    """

    role: Role
    content: str
    calls: tuple[ToolCall, ...] = ()
    answers: str | None = None
    name: str | None = None
    thought: str | None = None
    parts: tuple[str | Media, ...] = ()

    @property
    def media(self) -> tuple[Media, ...]:
        """The pictures and sounds, without the texts."""
        return tuple([part for part in self.parts if isinstance(part, Media)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A tool that the model may call. parameters: a JSON schema of an object, as text."""

    name: str
    description: str | None = None
    parameters: str | None = None
    strict: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """Which tools are offered, and whether one must be called. named: this one and no other."""

    offered: tuple[Tool, ...]
    choice: Literal["auto", "none", "required"] = "auto"
    named: str | None = None
    parallel: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The form that the answer's text must have: any JSON object, or what a schema allows.

    schema: a JSON schema, as text; None asks for any JSON object.
    """

    schema: str | None = None
    name: str | None = None
    strict: bool | None = None


Effort = Literal["none", "some", "minimal", "low", "medium", "high", "max"]
"""How much a model is to think before it answers; ``some`` leaves it to the model how much."""


class Chat(msgspec.Struct, frozen=True, kw_only=True):
    """The next turn of a conversation is wanted.

    effort: a wish. None leaves it to the model, and a model that cannot think does not heed it.
    """

    messages: tuple[Message, ...]
    tools: Tools | None = None
    shape: Shape | None = None
    effort: Effort | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """A text is to go on; no chat template is put around it. suffix: what comes after the gap."""

    prompt: str
    suffix: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedding:
    """A vector is wanted for each text, in this order. dimensions: None leaves the model's own."""

    inputs: tuple[str, ...]
    dimensions: int | None = None


Work = Chat | Completion | Embedding


def needed(work: Work) -> frozenset[str]:
    """The capabilities without which a version cannot do this work.

    >>> sorted(needed(Chat(messages=(), tools=Tools(offered=(Tool(name="clock"),)))))
    ['chat', 'tools']
    """
    match work:
        case Chat(tools=tools, shape=shape, messages=messages):
            seen = _senses(messages)
            if tools is None and shape is None:
                return _CHAT | seen if seen else _CHAT
            is_callable = tools is not None and tools.offered and tools.choice != "none"
            more = {"tools"} if is_callable else set[str]()
            return _CHAT | seen | more | ({"json"} if shape is not None else set[str]())
        case Completion(suffix=suffix):
            return _COMPLETION if suffix is None else _COMPLETION | {"insert"}
        case Embedding():
            return _EMBEDDING
        case _:
            assert_never(work)


def _senses(messages: Sequence[Message]) -> frozenset[str]:
    """What it takes to see and hear all that is in a conversation."""
    found = [one for message in messages if message.parts for one in message.media]
    return frozenset([_SENSE[one.kind] for one in found]) if found else _NOTHING


def lacking(work: Work, capabilities: frozenset[str]) -> frozenset[str]:
    """What a version that somebody named lacks for this work; nothing when nobody knows.

    A model without a chat template of its own can still be talked to, if a person insists.

    >>> sorted(lacking(Embedding(inputs=("a",)), frozenset({"chat", "completion"})))
    ['embedding']
    """
    if not capabilities:
        return frozenset()
    missing = needed(work) - capabilities
    return missing - _WRITING if capabilities & _WRITING else missing


def prompt_chars(work: Work) -> int:
    """How long a prompt is, in characters, with its tools; of texts for vectors, all together.

    >>> prompt_chars(Completion(prompt="Once", suffix="."))
    5
    """
    match work:
        case Chat(messages=messages, tools=tools):
            said = 0
            for message in messages:
                said += len(message.content)
                for call in message.calls:
                    said += len(call.arguments)
            if tools is None:
                return said
            return said + sum(
                [
                    len(tool.name) + len(tool.description or "") + len(tool.parameters or "")
                    for tool in tools.offered
                ]
            )
        case Completion(prompt=prompt, suffix=suffix):
            return len(prompt) + len(suffix or "")
        case Embedding(inputs=inputs):
            return sum([len(text) for text in inputs])
        case _:
            assert_never(work)


_NOTHING = frozenset[str]()
_SENSE = {"image": "vision", "audio": "audio"}
_WRITING = frozenset({"chat", "completion"})
_CHAT = frozenset({"chat"})
_COMPLETION = frozenset({"completion"})
_EMBEDDING = frozenset({"embedding"})


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


class Generation(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine is asked to write. `stream` False lets it answer in one piece.

    counts: only how many tokens the prompt has is wanted.
    """

    work: Chat | Completion
    sampling: Sampling = Sampling()
    stream: bool = True
    counts: bool = False


class FinishReason(StrEnum):
    """Why an answer ended."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    """The model waits for the results of the tools that it called."""


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens as the engine counted them; None where it did not say."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None


class Timings(msgspec.Struct, frozen=True, kw_only=True):
    """The engine's own stopwatch, in milliseconds."""

    prefill_ms: float | None = None
    decode_ms: float | None = None
    load_ms: float | None = None


class Odds(msgspec.Struct, frozen=True, kw_only=True):
    """How probable a token was: the natural logarithm of it. others: the likeliest at its place.

    raw: its bytes, where they are told: a token may be half a character.
    """

    token: str
    logprob: float
    raw: tuple[int, ...] | None = None
    others: tuple[Odds, ...] = ()


class Delta(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of the answer's text. odds: of its tokens, where they were asked for and told."""

    text: str
    odds: tuple[Odds, ...] = ()


class Thought(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of what the model thinks before it answers: no part of the answer."""

    text: str


class Finish(msgspec.Struct, frozen=True, kw_only=True):
    """The end of an answer: always the last chunk, and exactly one."""

    reason: FinishReason
    usage: Usage = Usage()
    timings: Timings = Timings()


class Called(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of a tool call: the first of an index brings its id and name, all bring arguments."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vectors:
    """The vectors of an `Embedding`, one for each input in its order; comes once, whole."""

    vectors: tuple[Sequence[float], ...]


Piece = Delta | Thought | Called
"""What a written answer is made of, before its end."""

Chunk = Piece | Vectors | Finish


def text_of(chunks: Iterable[Chunk]) -> str:
    """The text of an answer, put together."""
    return "".join([chunk.text for chunk in chunks if isinstance(chunk, Delta)])


def thought_of(chunks: Iterable[Chunk]) -> str:
    """What was thought before an answer, put together."""
    return "".join([chunk.text for chunk in chunks if isinstance(chunk, Thought)])


def calls_of(chunks: Iterable[Chunk]) -> tuple[ToolCall, ...]:
    """The tool calls of an answer, put together. The id is empty where the engine gave none.

    >>> calls_of([Called(index=0, id="a", name="clock"), Called(index=0, arguments="{}")])
    (ToolCall(id='a', name='clock', arguments='{}'),)
    """
    found: dict[int, list[Called]] = {}
    for chunk in chunks:
        if isinstance(chunk, Called):
            found.setdefault(chunk.index, []).append(chunk)
    return tuple(
        [
            ToolCall(
                id=next((piece.id for piece in pieces if piece.id), ""),
                name=next((piece.name for piece in pieces if piece.name), ""),
                arguments="".join([piece.arguments for piece in pieces]),
            )
            for _, pieces in sorted(found.items())
        ]
    )


class Arm(StrEnum):
    """Which side of a rollout served a request."""

    NONE = "none"
    """No rollout was going on for this alias, and no promotion is watched."""
    STABLE = "stable"
    CANDIDATE = "candidate"
    PROMOTED = "promoted"
    """The new version, while its promotion is watched."""
    HOLDBACK = "holdback"
    """The old version, which a few conversations keep while the new one is watched."""


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


class Named(msgspec.Struct, frozen=True, kw_only=True):
    """The caller named a model or alias: it is served by it, always."""

    name: ModelName


class Pinned(msgspec.Struct, frozen=True, kw_only=True):
    """The caller pinned one version (``name@digest``)."""

    name: ModelName
    digest_prefix: str


class Auto(msgspec.Struct, frozen=True, kw_only=True):
    """The house is to pick (``auto`` or ``task:NAME``)."""


Target = Named | Pinned | Auto


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """A whole request, as the house understands it.

    expected: the known right answer, when the caller sent it along *before* seeing the answer.
        The task's own grader then scores the answer, so it counts for a rollout's verdict.
    conversation: what a rollout's assignment sticks to. talk: what a pick sticks to, where that is
        less than all that a user ever asks; None: the conversation.
    helper: asked for the sake of another answer, as a judge is: no model that people use leaves
        memory for it.
    load_options: how the caller would have the model loaded; it is counted and not heeded.
    rehearsal: a validation run: served like any request, but no rollout sees it and it is kept
        out of the record, because whoever runs it keeps its own.
    counts: only how many tokens the prompt has is wanted; always a rehearsal too.
    trace: headers by which its sender names the trace that it belongs to; only where they are read.
    """

    target: Target
    work: Work
    sampling: Sampling = Sampling()
    stream: bool = False
    task: TaskName | None = None
    limits: Limits = NO_LIMITS
    conversation: str
    talk: str | None = None
    expected: str | None = None
    caller: str = "local"
    rehearsal: bool = False
    counts: bool = False
    helper: bool = False
    load_options: tuple[tuple[str, str], ...] = ()
    trace: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """A version that was not considered, and why.

    is_absent: whether it could serve, and only its server is not there now.
    """

    name: ModelName
    version: VersionId
    reason: str
    is_absent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Considered:
    """A version that passed every filter, as the pick saw it.

    chance: that its name was picked. samples: scores that it has at the task. quality: where its
    quality is believed to lie with 90 %; None where no belief is kept.
    """

    name: ModelName
    version: VersionId
    score: float
    explanation: str
    chance: float = 0.0
    samples: int = 0
    quality: tuple[float, float] | None = None


class Decided(msgspec.Struct, frozen=True, kw_only=True):
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
    scores: tuple[Considered, ...] = ()
    """Every version that was considered, the one that was picked first.

    `probability` is that of the version: smaller than its chance while a rollout shares a name out.
    """
    dropped: tuple[Dropped, ...] = ()
    guessed: float | None = None
    """How sure the house was of the task that it guessed; None when it guessed none."""
    would_change: str | None = None
    """What further evidence would make the next one the better one; None: nothing known would."""
    is_held: bool = False
    """Whether the conversation was given to it at an earlier request, with this probability."""
    by_rule: bool = False
    """Whether a rule decided, so that nothing was drawn."""
    plan: str | None = None
    """The digest of the plan of its rollout, while there is one."""
    to_judge: bool = False
    """Whether its rollout asks for a judgement of the answer, if no rule can grade it."""


class Reply(Protocol):
    """An answer that has begun: the first byte is there, so nothing is retried any more."""

    @property
    def decided(self) -> Decided:
        """Who answers, and why."""
        ...

    def chunks(self) -> AsyncIterator[Chunk]:
        """The answer, piece by piece; `Finish` is last. Raises `StreamCut` when the engine dies."""
        ...

    def tally(self) -> str:
        """What it took, in short: names and numbers; empty before its end."""
        ...


class Awaited(msgspec.Struct, frozen=True, kw_only=True):
    """What a request waits for before its answer begins, in words."""

    decision: DecisionId
    task: TaskName
    sentence: str


class Answer(Protocol):
    """Whoever answers a request: dispatch does, and app hands it to whoever needs answers.

    Leaving the context before the end tells the engine to stop.
    """

    def answer(self, ask: Ask) -> AbstractAsyncContextManager[Reply]:
        """Enter when the first chunk is there. Raises any `ArbiterError` before that."""
        ...
