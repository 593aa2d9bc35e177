"""Whether an instance is passed over for a while because it failed: a pure state machine.

    closed ──(5 failures in a row)──> open ──(its pause is over, one comes)──> trying
       ^                               ^  │                                      │ │
       └──────────── it answered ──────┼──┴──────────────────────────────────────┘ │
                                       └────────────── it failed again ────────────┘

Only the choice between instances heeds it. It refuses nobody: who is the last that could serve is
asked all the same, and when it answers, that closes the breaker as well as a trial does. What an
instance says of a request (a status of 4xx, that it is busy) is no failure of the instance.

This module knows no clock, no engine and no version.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, assert_never

import msgspec

from arbiter.errors import (
    ArbiterError,
    CannotServe,
    EngineUnavailable,
    InstanceLost,
    LoadFailed,
    ServerCut,
    StreamCut,
)

FAILURES: Final = 5
"""In a row, after which it is passed over. As many as Envoy's ``consecutive_5xx``."""

PAUSES_S: Final = (10.0, 20.0, 40.0, 80.0, 160.0, 300.0)
"""Until the next trial, after so many openings in a row."""


class Phase(StrEnum):
    """Where a breaker stands."""

    CLOSED = "closed"
    OPEN = "open"
    TRYING = "trying"


class Sign(StrEnum):
    """What the end of a request says of the instance."""

    WELL = "well"
    ILL = "ill"
    LOST = "lost"
    """It broke off. What a crash takes with it is one failure, however many requests that were."""
    NOTHING = "nothing"


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """When a request began, in the breaker's own time, and whether it is a trial."""

    turn: int = 0
    losses: int = 0
    is_trial: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """One instance's.

    failures: in a row, since it was closed. openings: in a row; an answer takes one off. until:
    seconds of a monotonic clock until which it is passed over. turn: grows with each opening and
    each trial; what began in an earlier turn says nothing of this one. losses: grows with each
    loss; what is lost too and began before it is the same loss. why: the last failure.
    """

    phase: Phase = Phase.CLOSED
    failures: int = 0
    openings: int = 0
    until: float = 0.0
    turn: int = 0
    losses: int = 0
    why: str = ""


def passed_over(breaker: Breaker, now: float) -> str | None:
    """Why somebody else is to be asked now, or None when this one may be.

    >>> passed_over(Breaker(phase=Phase.OPEN, until=10.0, why="status 500"), 3.0)
    'it kept failing: status 500'
    >>> passed_over(Breaker(phase=Phase.OPEN, until=10.0), 10.0)
    """
    if breaker.phase is Phase.CLOSED or now >= breaker.until:
        return None
    return f"it kept failing: {breaker.why}"


def begun(breaker: Breaker, now: float) -> tuple[Breaker, Ticket]:
    """A request begins: the trial, when one is due."""
    if breaker.phase is Phase.CLOSED or now < breaker.until:
        return breaker, Ticket(turn=breaker.turn, losses=breaker.losses)
    # a trial that takes longer than the pause is not waited for: another one may begin
    trying = replace(
        breaker,
        phase=Phase.TRYING,
        turn=breaker.turn + 1,
        until=now + _pause(breaker.openings),
    )
    return trying, Ticket(turn=trying.turn, losses=trying.losses, is_trial=True)


def ended(breaker: Breaker, ticket: Ticket, sign: Sign, *, now: float, why: str = "") -> Breaker:
    """A request ended so. why: what went wrong, if something did."""
    if ticket.turn != breaker.turn:
        return breaker
    match sign:
        case Sign.WELL if not (breaker.failures or breaker.openings):
            return breaker  # it was well before: nearly every request there is
        case Sign.WELL:
            left = max(0, breaker.openings - (breaker.phase is Phase.CLOSED))
            return replace(breaker, phase=Phase.CLOSED, failures=0, openings=left, why="")
        case Sign.ILL:
            return _failed(breaker, now, why)
        case Sign.LOST if ticket.losses != breaker.losses:
            return breaker
        case Sign.LOST:
            return _failed(replace(breaker, losses=breaker.losses + 1), now, why)
        case Sign.NOTHING:
            # it was no trial in the end: the next one is
            is_open = ticket.is_trial and breaker.phase is Phase.TRYING
            return replace(breaker, phase=Phase.OPEN, until=now) if is_open else breaker
        case _:
            assert_never(sign)


def _failed(breaker: Breaker, now: float, why: str) -> Breaker:
    match breaker.phase:
        case Phase.CLOSED:
            failures = breaker.failures + 1
            if failures < FAILURES:
                return replace(breaker, failures=failures, why=why)
            return _opened(breaker, now, why)
        case Phase.TRYING:
            return _opened(breaker, now, why)
        case Phase.OPEN:
            # whoever had nobody else was sent here; that it fails is known
            return breaker
        case _:
            assert_never(breaker.phase)


def _opened(breaker: Breaker, now: float, why: str) -> Breaker:
    openings = breaker.openings + 1
    return replace(
        breaker,
        phase=Phase.OPEN,
        failures=0,
        openings=openings,
        until=now + _pause(openings),
        turn=breaker.turn + 1,
        why=why,
    )


def _pause(openings: int) -> float:
    return PAUSES_S[min(max(openings, 1), len(PAUSES_S)) - 1]


def sign_of(error: ArbiterError) -> Sign:
    """What an error says of the instance that it came from.

    Nothing: a refusal of the request, a full house, work that it cannot do, a load that failed
    (which is paused by itself), a server that is known to be gone.

    >>> from arbiter.errors import Busy, EngineRefused, EngineTimeout
    >>> sign_of(EngineTimeout()), sign_of(EngineRefused()), sign_of(Busy())
    (<Sign.ILL: 'ill'>, <Sign.NOTHING: 'nothing'>, <Sign.NOTHING: 'nothing'>)
    """
    if error.ours or isinstance(error, LoadFailed | ServerCut | CannotServe | EngineUnavailable):
        return Sign.NOTHING
    return Sign.LOST if isinstance(error, InstanceLost | StreamCut) else Sign.ILL
