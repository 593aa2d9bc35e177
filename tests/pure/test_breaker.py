"""Breakers: when an instance is passed over, and that nothing shuts it for ever."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbiter.errors import (
    ArbiterError,
    Busy,
    CannotServe,
    EngineError,
    EngineRefused,
    EngineTimeout,
    InstanceLost,
    KeyRefused,
    LoadFailed,
    ServerCut,
    ServerGone,
    StreamCut,
)
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
    sign_of,
)

WELL, ILL, LOST, NOTHING = Sign.WELL, Sign.ILL, Sign.LOST, Sign.NOTHING


@dataclass
class Played:
    """A breaker that requests come to."""

    breaker: Breaker = field(default_factory=Breaker)
    now: float = 0.0
    running: list[Ticket] = field(default_factory=list)

    def come(self) -> Ticket:
        self.breaker, ticket = begun(self.breaker, self.now)
        self.running.append(ticket)
        return ticket

    def go(self, ticket: Ticket, sign: Sign) -> None:
        self.running.remove(ticket)
        self.breaker = ended(self.breaker, ticket, sign, now=self.now, why="status 500")

    def ask(self, *signs: Sign) -> None:
        for sign in signs:
            self.go(self.come(), sign)

    def stands(self) -> Phase:
        return self.breaker.phase

    @property
    def is_passed_over(self) -> bool:
        return passed_over(self.breaker, self.now) is not None


def opened() -> Played:
    played = Played()
    played.ask(*[ILL] * FAILURES)
    return played


def test_it_opens_after_failures_in_a_row_and_says_why() -> None:
    played = Played()
    played.ask(*[ILL] * (FAILURES - 1))
    assert not played.is_passed_over
    played.ask(ILL)
    assert passed_over(played.breaker, played.now) == "it kept failing: status 500"


def test_an_answer_between_failures_begins_the_count_anew() -> None:
    played = Played()
    played.ask(*[ILL] * (FAILURES - 1), WELL, *[ILL] * (FAILURES - 1))
    assert not played.is_passed_over


def test_when_its_pause_is_over_one_request_tries_it_and_the_others_wait_for_that() -> None:
    played = opened()
    played.now = PAUSES_S[0]
    assert passed_over(played.breaker, played.now) is None
    assert played.come().is_trial
    assert played.is_passed_over
    assert not played.come().is_trial


def test_a_trial_that_is_answered_closes_it() -> None:
    played = opened()
    played.now = PAUSES_S[0]
    played.ask(WELL)
    assert played.stands() is Phase.CLOSED


def test_a_trial_that_fails_opens_it_for_longer() -> None:
    played = opened()
    for pause, following in zip(PAUSES_S, (*PAUSES_S[1:], PAUSES_S[-1]), strict=True):
        played.now += pause
        played.ask(ILL)
        assert played.breaker.until == played.now + following


def test_it_forgets_its_openings_one_by_one() -> None:
    played = opened()
    for _ in range(2):
        played.now = played.breaker.until
        played.ask(ILL)
    played.now = played.breaker.until
    played.ask(WELL, WELL)
    assert played.breaker.openings == 2
    played.ask(WELL, WELL, WELL)
    assert played.breaker.openings == 0


def test_a_trial_that_says_nothing_leaves_the_trial_to_the_next() -> None:
    played = opened()
    played.now = PAUSES_S[0]
    played.ask(NOTHING)
    assert not played.is_passed_over
    assert played.come().is_trial


def test_a_trial_that_never_ends_is_not_waited_for() -> None:
    played = opened()
    played.now = PAUSES_S[0]
    first = played.come()
    played.now += PAUSES_S[0]
    second = played.come()
    assert second.is_trial
    played.go(first, ILL)
    assert played.stands() is Phase.TRYING
    played.go(second, WELL)
    assert played.stands() is Phase.CLOSED


def test_who_had_nobody_else_and_is_answered_closes_it_too() -> None:
    played = opened()
    played.ask(ILL)
    assert played.stands() is Phase.OPEN
    played.ask(WELL)
    assert played.stands() is Phase.CLOSED


def test_what_a_crash_takes_with_it_is_one_failure() -> None:
    played = Played()
    for _ in range(FAILURES - 1):
        for ticket in [played.come() for _ in range(20)]:
            played.go(ticket, LOST)
    assert not played.is_passed_over
    played.ask(LOST)
    assert played.is_passed_over


def test_what_began_before_it_opened_says_nothing_of_it_now() -> None:
    played = Played()
    early = played.come()
    played.ask(*[ILL] * FAILURES)
    played.go(early, WELL)
    assert played.is_passed_over


@pytest.mark.parametrize(
    ("error", "sign"),
    [
        (EngineError(), ILL),
        (EngineTimeout(), ILL),
        (InstanceLost(), LOST),
        (StreamCut(), LOST),
        (EngineRefused(), NOTHING),
        (CannotServe(), NOTHING),
        (KeyRefused(), NOTHING),
        (Busy(), NOTHING),
        (LoadFailed(), NOTHING),
        (ServerGone(), NOTHING),
        (ServerCut(), NOTHING),
    ],
    ids=lambda found: getattr(found, "code", None),
)
def test_only_a_failure_of_the_instance_counts(error: ArbiterError, sign: Sign) -> None:
    assert sign_of(error) is sign


steps = st.lists(
    st.one_of(
        st.just("come"),
        st.tuples(st.integers(0, 30), st.sampled_from(Sign)),
        st.floats(0.0, 400.0),
    ),
    max_size=120,
)


@given(steps)
def test_whatever_happens_it_opens_only_for_failures_and_never_for_ever(
    found: list[str | tuple[int, Sign] | float],
) -> None:
    played, in_a_row = Played(), 0
    for step in found:
        if step == "come":
            _comes(played)
        elif isinstance(step, tuple) and played.running:
            in_a_row = _goes(played, *step, in_a_row=in_a_row)
        elif isinstance(step, float):
            played.now += step
        assert 0 <= played.breaker.failures < FAILURES
        assert played.breaker.until <= played.now + PAUSES_S[-1]
    played.now += PAUSES_S[-1]
    assert not played.is_passed_over


def _comes(played: Played) -> None:
    before = played.breaker
    is_due = before.phase is not Phase.CLOSED and played.now >= before.until
    assert played.come().is_trial is is_due


def _goes(played: Played, number: int, sign: Sign, *, in_a_row: int) -> int:
    """One request ends; how many failed in a row since it was closed."""
    before = played.breaker
    ticket = played.running[number % len(played.running)]
    known = sign is LOST and ticket.losses != before.losses
    heeded = ticket.turn == before.turn and not known
    played.go(ticket, sign)
    after = played.breaker
    if sign is NOTHING:
        assert (after.failures, after.openings) == (before.failures, before.openings)
        assert after.until <= max(before.until, played.now)
    if sign is WELL and heeded:
        assert not played.is_passed_over
    if before.phase is not Phase.CLOSED:
        assert after.phase is not Phase.CLOSED or sign is WELL
        return 0
    if heeded and sign is not NOTHING:
        in_a_row = 0 if sign is WELL else in_a_row + 1
    assert (after.phase is Phase.OPEN) is (in_a_row >= FAILURES)
    return in_a_row
