"""Loads that nobody waits for: they take room that is free, and give way to whoever has a claim.

One more instance of a version that is busy is such a load too. It never puts out a model that was
asked for lately, because the requests that it is for are served without it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress

from arbiter.clock import Clock
from arbiter.engines.base import Runner
from arbiter.errors import ArbiterError
from arbiter.pool.instance import Admit
from arbiter.pool.space import UNUSED_S, Space, Tenant

AGAIN_S = 5.0
"""One more instance for which there was no room is tried again after so long."""


class Spares:
    """The loads that go on in the background."""

    def __init__(self, *, space: Space, clock: Clock) -> None:
        self._space = space
        self._clock = clock
        self._opening: dict[str, asyncio.Task[None]] = {}
        self._not_before: dict[str, float] = {}

    async def load(self, tenant: Tenant, *, unused_s: float | None = None) -> None:
        """Load if it fits beside the others, and else do nothing.

        unused_s: whoever was not asked for in this long may leave for it, and whoever nobody ever
        asked for at once; by default nobody leaves. A request that needs the room ends this load.
        Raises `LoadFailed`.
        """
        instance = tenant.instance
        has_room = instance.is_away and await self._space.admit_spare(tenant, unused_s=unused_s)
        if not has_room or not instance.is_away:
            return  # or somebody asked for it meanwhile
        tenant.unasked = True
        loading = asyncio.create_task(instance.ensure_ready(instance.file.ensure_registered))
        tenant.spare = loading
        try:
            await asyncio.wait({loading})
        except asyncio.CancelledError:
            if tenant.spare is not None:
                tenant.spare = None
                loading.cancel()
                await self._space.drained(tenant, "nobody waits for it any more", give_up=True)
            raise
        finally:
            loading.cancel()
            self._end(tenant, loading)
        if not loading.cancelled():
            loading.result()

    def _end(self, tenant: Tenant, loading: asyncio.Task[Runner]) -> None:
        if tenant.spare is loading:
            tenant.spare = None
        if tenant.instance.is_away:
            tenant.admitted = False
        self._space.freed.set()

    def open(self, tenant: Tenant) -> None:
        """Load one more instance in the background, if there is room."""
        now, key = self._clock.monotonic(), tenant.key
        if key in self._opening or now < self._not_before.get(key, now):
            return
        self._not_before[key] = now + AGAIN_S
        self._begin(key, self._opened(tenant))

    async def _opened(self, tenant: Tenant) -> None:
        # that it failed is told by its event; whoever is served is served elsewhere
        with suppress(ArbiterError):
            await self.load(tenant, unused_s=UNUSED_S)

    def again(self, tenant: Tenant, admit: Admit) -> None:
        """Load an instance again in the background, because it left only to be loaded otherwise."""

        async def loaded() -> None:
            try:
                with suppress(ArbiterError):
                    await tenant.instance.ensure_ready(admit)
            finally:
                tenant.comes_back = False

        self._begin(tenant.key, loaded())

    def _begin(self, key: str, doing: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(doing, name="one more instance")
        self._opening[key] = task
        task.add_done_callback(lambda _: self._opening.pop(key, None))

    async def close(self) -> None:
        """Load nothing more."""
        tasks = tuple(self._opening.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
