"""What follows when an instance moves from one state to the next: for the rest of the pool.

A move is decided by the instance alone. Here its footprint is noted, what it lacked is remembered,
who waits looks again, its siblings are told, and an event goes out.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol

from arbiter.errors import ArbiterError, NotOffered, OutOfMemory, ServerGone
from arbiter.events import Detail
from arbiter.pool.doubts import Doubts
from arbiter.pool.footprints import Footprints
from arbiter.pool.instance import Instance
from arbiter.pool.life import State
from arbiter.pool.loadable import Loadable
from arbiter.pool.roster import Roster
from arbiter.pool.siblings import Siblings, place_of, places_taken
from arbiter.pool.space import Space, Tenant
from arbiter.pool.spares import Spares
from arbiter.refs import VersionId, legible, short
from arbiter.registry.registry import Registry

LOG = logging.getLogger(__name__)


class Tell(Protocol):
    """Announces what became of an instance."""

    def __call__(self, kind: str, **detail: Detail) -> None:
        """Once, now."""
        ...


class Moves:
    """Hears of every move of the instances of a roster. admit: has a load wait for its room."""

    def __init__(
        self,
        *,
        roster: Roster,
        space: Space,
        spares: Spares,
        footprints: Footprints,
        doubts: Doubts,
        registry: Registry,
        admit: Callable[[Tenant], Awaitable[None]],
        tell: Tell,
    ) -> None:
        self.is_closing = False
        """Whether nothing is to come back any more."""
        self._roster = roster
        self._tenants = roster.tenants
        self._space = space
        self._spares = spares
        self._footprints = footprints
        self._doubts = doubts
        self._registry = registry
        self._places = registry.places
        self._admit = admit
        self._tell = tell
        roster.on_new = self.made
        roster.on_change = self.changed

    def renew(self) -> tuple[VersionId, ...]:
        """Have those leave that are loaded otherwise than the settings say; which those are."""
        self._roster.sweep()
        return self._space.renew("its settings have changed")

    def made(self, instance: Instance, loadable: Loadable) -> None:
        """An instance is there that was not before, and is not loaded yet."""
        instance.health.beside = partial(self._beside, instance)
        instance.short_of = partial(self._space.why, instance.key)
        instance.before_ready = self._space.refresh
        self._doubts.attend(instance, is_ours=not loadable.is_outside)

    def _beside(self, instance: Instance) -> int:
        """How many requests other instances serve at this moment."""
        return sum(one.instance.leases for one in self._tenants.values()) - instance.leases

    def changed(self, instance: Instance, reason: str) -> None:
        """An instance is in another state now."""
        tenant = self._tenants[instance.key]
        version = tenant.version
        if instance.state is State.READY or (instance.is_away and not instance.busy):
            tenant.has_claim = False  # whoever came during a drain still waits, and keeps it
        if instance.state in {State.READY, State.DRAINING} and instance.runner is not None:
            load_s = instance.load_s if instance.state is State.READY else None
            self._footprints.measure(instance.spec, instance.runner, load_s=load_s)
        elif instance.state in {State.COLD, State.FAILED}:
            tenant.admitted = tenant.unasked = False
            if instance.state is State.FAILED:
                # here, and not for each request that is refused while it lasts
                names = ", ".join(self._registry.names_of(version))
                LOG.warning("%s failed: %s", names or short(version), reason)
                if (
                    isinstance(instance.failures.last, OutOfMemory)
                    and not tenant.loadable.is_outside
                ):
                    self._footprints.fell_short(instance.spec, reason, tenant.had)
            if not instance.failures.was_lost:
                self._miss(tenant, instance.failures.last)
        self._space.freed.set()
        number = instance.number
        self._tell(
            f"instance.{instance.state.value}", version=version, number=number, reason=reason
        )
        siblings = self._roster.of(tenant.loadable)
        if not siblings.is_alone or tenant is not siblings.first:
            self._balance(siblings, tenant)

    def _balance(self, siblings: Siblings, tenant: Tenant) -> None:
        """One of several instances is now otherwise."""
        state = tenant.instance.state
        siblings.changed(tenant)
        if state is State.READY:
            beside = [one for one in siblings.tenants if one is not tenant]
            if place_of(tenant) in places_taken(beside):
                self._space.send_away(tenant, "another instance of it is served there already")
            tenant.comes_back = False
            self.renew()  # the next one, if this one was loaded again for other settings
        elif state is State.COLD:
            if tenant.comes_back and not self.is_closing:
                self._spares.again(tenant, partial(self._admit, tenant))
        elif state is State.FAILED:
            tenant.comes_back = False

    def _miss(self, tenant: Tenant, error: ArbiterError | None) -> None:
        """No server that offers a version is there, or none has it: no choice until one does."""
        if isinstance(error, ServerGone | NotOffered):
            for place in tenant.aims or self._places.of(tenant.version):
                why = legible(error.message.removeprefix(f"{place.url}: "), most=1000)
                if isinstance(error, NotOffered):
                    self._places.note(place, why)
                else:
                    self._places.note(place.url, why)
                    self.part_from(place.url, why)

    def part_from(self, url: str, why: str) -> None:
        """A server is gone, or silent: whoever waits there for a first byte is asked elsewhere."""
        for tenant in self._tenants.values():
            tenant.instance.part_from(url, why)
