"""Decisions, outcomes and feedback as rows of the record, there and back.

The queries are in `storage/queries/knowledge.sql`. Nothing here says when a row is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import msgspec

from arbiter.cost import Figure, Method
from arbiter.inference import Arm, Considered, Decided, Dropped, Timings, Usage
from arbiter.knowledge.agreement import Said
from arbiter.knowledge.outcome import Attempt, Feedback, Outcome, Record, Status
from arbiter.refs import DecisionId, ModelName, RolloutId, TaskName, VersionId
from arbiter.storage.database import Row, Statement

_ENCODER = msgspec.json.Encoder()


def decision_statement(decided: Decided, *, caller: str, at: str) -> Statement:
    """What writes a decision down."""
    detail = _ENCODER.encode(
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
            decided.arm,
            decided.rollout,
            decided.probability,
            decided.reason,
            detail,
            caller,
            at,
        ),
    )


def attempt_statements(outcome: Outcome) -> tuple[Statement, ...]:
    """What writes down who failed before its first byte."""
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


def outcome_statement(outcome: Outcome, *, at: str) -> Statement:
    """What writes an outcome down. at: when it ended."""
    usage, timings = outcome.usage, outcome.timings
    return Statement(
        query="add_outcome",
        parameters=(
            outcome.decision,
            outcome.task,
            outcome.version,
            outcome.status,
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
            outcome.cpu.method,
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


def record_of(decision: Row, outcome: Row | None, attempts: Sequence[Row]) -> Record:
    """A decision with its outcome, from their rows."""
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


def feedback_of(decision: DecisionId, row: Row) -> Feedback:
    """A judgement, from its row."""
    source, kind, score, comment, caller = row
    return Feedback(
        decision=decision,
        source=str(source),
        kind=str(kind),
        score=float(score or 0.0),
        comment=None if comment is None else str(comment),
        caller=str(caller),
    )


def said_before(feedback: Feedback, earlier: Row) -> Said:
    """The judgement that another one replaces."""
    score, _, caller = earlier
    return replace(feedback.said, score=real(score) or 0.0, caller=str(caller))


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
        latency_ms=real(latency),
        wait_ms=real(wait),
        load_ms=real(load),
        ttft_ms=real(ttft),
        prompt_chars=_whole(chars),
        answer_room=_whole(room),
        needs=frozenset(str(needs or "").split()),
        usage=Usage(
            prompt_tokens=_whole(prompt),
            completion_tokens=_whole(completion),
            cached_tokens=_whole(cached),
        ),
        timings=Timings(prefill_ms=real(prefill), decode_ms=real(decode)),
        cpu=Figure(
            value=real(cpu),
            method=Method(str(cpu_method)),
            note=None if cpu_note is None else str(cpu_note),
        ),
        concurrency=real(concurrency),
        grade=real(grade),
        attempts=tuple(
            Attempt(version=VersionId(str(tried)), error=str(why)) for tried, why in attempts
        ),
    )


@lru_cache(maxsize=64)
def _words(needs: frozenset[str]) -> str:
    """Capabilities as one text; there are few sets of them, and every request has one."""
    return " ".join(sorted(needs))


def real(value: object) -> float | None:
    """A number, or None."""
    return float(value) if isinstance(value, int | float) else None


def _whole(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) else None
