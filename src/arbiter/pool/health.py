"""How an instance did lately: its breaker, and who is told when that changes.

The only writer of a breaker. What it means is decided in `arbiter.pool.breaker`; whoever serves a
request says here how it ended.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Final

from arbiter.clock import Clock
from arbiter.errors import ArbiterError
from arbiter.inference import Usage
from arbiter.knowledge.speed import Timing
from arbiter.pool.breaker import Breaker, Sign, Ticket, begun, ended, passed_over, sign_of
from arbiter.pool.pace import Change, Pace

SLOW_PAUSES_S: Final = (60.0, 120.0, 240.0, 480.0, 600.0)
"""How long who has become slow is passed over, each time that it is found so in a row."""


LEAST_REST_S: Final = 1.0
"""How long who says that it is busy, and not until when, is left out."""

LONGEST_REST_S: Final = 60.0
"""Nobody is left out for longer because it said so: others may be worse off by then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """The latest probe. at: by the monotonic clock. why: what was wrong; empty when nothing was."""

    at: float
    sign: Sign
    why: str


class Passage:
    """One request of an instance, which says once how the instance did."""

    __slots__ = ("_health", "_ticket")

    def __init__(self, health: Health, ticket: Ticket) -> None:
        self._health = health
        self._ticket: Ticket | None = ticket

    def tell(self, sign: Sign, why: str = "") -> None:
        """How it ended; what is told first counts."""
        ticket, self._ticket = self._ticket, None
        if ticket is not None:
            self._health.take(ticket, sign, why)

    def tell_error(self, error: ArbiterError) -> None:
        """What it ended with."""
        self.tell(sign_of(error), error.code)


class Health:
    """That of one instance.

    >>> from arbiter.clock import ManualClock
    >>> health = Health(ManualClock())
    >>> for _ in range(5):
    ...     health.begin().tell(Sign.ILL, "engine_timeout")
    >>> health.ailing
    'it kept failing: engine_timeout'
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.breaker = Breaker()
        self.listener: Callable[[], None] | None = None
        """Called when the breaker opened, is tried, or closed."""
        self.grace_s = 0.0
        """How much longer than its pause it is passed over, so that a probe is the trial."""
        self.pace = Pace()
        self.beside: Callable[[], int] = int
        """How many the house serves elsewhere now: they share the machine."""
        self.on_pace: Callable[[Change], None] | None = None
        """Called when it has become slow, or is so no more."""
        self._slowed = 0
        self._slow_until = 0.0
        self._rests_until = 0.0
        self.probed: Probed | None = None
        self.probes: Counter[Sign] = Counter()
        """How many probes said so."""

    @property
    def ailing(self) -> str | None:
        """Why somebody else is to be asked for now, where there is somebody."""
        now = self._clock.monotonic()
        if self.pace.why is not None and now < self._slow_until:
            return f"it is slow: {self.pace.why}"
        return passed_over(self.breaker, now - self.grace_s)

    @property
    def resting(self) -> str | None:
        """Why one of its siblings is to be asked for now, though nothing is the matter with it."""
        left_s = self._rests_until - self._clock.monotonic()
        return None if left_s <= 0 else f"it said that it is busy, for {ceil(left_s)} s more"

    def rest(self, seconds: float | None) -> None:
        """It said that it is busy, and for how long; None: it did not say.

        That is no failure. An answer before then ends it.

        >>> from arbiter.clock import ManualClock
        >>> health = Health(ManualClock())
        >>> health.rest(7.0)
        >>> health.resting, health.ailing
        ('it said that it is busy, for 7 s more', None)
        """
        told = LEAST_REST_S if seconds is None else min(max(seconds, LEAST_REST_S), LONGEST_REST_S)
        self._rests_until = self._clock.monotonic() + told

    def paced(self, one: Timing, usage: Usage, crowd: float) -> None:
        """An answer came to its end, so fast. crowd: among how many of it that was."""
        change = self.pace.add(one, usage, crowd + self.beside())
        if change is None:
            return
        if change is Change.SLOW:
            self._slowed += 1
            pause_s = SLOW_PAUSES_S[min(self._slowed, len(SLOW_PAUSES_S)) - 1]
            self._slow_until = self._clock.monotonic() + pause_s
        else:
            self._slowed, self._slow_until = 0, 0.0
        if self.on_pace is not None:
            self.on_pace(change)

    def note(self, probed: Probed) -> None:
        """It was probed."""
        self.probed = probed
        self.probes[probed.sign] += 1

    def begin(self) -> Passage:
        """A request begins."""
        breaker, ticket = begun(self.breaker, self._clock.monotonic())
        self._stand(breaker)
        return Passage(self, ticket)

    def start_again(self) -> None:
        """What failed is not what runs from now on."""
        before = self.breaker
        self._stand(Breaker(openings=before.openings, turn=before.turn + 1, losses=before.losses))

    def take(self, ticket: Ticket, sign: Sign, why: str) -> None:
        """A request ended so."""
        now = self._clock.monotonic()
        if sign is Sign.WELL:
            self._rests_until = 0.0
        self._stand(ended(self.breaker, ticket, sign, now=now, why=why))

    def _stand(self, breaker: Breaker) -> None:
        before, self.breaker = self.breaker, breaker
        if before.phase is not breaker.phase and self.listener is not None:
            self.listener()
