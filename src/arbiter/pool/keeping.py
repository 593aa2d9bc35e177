"""Keeps what a promotion replaced ready for the way back, and lets it go when its time is over.

The registry says what is kept, and while it is, it is the last that the pool evicts. Here only the
background work is done: to load it again after a restart where that costs nobody anything, and to
unload it when it is kept no longer. The version, its record and its file always stay. It knows
nothing of rollouts.
"""

from __future__ import annotations

import asyncio
import logging

from arbiter.clock import Clock
from arbiter.errors import ArbiterError, LoadFailed
from arbiter.events import Announcer, Event
from arbiter.pool.pool import Pool, loadable
from arbiter.refs import VersionId, short
from arbiter.registry.registry import Registry

LOG = logging.getLogger(__name__)

WARM_AFTER_S = 10.0
"""How long a house has been open before it loads what nobody asked for.

One that was opened for a single command is closed by then, and first requests load first.
"""

LOOK_EVERY_S = 60.0
"""How often it is looked at what is kept no longer."""


class Keeping:
    """The background work for versions that are kept."""

    def __init__(
        self, *, registry: Registry, pool: Pool, clock: Clock, announcer: Announcer
    ) -> None:
        self._registry = registry
        self._pool = pool
        self._clock = clock
        self._announcer = announcer
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Load what is kept again, and let go what no longer is, both in the background."""
        self._task = asyncio.create_task(self._run(), name="what is kept")
        self._task.add_done_callback(_report)

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        await self._clock.sleep(WARM_AFTER_S)
        await self._warm()
        while True:
            await self._clock.sleep(LOOK_EVERY_S)
            for version in self._registry.no_longer_kept():
                await self._expire(version)

    async def _warm(self) -> None:
        for version in self._registry.kept():
            if self._registry.version(version).artifact.identity is None:
                continue  # another program's memory is not ours to fill
            try:
                await self._pool.warm_spare(loadable(self._registry.version(version)))
            except LoadFailed:
                continue  # the pool has put it into the log
            except (ArbiterError, OSError) as error:
                # nobody asked for it: whoever does is told
                LOG.warning("%s is kept and could not be loaded: %s", short(version), error)

    async def _expire(self, version: VersionId) -> None:
        reason = "it is kept no longer"
        self._announcer.announce(
            Event(
                kind="version.expired",
                at=self._clock.now(),
                detail={"version": version, "reason": reason},
            )
        )
        await self._pool.let_go(version, reason=reason)


def _report(task: asyncio.Task[None]) -> None:
    """A fault of ours in the background must not pass in silence."""
    if not task.cancelled() and task.exception() is not None:
        LOG.error("%s is no longer looked at", task.get_name(), exc_info=task.exception())
