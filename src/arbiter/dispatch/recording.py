"""What became of a request, and what that says of its rollout."""

from __future__ import annotations

from arbiter.cost import unknown
from arbiter.dispatch.behind import Behind
from arbiter.dispatch.journey import Journey, is_no_fault, status_of
from arbiter.dispatch.route import Route
from arbiter.inference import (
    Ask,
    Embedding,
    needed,
    prompt_chars,
)
from arbiter.knowledge import request_lines
from arbiter.knowledge.energies import Spender
from arbiter.knowledge.outcome import NO_FAULT, NOT_BEGUN, Outcome, Status
from arbiter.pool.reply import Receipt, Served
from arbiter.pool.vain import answered
from arbiter.swap.assignment import Assignment, Ended
from arbiter.swap.evidence_rows import failure_of
from arbiter.swap.metrics import Ending
from arbiter.swap.shadowing import Copy
from arbiter.swap.tripping import Failure


class Recording:
    """Puts requests on record, for whoever learns from them."""

    def __init__(self, behind: Behind) -> None:
        self._behind = behind
        self._outcomes = behind.outcomes
        self._controller = behind.controller
        self._clock = behind.clock

    def record(self, way: Journey) -> None:
        """Put a request on record that has ended, and tell its rollout."""
        ask, route, served = way.ask, way.route, way.served
        status, error = status_of(served, way.failed)
        receipt = Receipt() if served is None else served.receipt
        grade = self._grade(ask, route, served) if status is Status.SUCCESS else None
        statements, then = self._unit(way, status, grade)
        if status is Status.SUCCESS and served is not None and served.is_text:
            statements += self._behind.prompts.statements(ask, way.decided, served.text)
        lease = None if way.begun is None else way.begun[2]
        latency = receipt.latency_ms
        if latency is None and status is Status.FAILURE:
            latency = (self._clock.monotonic() - way.started) * 1000
        outcome = Outcome(
            decision=way.decided.decision,
            task=route.task.name,
            version=way.tried,
            status=status,
            error=None if error is None else error.code,
            detail=None if error is None else error.sentence[:2000],
            latency_ms=latency,
            wait_ms=None if latency is None else way.wait_ms,
            load_ms=None if lease is None or latency is None else lease.load_ms,
            ttft_ms=receipt.ttft_ms,
            prompt_chars=prompt_chars(ask.work),
            answer_room=ask.sampling.max_tokens,
            needs=needed(ask.work),
            usage=receipt.usage,
            timings=receipt.timings,
            cpu=unknown(NOT_BEGUN) if lease is None else lease.stop_metering(),
            concurrency=None if lease is None else lease.concurrency,
            grade=grade,
            attempts=() if status is Status.REFUSED else tuple(way.attempts),
        )
        self._outcomes.end(
            way.decided,
            outcome,
            caller=ask.caller,
            also=statements,
            then=then,
        )
        trace = None if way.trace is None else way.trace.named
        request_lines.tell(
            way.decided, outcome, caller=ask.caller, sent_as=ask.sent_as, trace=trace
        )
        # known a moment later, when the counters have moved
        if lease is not None:
            answered_it = status is Status.SUCCESS
            counts = answered_it or status is Status.FAILURE
            spender = Spender(version=way.tried, task=route.task.name, answered=answered_it)
            self._behind.costs.expect(
                way.decided.decision,
                lease.then,
                of=spender if counts else None,
                who=(way.decided.alias, way.tried, route.task.name),
            )
        if way.vain:
            last = None if lease is None else answered(way.tried, lease, took_ms=latency)
            self._behind.costs.expect_tries(
                way.decided.decision, way.vain, task=route.task.name, answered=last
            )

    def _unit(self, way: Journey, status: Status, grade: float | None) -> Ended:
        """What the request says about its rollout, if its conversation is in one."""
        route, served = way.route, way.served
        if route.assignment is None:
            return (), None
        if served is not None and not way.attempts:
            if status is Status.SUCCESS:
                empty = served.is_text and not "".join(served.text).strip()
                self._controller.note(route.assignment, Failure.EMPTY if empty else None)
            elif status is Status.FAILURE and not is_no_fault(way.failed or served.error):
                self._controller.note(route.assignment, Failure.CRASH)
        gradable = self.is_gradable(way.ask, route)
        counts = gradable or route.assignment.is_chosen
        score = _unit_score(way, status, grade) if counts else None
        waits = counts and not gradable and score is None and status is Status.SUCCESS
        if route.assignment.is_watched and not gradable:
            # once nobody judges any more, failures alone would be told, and look like a fall
            score = None
        if route.assignment.is_paired:
            self._shadow(way, route.assignment, score)
        return self._controller.ended(
            route.assignment,
            task=route.task.name,
            decision=way.decided.decision,
            score=score,
            ending=_ending(way, status),
            waits=waits,
        )

    def is_gradable(self, ask: Ask, route: Route) -> bool:
        """Whether a rule grades the answer, whatever it will be."""
        rule = self._behind.grader(route.task, "", ask.expected)
        return rule is not None and route.guess is None

    def _shadow(self, way: Journey, assignment: Assignment, score: float | None) -> None:
        """Have the other version asked the same, once nobody waits."""
        ask, track = way.ask, self._controller.track(assignment.rollout)
        if track is None:
            return
        if score is None or isinstance(ask.work, Embedding):
            track.unpaired(assignment)
            return
        self._behind.copies.add(
            Copy(
                assignment=assignment,
                decision=way.decided.decision,
                task=way.route.task,
                work=ask.work,
                sampling=ask.sampling,
                stream=ask.stream,
                expected=ask.expected,
                served=score,
            )
        )

    def _grade(self, ask: Ask, route: Route, served: Served | None) -> float | None:
        # by the grader of a task that was guessed wrongly it would be wrong on record for good
        if served is None or not served.is_text or route.guess is not None:
            return None
        grade = self._behind.grader(route.task, "".join(served.text), ask.expected)
        return None if grade is None else grade.score


def _unit_score(way: Journey, status: Status, grade: float | None) -> float | None:
    """The score of a unit by intention to treat: it belongs to the arm that it was drawn for.

    A version whose request another one had to serve scores 0, however good that answer was, and
    in either arm alike: otherwise equal versions that fail equally often would look unequal. What
    is not a version's doing (a hang-up, a request that nobody can serve, a full house, a server
    that is gone) scores nothing.
    """
    if status in {Status.CANCELLED, Status.REFUSED}:
        return None
    if way.attempts and way.attempts[0].error in NO_FAULT:
        return None
    error = way.failed or (None if way.served is None else way.served.error)
    if not way.attempts and is_no_fault(error):
        return None
    return 0.0 if status is Status.FAILURE or way.attempts else grade


def _ending(way: Journey, status: Status) -> Ending | None:
    """How the version that was drawn answered; None where that is not its doing."""
    if way.attempts:
        first = way.attempts[0].error
        return None if first in NO_FAULT else Ending(failure=failure_of(first))
    served = way.served
    error = way.failed or (None if served is None else served.error)
    if status in {Status.CANCELLED, Status.REFUSED} or is_no_fault(error):
        return None
    if error is not None or served is None:
        return Ending(failure=Failure.CRASH if error is None else failure_of(error.code))
    if served.is_text and not "".join(served.text).strip():
        return Ending(failure=Failure.EMPTY)
    latency = served.receipt.latency_ms
    return Ending(latency_ms=None if latency is None else max(0.0, latency - (way.wait_ms or 0.0)))
