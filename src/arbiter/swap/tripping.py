"""When a candidate is taken out at once, without statistics: it fails to answer at all."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from arbiter.swap.analysis import Rule


class Failure(StrEnum):
    """How a candidate failed to answer at all."""

    LOAD = "load"
    OOM = "oom"
    TIMEOUT = "timeout"
    EMPTY = "empty"
    CRASH = "crash"


def tripped(outcomes: Iterable[Failure | None], rule: Rule) -> str | None:
    """Why the candidate is taken out without statistics; None while it is not.

    outcomes: every request the candidate was given, in order: how it failed, or None.

    It trips at ``trip_in_a_row`` failures one after the other at any time, or at
    ``trip_failures`` among its first ``trip_window`` requests; once tripped, more outcomes change
    nothing.

    >>> tripped([None, Failure.OOM, Failure.OOM, Failure.LOAD, None], Rule())
    'The candidate failed 3 times in a row (oom, oom, load).'
    """
    row: list[Failure] = []
    early = 0
    for number, failure in enumerate(outcomes, start=1):
        if failure is None:
            row.clear()
            continue
        row.append(failure)
        if len(row) >= rule.trip_in_a_row:
            return f"The candidate failed {len(row)} times in a row ({', '.join(row)})."
        early += number <= rule.trip_window
        if early >= rule.trip_failures and number <= rule.trip_window:
            return f"The candidate failed {early} of its first {number} requests."
    return None


class Trip:
    """How a candidate's requests went, as far as it matters for that.

    >>> trip = Trip(Rule())
    >>> for _ in range(3):
    ...     trip.update(Failure.TIMEOUT)
    >>> trip.why
    'The candidate failed 3 times in a row (timeout, timeout, timeout).'
    """

    __slots__ = ("_early", "_row", "_rule", "why")

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self._early: list[Failure | None] = []
        self._row: list[Failure | None] = []
        self.why: str | None = None
        """Why it is taken out; None while it is not."""

    def update(self, failure: Failure | None) -> None:
        """Take the next of its requests: how it failed, or None."""
        if self.why is not None:
            return
        if len(self._early) < self._rule.trip_window:
            self._early.append(failure)
        if failure is None:
            self._row.clear()
            return
        self._row.append(failure)
        self.why = tripped(self._row, self._rule) or tripped(self._early, self._rule)
