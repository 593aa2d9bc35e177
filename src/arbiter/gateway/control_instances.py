"""The control API's addresses about what is in memory: shown, loaded, unloaded, pinned."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from fastapi import APIRouter
from pydantic import Field

from arbiter.clock import Clock
from arbiter.config import MOST_INSTANCES
from arbiter.errors import InvalidField, StillInUse
from arbiter.gateway import views
from arbiter.gateway.control_base import ControlBody, Lines, Plain, Say, streamed
from arbiter.gateway.paging import Wanted
from arbiter.pool.life import State
from arbiter.pool.pool import Pool, loadable
from arbiter.refs import ModelName, parse_name
from arbiter.registry.registry import Registry, Version

TOLD_EVERY_S = 0.5
"""How often whoever waits for a load is told how it goes."""


class LoadInstance(ControlBody):
    """Have a model in memory. instances: so often, each with its own slots."""

    instances: int = Field(
        1, ge=1, le=MOST_INSTANCES, description="How many of it to have, each with its own slots."
    )


class UnloadInstance(ControlBody):
    """Let a model go. now: cut the answers that run, instead of waiting for their end.

    number: only this one of its instances, while the others serve.
    """

    now: bool = Field(
        False, description="Cut the answers that run, instead of waiting for their end."
    )
    number: int | None = Field(
        None,
        ge=1,
        le=MOST_INSTANCES,
        description="Only this one of its instances, while the others serve.",
    )


class PinModel(ControlBody):
    """Have a name's model in memory and never evict it. until, for_s: a date, or seconds from now.

    load: also load it now, and tell how that goes.
    """

    until: datetime | None = Field(None, description="When the pin ends.")
    for_s: float | None = Field(
        None, gt=0, description="The same as seconds from now; neither: it does not end."
    )
    load: bool = Field(True, description="Whether to load it now, too, and tell how that goes.")

    def date(self, now: datetime) -> datetime | None:
        """When the pin ends; None: never. Raises `InvalidField`."""
        if self.until is not None and self.for_s is not None:
            raise InvalidField("until and for_s both say when a pin ends.", param="for_s")
        if self.for_s is not None:
            return now + timedelta(seconds=self.for_s)
        if self.until is None:
            return None
        until = self.until if self.until.tzinfo is not None else self.until.replace(tzinfo=UTC)
        if until <= now:
            raise InvalidField(f"{until.isoformat()} has passed.", param="until")
        return until


def instances_router(*, pool: Pool, registry: Registry, clock: Clock) -> APIRouter:
    """The addresses."""
    router = APIRouter(tags=["instances"])

    @router.get("/instances")
    async def list_instances(page: Wanted) -> Plain:
        """Every instance, with its memory, its queue and its health; and what is pinned."""
        found, after = page.of(pool.views(), key=lambda view: view.key)
        return {
            "budget_bytes": pool.budget_bytes,
            "budget_now": pool.space.budget(),
            "instances": [views.instance_view(view, registry) for view in found],
            "pins": _pins(pool),
            "next": after,
        }

    @router.post("/instances/{name:path}/load", response_class=Lines)
    async def load(name: str, body: LoadInstance) -> Lines:
        """Load a model."""
        version = registry.resolve(parse_name(name))

        async def work(say: Say) -> Plain:
            return await _loaded(version, pool, registry, say, count=body.instances)

        return streamed(work)

    @router.post("/instances/{name:path}/unload")
    async def unload(name: str, body: UnloadInstance) -> Plain:
        """Let a model go once its answers have ended, or one of its instances."""
        version = registry.resolve(parse_name(name)).version
        siblings = pool.siblings(version)
        others_serve = (
            body.number is not None and siblings is not None and siblings.serve_without(body.number)
        )
        if version in pool.pins.versions() and not others_serve:
            raise StillInUse(
                f"{name} is pinned.", hint=f"First: arbiter models unpin {name}", param="name"
            )
        was_loaded = await pool.unload(
            version, reason="by a person", cut=body.now, number=body.number
        )
        return {"model": name, "version": version, "unloaded": was_loaded}

    @router.put("/pins/{name:path}", response_class=Lines)
    async def pin(name: str, body: PinModel) -> Lines:
        """Keep a name's model in memory, whatever else needs room."""
        said = parse_name(name)
        version = registry.resolve(said)
        until = body.date(clock.now())
        await pool.pin(said, until)

        async def work(say: Say) -> Plain:
            view = await _loaded(version, pool, registry, say) if body.load else {}
            return {"pin": _pin(registry.meant(said), until), "instance": view}

        return streamed(work)

    @router.delete("/pins/{name:path}")
    async def unpin(name: str) -> Plain:
        """Let a model be evicted again."""
        said = parse_name(name)
        return {"model": name, "unpinned": await pool.unpin(said)}

    return router


async def _loaded(
    version: Version, pool: Pool, registry: Registry, say: Say, *, count: int = 1
) -> Plain:
    """An instance once it is loaded, the last of so many; how that goes is told meanwhile."""
    loading = asyncio.create_task(pool.warm(loadable(version), by_person=True, count=count))
    while not loading.done():
        await asyncio.wait({loading}, timeout=TOLD_EVERY_S)
        progress = pool.progress(version.version, of_load=True)
        if progress is not None and not (loading.done() or progress.state is State.READY):
            which = "" if count == 1 else f"instance {progress.number}: "
            said = {"state": progress.state.value, "told": which + progress.sentence}
            say({"progress": {**said, "seconds": round(progress.state_s, 1)}})
    await loading
    own = [one for one in pool.views() if one.version == version.version]
    loaded = [one for one in own if one.is_ready]
    return {**views.instance_view((loaded or own)[-1], registry), "instances": len(loaded)}


def _pins(pool: Pool) -> list[Plain]:
    return [_pin(name, until) for name, until in sorted(pool.pins.all().items())]


def _pin(name: ModelName, until: datetime | None) -> Plain:
    return {"name": name, "until": None if until is None else until.isoformat()}
