"""Decisions, what came of them, and what people said of them later, joined by decision id.

Recording never waits for the disk: a decision and its outcome go to the database together when
the request has ended, and the latest few thousand are kept in memory, so that `why` and feedback
work at once. Feedback is the exception: whoever gives it is told only when it is durable.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache

import msgspec
from msgspec import structs

from arbiter.clock import Clock
from arbiter.cost import Figure, Method
from arbiter.errors import (
    Busy,
    InvalidField,
    KeyRefused,
    NoRoom,
    NotOffered,
    ServerCut,
    ServerGone,
    ShuttingDown,
    UnknownDecision,
)
from arbiter.inference import Arm, Considered, Decided, Dropped, Timings, Usage
from arbiter.knowledge.agreement import PERSON, QUALITY, Said, compared
from arbiter.knowledge.learning import Learning
from arbiter.knowledge.profiles import Profile
from arbiter.knowledge.speed import Timing, timing
from arbiter.refs import DecisionId, ModelName, RolloutId, TaskName, VersionId, is_id
from arbiter.storage.database import Database, Row, Statement
from arbiter.telemetry import Series, Tally

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

RECENT = 4_096
"""Decisions kept in memory."""


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


class Outcomes:
    """The record of every request. The only writer of decisions, outcomes and feedback."""

    def __init__(self, database: Database, clock: Clock, learning: Learning) -> None:
        self._database = database
        self._clock = clock
        self._profiles = learning.profiles
        self._learning = learning
        self._recent: dict[DecisionId, Record] = {}
        self.tally = Tally()
        """What has ended since this house was opened."""
        self._early: dict[DecisionId, tuple[Said, ...]] = {}
        """What was said of answers that have not ended: their grade is not known yet."""

    def begin(self, decided: Decided, *, caller: str) -> None:
        """Remember a decision from the moment it was made."""
        record = Record(
            decided=decided, caller=caller, at=self._clock.now().isoformat(), outcome=None
        )
        self._remember(record)

    def end(
        self,
        decided: Decided,
        outcome: Outcome,
        *,
        caller: str,
        also: tuple[Statement, ...] = (),
        then: Callable[[bool], None] | None = None,
    ) -> None:
        """Store a decision with its outcome soon, together with what else belongs to it."""
        record = self._recent.get(decided.decision)
        now = self._clock.now().isoformat()
        at = record.at if record is not None else now
        self._remember(Record(decided=decided, caller=caller, at=at, outcome=outcome))
        self._database.enqueue(
            _decision_statement(decided, caller=caller, at=at),
            _outcome_statement(outcome, at=now),
            *_attempt_statements(outcome),
            *also,
            then=then,
        )
        _count(self.tally.of((decided.alias, outcome.version, outcome.task)), outcome)
        for attempt in outcome.attempts:
            if attempt.error in NO_FAULT:
                continue
            self._profiles.add(attempt.version, outcome.task, Profile(samples=1))
        is_sample = outcome.status not in {Status.CANCELLED, Status.REFUSED}
        if is_sample and outcome.error not in NO_FAULT:
            self._profiles.add(outcome.version, outcome.task, _sample(outcome))
            if outcome.grade is not None:
                self._learning.graded(outcome.version, outcome.task, outcome.grade, at=now)
        if outcome.status is Status.SUCCESS and outcome.latency_ms is not None:
            self._profiles.speeds.add(outcome.version, outcome.task, _timing(outcome))
        early = self._early.pop(decided.decision, ())
        if early and outcome.grade is not None:
            self._profiles.compare(compared(early, None), times=-1)
            self._profiles.compare(compared(early, outcome.grade))
            self._learning.believed()

    def _remember(self, record: Record) -> None:
        self._recent[record.decided.decision] = record
        if len(self._recent) > RECENT:
            oldest = next(iter(self._recent))
            del self._recent[oldest]
            self._early.pop(oldest, None)

    async def give(self, feedback: Feedback) -> bool:
        """Store a judgement; durable when it returns. False: the same was there already.

        Raises `UnknownDecision`, the same for an id that never was and one that is malformed.
        """
        if not is_id(feedback.decision):
            raise UnknownDecision(param="decision")
        key = (feedback.decision, feedback.source, feedback.kind)
        open_ = self._recent.get(feedback.decision)
        first = (
            ()
            if open_ is None
            else (_decision_statement(open_.decided, caller=open_.caller, at=open_.at),)
        )
        now, reading = self._clock.now().isoformat(), self._learning.reading
        written = await self._database.write(
            *first,
            Statement(query="find_feedback", parameters=key),
            Statement(
                query="give_feedback",
                parameters=(
                    feedback.source,
                    feedback.kind,
                    feedback.score,
                    feedback.comment,
                    feedback.caller,
                    now,
                    feedback.decision,
                ),
                must_change=True,
            ),
            Statement(
                query="log_feedback",
                parameters=(*key, feedback.score, feedback.comment, feedback.caller, now),
            ),
            Statement(query="get_feedback", parameters=(feedback.decision,)),
            Statement(query="get_outcome", parameters=(feedback.decision,)),
        )
        earlier, given, *more = written.rows[len(first) :]
        if not given:
            if earlier:
                return False
            raise UnknownDecision(param="decision")
        ((task, version),) = given
        _, judged, ended = more
        before = _said(feedback, earlier[0]) if earlier else None
        cell = (VersionId(str(version)), TaskName(str(task)))
        self._learning.said(*cell, feedback.said, before=before, at=now, reading=reading)
        self._count(
            feedback,
            before,
            cell=cell,
            others=tuple(
                one.said
                for one in (_feedback(feedback.decision, row) for row in judged)
                if (one.source, one.kind) != key[1:]
            ),
            grade=_real(ended[0][17]) if ended else None,
        )
        return True

    def _count(
        self,
        feedback: Feedback,
        before: Said | None,
        *,
        cell: tuple[VersionId, TaskName],
        others: tuple[Said, ...],
        grade: float | None,
    ) -> None:
        """Let a judgement count instead of the one that it replaces."""
        record = self._recent.get(feedback.decision)
        if grade is None and record is not None and record.outcome is not None:
            grade = record.outcome.grade  # it ended while the judgement was written
        if before is not None:
            self._profiles.judge(*cell, before, times=-1)
            self._profiles.compare(compared((*others, before), grade), times=-1)
        elif others:
            self._profiles.compare(compared(others, grade), times=-1)
        self._profiles.judge(*cell, feedback.said)
        self._profiles.compare(compared((*others, feedback.said), grade))
        self._learning.believed()
        if record is not None and record.outcome is None:
            self._early[feedback.decision] = (*others, feedback.said)

    async def find(self, decision: str) -> Record:
        """Everything that is known of a decision. Raises `UnknownDecision`."""
        if not is_id(decision):
            raise UnknownDecision(param="decision")
        record = self._recent.get(DecisionId(decision))
        if record is None:
            found = await self._database.read("get_decision", (decision,))
            if not found:
                raise UnknownDecision(param="decision")
            outcomes = await self._database.read("get_outcome", (decision,))
            attempts = await self._database.read("list_attempts", (decision,))
            record = _record(found[0], outcomes[0] if outcomes else None, attempts)
        feedback = tuple(
            _feedback(DecisionId(decision), row)
            for row in await self._database.read("get_feedback", (decision,))
        )
        return structs.replace(record, feedback=feedback)


def _count(series: Series, outcome: Outcome) -> None:
    series.statuses[outcome.status.value] += 1
    if outcome.error is not None:
        series.errors[outcome.error] += 1
    if outcome.wait_ms is not None:
        series.wait.add(outcome.wait_ms / 1000.0)
    if outcome.ttft_ms is not None:
        series.first_token.add(outcome.ttft_ms / 1000.0)
    if outcome.latency_ms is not None:
        series.whole.add(outcome.latency_ms / 1000.0)
    usage = outcome.usage
    series.prompt_tokens += usage.prompt_tokens or 0
    series.completion_tokens += usage.completion_tokens or 0
    series.cached_tokens += usage.cached_tokens or 0
    series.cpu_ms += outcome.cpu.value or 0.0


def _feedback(decision: DecisionId, row: Row) -> Feedback:
    source, kind, score, comment, caller = row
    return Feedback(
        decision=decision,
        source=str(source),
        kind=str(kind),
        score=float(score or 0.0),
        comment=None if comment is None else str(comment),
        caller=str(caller),
    )


def _said(feedback: Feedback, earlier: Row) -> Said:
    """The judgement that another one replaces."""
    score, _, caller = earlier
    return replace(feedback.said, score=_real(score) or 0.0, caller=str(caller))


def _sample(outcome: Outcome) -> Profile:
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


def _timing(outcome: Outcome) -> Timing:
    return timing(
        latency_ms=outcome.latency_ms,
        wait_ms=outcome.wait_ms,
        ttft_ms=outcome.ttft_ms,
        usage=outcome.usage,
        timings=outcome.timings,
        prompt_chars=outcome.prompt_chars,
    )


def _decision_statement(decided: Decided, *, caller: str, at: str) -> Statement:
    detail = msgspec.json.encode(
        Detail(
            fallback=decided.fallback,
            scores=decided.scores,
            dropped=tuple([(drop.name, drop.version, drop.reason) for drop in decided.dropped]),
            guessed=decided.guessed,
            would_change=decided.would_change,
            is_held=decided.is_held,
            by_rule=decided.by_rule,
            plan=decided.plan,
            to_judge=decided.to_judge,
        )
    ).decode()
    return Statement(
        query="add_decision",
        parameters=(
            decided.decision,
            decided.task,
            decided.alias,
            decided.version,
            decided.arm.value,
            decided.rollout,
            decided.probability,
            decided.reason,
            detail,
            caller,
            at,
        ),
    )


def _attempt_statements(outcome: Outcome) -> tuple[Statement, ...]:
    return tuple(
        Statement(
            query="add_attempt",
            parameters=(
                outcome.decision,
                position,
                outcome.task,
                attempt.version,
                attempt.error,
            ),
        )
        for position, attempt in enumerate(outcome.attempts)
    )


def _outcome_statement(outcome: Outcome, *, at: str) -> Statement:
    usage, timings = outcome.usage, outcome.timings
    return Statement(
        query="add_outcome",
        parameters=(
            outcome.decision,
            outcome.task,
            outcome.version,
            outcome.status.value,
            outcome.error,
            outcome.detail,
            outcome.latency_ms,
            outcome.wait_ms,
            outcome.ttft_ms,
            usage.prompt_tokens,
            usage.completion_tokens,
            usage.cached_tokens,
            timings.prefill_ms,
            timings.decode_ms,
            outcome.cpu.value,
            outcome.cpu.method.value,
            outcome.cpu.note,
            outcome.grade,
            at,
            outcome.prompt_chars,
            outcome.answer_room,
            _words(outcome.needs),
            outcome.load_ms,
            outcome.concurrency,
        ),
    )


class Detail(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a decision beside its columns."""

    fallback: ModelName | None
    scores: tuple[Considered, ...]
    dropped: tuple[tuple[ModelName, VersionId, str], ...]
    guessed: float | None
    would_change: str | None
    is_held: bool
    by_rule: bool
    plan: str | None = None
    to_judge: bool = False


