"""Tells hooks and listeners of every change of a rollout."""

from __future__ import annotations

from arbiter.clock import Clock
from arbiter.events import Announcer, Event
from arbiter.swap.hooks import Hooks
from arbiter.swap.rollout import Rollout


class Herald:
    """Who is told of rollouts. hooks: nobody before the house is open."""

    def __init__(self, announcer: Announcer, clock: Clock) -> None:
        self.hooks = Hooks((), timeout_s=1.0, clock=clock)
        self._announcer = announcer
        self._clock = clock

    def announce(self, rollout: Rollout, what: str, *, reason: str | None = None) -> None:
        """Tell of a change. what: the kind of event after ``rollout.``."""
        if what != "waiting":
            self.hooks.tell(rollout, what)
        self._announcer.announce(
            Event(
                kind=f"rollout.{what}",
                at=self._clock.now(),
                detail={
                    "rollout": rollout.id,
                    "alias": rollout.alias,
                    "weight": rollout.weight,
                    "reason": reason or rollout.reason,
                },
            )
        )
