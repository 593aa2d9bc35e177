"""Whole answers, as the Python API gives them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from arbiter.inference import Reply, ToolCall


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A whole answer, with the decision that led to it.

    calls: what tools it wants called. thought: what the model thought before it answered.
    """

    text: str
    reply: Reply
    calls: tuple[ToolCall, ...] = ()
    thought: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """A vector for each text, in their order, with the decision that led to them.

    Only vectors of one version can be compared with each other: ``reply.decided.version``.
    """

    vectors: tuple[Sequence[float], ...]
    reply: Reply
