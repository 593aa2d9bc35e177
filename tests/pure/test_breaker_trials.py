"""A breaker's trials: what began before one says nothing of it, and what is told in between."""

from __future__ import annotations

import pytest
from msgspec import structs

from arbiter.pool.breaker import (
    FAILURES,
    PAUSES_S,
    Breaker,
    Phase,
    Sign,
    Ticket,
    begun,
    ended,
    passed_over,
)


def opened(now: float = 0.0, *, why: str = "status 500") -> tuple[Breaker, Ticket]:
    """One that just opened, and the ticket of a request that began before."""
    breaker, early = begun(Breaker(), now)
    for _ in range(FAILURES):
        breaker, ticket = begun(breaker, now)
        breaker = ended(breaker, ticket, Sign.ILL, now=now, why=why)
    assert breaker.phase is Phase.OPEN
    return breaker, early


def test_what_began_before_it_opened_says_nothing_of_a_trial() -> None:
    breaker, early = opened()
    assert ended(breaker, early, Sign.WELL, now=1.0) == breaker
    trying, trial = begun(breaker, PAUSES_S[0])
    assert (trying.phase, trial.is_trial) == (Phase.TRYING, True)
    assert ended(trying, early, Sign.WELL, now=11.0) == trying
    assert ended(trying, early, Sign.ILL, now=11.0) == trying


def test_a_trial_that_was_overtaken_by_another_says_nothing_any_more() -> None:
    breaker, _ = opened()
    trying, slow = begun(breaker, PAUSES_S[0])
    later, _ = begun(trying, 2 * PAUSES_S[0])
    assert ended(later, slow, Sign.WELL, now=21.0) == later


def test_a_trial_that_fails_opens_it_for_longer_and_all_its_failures_begin_anew() -> None:
    breaker, _ = opened()
    trying, trial = begun(breaker, PAUSES_S[0])
    again = ended(trying, trial, Sign.ILL, now=12.0, why="it hangs")
    assert (again.phase, again.until) == (Phase.OPEN, 12.0 + PAUSES_S[1])
    assert (again.failures, again.openings) == (0, 2)
    assert passed_over(again, 13.0) == "it kept failing: it hangs"
    assert ended(again, trial, Sign.WELL, now=13.0) == again


def test_a_trial_that_is_lost_is_a_failure_like_any_other() -> None:
    breaker, _ = opened()
    trying, trial = begun(breaker, PAUSES_S[0])
    lost = ended(trying, trial, Sign.LOST, now=12.0, why="it crashed")
    assert (lost.phase, lost.why) == (Phase.OPEN, "it crashed")


def test_after_a_trial_that_went_well_nothing_of_the_failure_is_told() -> None:
    breaker, _ = opened()
    trying, trial = begun(breaker, PAUSES_S[0])
    well = ended(trying, trial, Sign.WELL, now=12.0)
    assert (well.phase, well.failures, well.why) == (Phase.CLOSED, 0, "")
    assert passed_over(well, 12.0) is None


def test_a_trial_that_said_nothing_leaves_the_next_one_due_at_once() -> None:
    breaker, _ = opened()
    trying, trial = begun(breaker, PAUSES_S[0])
    waiting = ended(trying, trial, Sign.NOTHING, now=12.0)
    assert (waiting.phase, passed_over(waiting, 12.0)) == (Phase.OPEN, None)
    assert waiting.why == "status 500"
    # whoever was sent while it tried was no trial
    beside = structs.replace(trial, is_trial=False)
    assert ended(trying, beside, Sign.NOTHING, now=12.0) == trying


def test_a_crash_is_one_failure_however_many_requests_it_takes_with_it() -> None:
    breaker = Breaker()
    tickets = []
    for _ in range(2 * FAILURES):
        breaker, ticket = begun(breaker, 0.0)
        tickets.append(ticket)
    for ticket in tickets:
        breaker = ended(breaker, ticket, Sign.LOST, now=1.0, why="it crashed")
    assert (breaker.phase, breaker.failures, breaker.why) == (Phase.CLOSED, 1, "it crashed")


def test_crash_after_crash_opens_it() -> None:
    breaker = Breaker()
    for _ in range(FAILURES):
        breaker, ticket = begun(breaker, 0.0)
        breaker = ended(breaker, ticket, Sign.LOST, now=1.0, why="it crashed")
    assert (breaker.phase, breaker.losses) == (Phase.OPEN, FAILURES)


@pytest.mark.parametrize("sign", [Sign.ILL, Sign.LOST])
def test_whoever_was_sent_although_it_is_open_changes_no_pause(sign: Sign) -> None:
    breaker, _ = opened()
    same, ticket = begun(breaker, 3.0)
    assert not ticket.is_trial
    after = ended(same, ticket, sign, now=4.0, why="as known")
    assert (after.phase, after.until, after.why) == (Phase.OPEN, breaker.until, "status 500")
