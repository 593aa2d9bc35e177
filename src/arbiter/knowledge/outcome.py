"""What came of a decision, what people said of it later, and both together: the values.

How they are kept is `arbiter.knowledge.outcome_rows`; who keeps them is
`arbiter.knowledge.outcomes`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from arbiter.cost import Figure
from arbiter.errors import (
    Busy,
    InvalidField,
    KeyRefused,
    NoRoom,
    NotOffered,
    ServerCut,
    ServerGone,
    ShuttingDown,
)
from arbiter.inference import Decided, Timings, Usage
from arbiter.knowledge.agreement import PERSON, QUALITY, Said
from arbiter.knowledge.profiles import Profile
from arbiter.knowledge.speed import Timing, timing
from arbiter.refs import DecisionId, TaskName, VersionId

NO_FAULT = frozenset(
    {
        Busy.code,
        KeyRefused.code,
        NoRoom.code,
        NotOffered.code,
        ServerCut.code,
        ServerGone.code,
        ShuttingDown.code,
    }
)
"""Errors that say something about the house or a server beside it, and nothing about the version.

The queries that add up what is kept leave out the same.
"""

NOT_BEGUN = "no answer began, so nothing was counted for it"


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """A version that failed a request before its first byte, so that another served it."""

    version: VersionId
    error: str


class Status(StrEnum):
    """How a request ended."""

    SUCCESS = "success"
    FAILURE = "failure"
    CANCELLED = "cancelled"
    """The client hung up: no fault of the version's, and no sample of it."""
    REFUSED = "refused"
    """The request could not be served as it was, or the house was full: no sample either."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a decision.

    version: the one that served it, or failed last. error, detail: the code and the sentence of
    what went wrong; the sentence may quote an engine, so only who runs the house is told it.
    prompt_chars: how long the prompt was, in characters. answer_room: how many tokens the answer
    was allowed. needs: what the version had to be able to do.
    wait_ms: until its slot, of which load_ms was a load. concurrency: among how many it ran at its
    model on average, itself included.
    """

    decision: DecisionId
    task: TaskName
    version: VersionId
    status: Status
    error: str | None = None
    detail: str | None = None
    latency_ms: float | None = None
    wait_ms: float | None = None
    load_ms: float | None = None
    ttft_ms: float | None = None
    prompt_chars: int | None = None
    answer_room: int | None = None
    needs: frozenset[str] = frozenset()
    usage: Usage = Usage()
    timings: Timings = Timings()
    cpu: Figure
    concurrency: float | None = None
    grade: float | None = None
    attempts: tuple[Attempt, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """A later judgement of an outcome. One a (decision, source, kind); the latest counts.

    caller: who gave it: the id of a key, or who runs the house.
    """

    decision: DecisionId
    score: float
    source: str = PERSON
    kind: str = QUALITY
    comment: str | None = None
    caller: str = "local"

    @property
    def said(self) -> Said:
        """As it counts."""
        return Said(source=self.source, kind=self.kind, score=self.score, caller=self.caller)

    def __post_init__(self) -> None:
        """Refuse what cannot be a judgement."""
        if not (math.isfinite(self.score) and 0 <= self.score <= 1):
            raise InvalidField("score is a number from 0 (bad) to 1 (good).", param="score")
        for name, text, most in (
            ("source", self.source, 64),
            ("kind", self.kind, 64),
            ("comment", self.comment or "-", 10_000),
        ):
            if (
                not 0 < len(text) <= most
                or "\0" in text
                or (not text.isprintable() and name != "comment")
            ):
                raise InvalidField(f"{name} is text of 1 to {most} characters.", param=name)


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A decision with everything that is known of it."""

    decided: Decided
    caller: str
    at: str
    outcome: Outcome | None
    feedback: tuple[Feedback, ...] = ()


def sample_of(outcome: Outcome) -> Profile:
    """What it adds to its version's profile."""
    success = outcome.status is Status.SUCCESS
    timed = success and outcome.latency_ms is not None
    return Profile(
        samples=1,
        graded=0 if outcome.grade is None else 1,
        quality=outcome.grade or 0.0,
        successes=1 if success else 0,
        timed=1 if timed else 0,
        # what a version takes is not what its load or the queue before it took
        latency_ms=(outcome.latency_ms or 0.0) - (outcome.wait_ms or 0.0) if timed else 0.0,
    )


def timing_of(outcome: Outcome) -> Timing:
    """How fast it was."""
    return timing(
        latency_ms=outcome.latency_ms,
        wait_ms=outcome.wait_ms,
        ttft_ms=outcome.ttft_ms,
        usage=outcome.usage,
        timings=outcome.timings,
        prompt_chars=outcome.prompt_chars,
    )
