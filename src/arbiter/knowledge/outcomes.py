"""Decisions, what came of them, and what people said of them later, joined by decision id.

Recording never waits for the disk: a decision and its outcome go to the database together when
the request has ended, and the latest few thousand are kept in memory, so that `why` and feedback
work at once. Feedback is the exception: whoever gives it is told only when it is durable.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from msgspec import structs

from arbiter.clock import Clock
from arbiter.errors import UnknownDecision
from arbiter.inference import Decided
from arbiter.knowledge.agreement import Said, compared
from arbiter.knowledge.learning import Learning
from arbiter.knowledge.outcome import (
    NO_FAULT,
    Feedback,
    Outcome,
    Record,
    Status,
    sample_of,
    timing_of,
)
from arbiter.knowledge.outcome_rows import (
    attempt_statements,
    decision_statement,
    feedback_of,
    outcome_statement,
    real,
    record_of,
    said_before,
)
from arbiter.knowledge.profiles import Profile
from arbiter.refs import DecisionId, TaskName, VersionId, is_id
from arbiter.storage.database import Database, Statement
from arbiter.telemetry import Series, Tally

OPEN = 4_096
"""Decisions kept in memory whose requests have not ended."""

RECENT = 1_024
"""And of those that have ended: what the file may not have yet.

Not more of them, because each is written over the oldest, and that part of memory has grown cold:
four times as many cost every request up to a thirtieth of its CPU time.
"""


class Outcomes:
    """The record of every request. The only writer of decisions, outcomes and feedback."""

    def __init__(self, database: Database, clock: Clock, learning: Learning) -> None:
        self._database = database
        self._clock = clock
        self._profiles = learning.profiles
        self._learning = learning
        self._open: OrderedDict[DecisionId, Record] = OrderedDict()
        self._recent: OrderedDict[DecisionId, Record] = OrderedDict()
        self.tally = Tally()
        """What has ended since this house was opened."""
        self._early: dict[DecisionId, tuple[Said, ...]] = {}
        """What was said of answers that have not ended: their grade is not known yet."""

    def begin(self, decided: Decided, *, caller: str) -> None:
        """Remember a decision from the moment it was made."""
        self._open[decided.decision] = Record(
            decided=decided, caller=caller, at=self._clock.now().isoformat(), outcome=None
        )
        if len(self._open) > OPEN:
            oldest, _ = self._open.popitem(last=False)
            self._early.pop(oldest, None)

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
        record = self._open.pop(decided.decision, None) or self._recent.get(decided.decision)
        now = self._clock.now().isoformat()
        at = record.at if record is not None else now
        self._recent[decided.decision] = Record(
            decided=decided, caller=caller, at=at, outcome=outcome
        )
        if len(self._recent) > RECENT:
            self._recent.popitem(last=False)
        self._database.enqueue(
            decision_statement(decided, caller=caller, at=at),
            outcome_statement(outcome, at=now),
            *(attempt_statements(outcome) if outcome.attempts else ()),
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
            self._profiles.add(outcome.version, outcome.task, sample_of(outcome))
            if outcome.grade is not None:
                self._learning.graded(outcome.version, outcome.task, outcome.grade, at=now)
        if outcome.status is Status.SUCCESS and outcome.latency_ms is not None:
            self._profiles.speeds.add(outcome.version, outcome.task, timing_of(outcome))
        early = self._early.pop(decided.decision, ())
        if early and outcome.grade is not None:
            self._profiles.compare(compared(early, None), times=-1)
            self._profiles.compare(compared(early, outcome.grade))
            self._learning.believed()

    def _known(self, decision: DecisionId) -> Record | None:
        """What memory has of a decision."""
        return self._open.get(decision) or self._recent.get(decision)

    async def give(self, feedback: Feedback) -> bool:
        """Store a judgement; durable when it returns. False: the same was there already.

        Raises `UnknownDecision`, the same for an id that never was and one that is malformed.
        """
        if not is_id(feedback.decision):
            raise UnknownDecision(param="decision")
        key = (feedback.decision, feedback.source, feedback.kind)
        open_ = self._known(feedback.decision)
        first = (
            ()
            if open_ is None
            else (decision_statement(open_.decided, caller=open_.caller, at=open_.at),)
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
        before = said_before(feedback, earlier[0]) if earlier else None
        cell = (VersionId(str(version)), TaskName(str(task)))
        self._learning.said(*cell, feedback.said, before=before, at=now, reading=reading)
        self._count(
            feedback,
            before,
            cell=cell,
            others=tuple(
                one.said
                for one in (feedback_of(feedback.decision, row) for row in judged)
                if (one.source, one.kind) != key[1:]
            ),
            grade=real(ended[0][17]) if ended else None,
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
        record = self._known(feedback.decision)
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
        if decision.startswith("req_"):
            raise UnknownDecision(
                "Nothing was decided on this request.",
                hint="It was refused before that: the log has a line with its id (log.level).",
                param="decision",
            )
        if not is_id(decision):
            raise UnknownDecision(param="decision")
        record = self._known(DecisionId(decision))
        if record is None:
            found = await self._database.read("get_decision", (decision,))
            if not found:
                # it may have left memory before a slow disk had it
                await self._database.settle()
                found = await self._database.read("get_decision", (decision,))
            if not found:
                raise UnknownDecision(param="decision")
            outcomes = await self._database.read("get_outcome", (decision,))
            attempts = await self._database.read("list_attempts", (decision,))
            record = record_of(found[0], outcomes[0] if outcomes else None, attempts)
        feedback = tuple(
            feedback_of(DecisionId(decision), row)
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
