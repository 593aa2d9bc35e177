"""A whole request: whom it asks, for what, and within which limits."""

from __future__ import annotations

import msgspec

from arbiter.inference.limits import NO_LIMITS, Limits
from arbiter.inference.sampling import Sampling
from arbiter.inference.work import Work
from arbiter.refs import ModelName, TaskName


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
    sent_as: what its sender calls the request, for the log and the trace.
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
    sent_as: str | None = None
