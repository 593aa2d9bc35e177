"""What an answer is made of, and how it is put together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from arbiter.inference.tools import ToolCall
from arbiter.inference.usage import Timings, Usage


class FinishReason(StrEnum):
    """Why an answer ended."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    """The model waits for the results of the tools that it called."""


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