def detail_of(text: str) -> Detail:
    """The detail of a decision as it is kept."""
    return msgspec.json.decode(text, type=Detail)


def _record(decision: Row, outcome: Row | None, attempts: Sequence[Row]) -> Record:
    id_, task, alias, version, arm, rollout, probability, reason, detail, caller, at = decision
    more = detail_of(str(detail))
    decided = Decided(
        decision=DecisionId(str(id_)),
        task=TaskName(str(task)),
        alias=ModelName(str(alias)),
        version=VersionId(str(version)),
        arm=Arm(str(arm)),
        reason=str(reason),
        probability=float(probability or 0.0),
        rollout=None if rollout is None else RolloutId(str(rollout)),
        fallback=more.fallback,
        scores=more.scores,
        dropped=tuple(
            Dropped(name=name, version=which, reason=why) for name, which, why in more.dropped
        ),
        guessed=more.guessed,
        would_change=more.would_change,
        is_held=more.is_held,
        by_rule=more.by_rule,
        plan=more.plan,
        to_judge=more.to_judge,
    )
    return Record(
        decided=decided,
        caller=str(caller),
        at=str(at),
        outcome=None if outcome is None else _outcome(outcome, attempts),
    )


def _outcome(row: Row, attempts: Sequence[Row]) -> Outcome:
    (decision, task, version, status, error, detail, latency, wait, ttft, prompt) = row[:10]
    (completion, cached, prefill, decode, cpu, cpu_method, cpu_note, grade, _, chars) = row[10:20]
    room, needs, load, concurrency = row[20:]
    return Outcome(
        decision=DecisionId(str(decision)),
        task=TaskName(str(task)),
        version=VersionId(str(version)),
        status=Status(str(status)),
        error=None if error is None else str(error),
        detail=None if detail is None else str(detail),
        latency_ms=_real(latency),
        wait_ms=_real(wait),
        load_ms=_real(load),
        ttft_ms=_real(ttft),
        prompt_chars=_whole(chars),
        answer_room=_whole(room),
        needs=frozenset(str(needs or "").split()),
        usage=Usage(
            prompt_tokens=_whole(prompt),
            completion_tokens=_whole(completion),
            cached_tokens=_whole(cached),
        ),
        timings=Timings(prefill_ms=_real(prefill), decode_ms=_real(decode)),
        cpu=Figure(
            value=_real(cpu),
            method=Method(str(cpu_method)),
            note=None if cpu_note is None else str(cpu_note),
        ),
        concurrency=_real(concurrency),
        grade=_real(grade),
        attempts=tuple(
            Attempt(version=VersionId(str(tried)), error=str(why)) for tried, why in attempts
        ),
    )


@lru_cache(maxsize=64)
def _words(needs: frozenset[str]) -> str:
    """Capabilities as one text; there are few sets of them, and every request has one."""
    return " ".join(sorted(needs))


def _real(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _whole(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) else None
