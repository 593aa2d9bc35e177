"""The life of an instance as a table: where it stands, what may happen to it, where that leads.

    cold ──> loading ──> ready ──> draining ──> cold
               │           │           │
               └─> failed <┘ (lost)    └─> ready (called off)

Whatever is not in the table cannot happen; who tries has a fault, and is told. This module knows
no runner, no clock and no task: `arbiter.pool.instance` is the one writer.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class State(StrEnum):
    """Where an instance stands in its life."""

    COLD = "cold"
    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"


class Move(StrEnum):
    """What may happen to an instance."""

    LOAD = "load"
    """Somebody needs it."""
    LOADED = "loaded"
    GIVE_UP = "give up"
    """A load ended without a runner and without a fault: nobody waits, or there is no room."""
    FAIL = "fail"
    """A load failed, or a runner that was ready is gone."""
    DRAIN = "drain"
    """It is to be unloaded: nobody new, and those who are served are served to the end."""
    DRAINED = "drained"
    CALL_OFF = "call off"
    """The drain took too long, and it serves again."""
    FORGIVE = "forgive"
    """What it failed of is over."""


TABLE: Final[Mapping[tuple[State, Move], State]] = MappingProxyType(
    {
        (State.COLD, Move.LOAD): State.LOADING,
        (State.FAILED, Move.LOAD): State.LOADING,
        (State.LOADING, Move.LOADED): State.READY,
        (State.LOADING, Move.GIVE_UP): State.COLD,
        (State.LOADING, Move.FAIL): State.FAILED,
        (State.READY, Move.FAIL): State.FAILED,
        # a load that is given up for a drain, and one that is seen through first
        (State.LOADING, Move.DRAIN): State.DRAINING,
        (State.READY, Move.DRAIN): State.DRAINING,
        (State.FAILED, Move.DRAIN): State.DRAINING,
        (State.COLD, Move.DRAIN): State.DRAINING,
        (State.DRAINING, Move.DRAINED): State.COLD,
        (State.DRAINING, Move.CALL_OFF): State.READY,
        (State.FAILED, Move.FORGIVE): State.COLD,
    }
)
"""Every move that there is, from every state that has it."""


class ImpossibleMove(RuntimeError):
    """A fault of the house: this cannot happen to an instance that stands there."""


def moved(state: State, move: Move) -> State:
    """Where a move leads. Raises `ImpossibleMove` when there is none from here.

    >>> moved(State.LOADING, Move.LOADED).value
    'ready'
    """
    try:
        return TABLE[state, move]
    except KeyError as error:
        raise ImpossibleMove(f"{move.value} is no move of an instance that is {state}") from error
