"""How often an instance failed in a row, and when it may be loaded again: with longer pauses.

Loads that fail, and runners that are lost before they gave one answer, count together. Whoever asks
during a pause is told why and until when, unless it is one of those that may wait it out.
"""

from __future__ import annotations

from math import ceil
from typing import Final

from arbiter.clock import Clock
from arbiter.errors import ArbiterError, LoadFailed

BACKOFF_S: Final = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)
"""Pause before the next load after so many failures in a row."""


class Failures:
    """Those of one instance since it answered last.

    >>> from arbiter.clock import ManualClock
    >>> from arbiter.errors import InstanceLost
    >>> clock, found = ManualClock(), Failures(ManualClock())
    >>> found.add(InstanceLost(), lost=True)
    >>> found.add(LoadFailed())
    >>> found.in_a_row, found.left_s
    (2, 2.0)
    """

    def __init__(self, clock: Clock) -> None:
        self.in_a_row = 0
        self.last: ArbiterError | None = None
        self.was_lost = False
        """Whether what went wrong last was no load, but a runner that had been ready."""
        self._clock = clock
        self._not_before = 0.0

    @property
    def left_s(self) -> float:
        """Until the next load may begin; below zero: it may now."""
        return self._not_before - self._clock.monotonic()

    def add(self, error: ArbiterError, *, lost: bool = False) -> None:
        """It failed. lost: a runner that had been ready was."""
        self.in_a_row += 1
        self.last = error
        # a runner that died once may be replaced at once: the requests that had not begun wait
        pauses = self.in_a_row - 1 if lost else self.in_a_row
        self.was_lost = lost
        self._not_before = self._clock.monotonic() + BACKOFF_S[min(pauses, len(BACKOFF_S) - 1)]

    def answered(self) -> None:
        """A request was served: what went wrong before is over."""
        self.in_a_row = 0
        self.last = None

    def forgive(self) -> None:
        """What it failed of is over: the next load need not wait."""
        self.answered()
        self._not_before = 0.0

    def refuse(self, *, patient: bool) -> None:
        """Raise `LoadFailed` while a load that failed is not tried again.

        patient: wait for the pause after a loss instead.
        """
        left_s = self.left_s
        if self.last is None or left_s <= 0 or (self.was_lost and patient):
            return
        # of the same class: whether the version is to blame does not change by waiting
        again = type(self.last) if isinstance(self.last, LoadFailed) else LoadFailed
        raise again(
            self.last.message,
            hint=f"It failed {self.in_a_row} times; the next try is in {left_s:.0f} s.",
            retry_after_s=int(left_s) + 1,
        )

    def dated(self, error: ArbiterError) -> None:
        """Say in the error of a load, where it does not yet, when the next one may begin."""
        if isinstance(error, LoadFailed) and error.retry_after_s is None:
            error.retry_after_s = ceil(self.left_s)
