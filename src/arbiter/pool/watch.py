"""Looks at the pool now and then: what other programs need, what is pinned, and who is stuck.

A queue that stands still is a fault of ours. It is said at once, by an event and in the log, and
whoever waits is woken.
"""

from __future__ import annotations

import asyncio
import logging

from arbiter.clock import Clock
from arbiter.events import Announcer, Event
from arbiter.pool.pool import Pool
from arbiter.pool.stuck import Sight, Stuck, stuck

LOG = logging.getLogger(__name__)


class Watch:
    """The background work of the pool. every_s: how often it looks; 0: never by itself."""

    def __init__(self, *, pool: Pool, clock: Clock, announcer: Announcer, every_s: float) -> None:
        self.stuck: tuple[Stuck, ...] = ()
        """What stands still, as of the last look."""
        self._pool = pool
        self._clock = clock
        self._announcer = announcer
        self._every_s = every_s
        self._seen: tuple[Sight, ...] = ()
        self._task: asyncio.Task[None] | None = None
        self._pinning: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Look from now on."""
        if self._every_s > 0:
            self._task = asyncio.create_task(self._run(), name="the pool")
            self._task.add_done_callback(_report)

    async def close(self) -> None:
        """Stop looking."""
        for task in (self._task, self._pinning):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    @property
    def is_well(self) -> bool:
        """Whether it still looks, if it is to, and nothing stood still at its last look."""
        return not self.stuck and (self._task is None or not self._task.done())

    async def _run(self) -> None:
        while True:
            await self._pool.space.refresh()
            self.look()
            await self._clock.sleep(self._every_s)

    def look(self) -> None:
        """Look once. A load of what is pinned goes on in the background."""
        self._pool.space.yield_to_others()
        self._pool.renew()  # what could not be drained in time is tried again
        self._look_for_stuck()
        if self._pinning is None or self._pinning.done():
            self._pinning = asyncio.create_task(self._pool.keep_pinned(), name="what is pinned")
            self._pinning.add_done_callback(_report)

    def _look_for_stuck(self) -> None:
        seen = self._pool.sights()
        found = stuck(self._seen, seen)
        known = {(one.version, one.number) for one in self.stuck}
        for one in found:
            if (one.version, one.number) in known:
                continue
            LOG.error("the queue of %s stands still: %s", one.version, one.reason)
            self._announcer.announce(
                Event(
                    kind="pool.stuck",
                    at=self._clock.now(),
                    detail={
                        "version": one.version,
                        "number": one.number,
                        "reason": one.reason,
                    },
                )
            )
        if found:
            self._pool.wake()
        self._seen, self.stuck = seen, found


def _report(task: asyncio.Task[None]) -> None:
    """A fault of ours in the background must not pass in silence."""
    if not task.cancelled() and task.exception() is not None:
        LOG.error("%s is no longer looked after", task.get_name(), exc_info=task.exception())
