"""Whether a request that failed may be tried again, as far as the whole house goes.

`arbiter.pool.retries` counts; here its bound is told: to whom it refuses, in the log, as an event.
"""

from __future__ import annotations

import logging

from arbiter.clock import Clock
from arbiter.config import PoolSettings
from arbiter.errors import ArbiterError, Busy
from arbiter.events import Announcer, Event
from arbiter.pool.breaker import Sign, sign_of
from arbiter.pool.retries import Allowance, Retries

LOG = logging.getLogger(__name__)


class Again:
    """The house's one budget of second tries."""

    def __init__(self, *, settings: PoolSettings, clock: Clock, announcer: Announcer) -> None:
        self._retries = Retries(share=settings.retry_share, floor=settings.retry_floor)
        self._clock = clock
        self._announcer = announcer
        self._is_spent = False
        """Whether the latest that asked was refused."""

    def reconfigure(self, settings: PoolSettings) -> None:
        """Keep to other bounds from now on."""
        self._retries.reconfigure(share=settings.retry_share, floor=settings.retry_floor)

    def came(self, now: float) -> None:
        """A request came."""
        self._retries.came(now)

    def allowance(self) -> Allowance:
        """How the budget stands."""
        return self._retries.allowance(self._clock.monotonic())

    def may(self, error: ArbiterError, *, moves: bool = False) -> bool:
        """Whether what failed so may be tried once more; if not, the error says why from now on.

        moves: an instance was asked, and another one of the same version is to be: that counts
        even if the first one only said that it is busy.

        What says nothing against an instance cost it no work: nobody was there, it was full, a load
        failed (which is not tried again before its pause is over). So it costs no budget either.
        """
        if sign_of(error) is Sign.NOTHING and not (moves and isinstance(error, Busy)):
            return True
        if self._retries.may(self._clock.monotonic()):
            self._is_spent = False
            return True
        found = self.allowance()
        said = f"It was not tried again: {found.why} (pool.retry_share, pool.retry_floor)."
        error.hint = said if error.hint is None else f"{error.hint} {said}"
        if not self._is_spent:
            self._is_spent = True
            LOG.warning("nothing is tried again for now: %s", found.why)
            self._announcer.announce(
                Event(
                    kind="pool.retries_spent",
                    at=self._clock.now(),
                    detail={
                        "requests": found.requests,
                        "retries": found.retries,
                        "reason": found.why,
                    },
                )
            )
        return False
