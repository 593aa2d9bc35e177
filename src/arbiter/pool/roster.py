"""Every instance that there is or was, by version: made when it is first wanted, and how many.

A version of this machine has as many instances as the settings say of one of its names, or as a
person asked for. One that servers offer has one for each of its places. What happens to an
instance is not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Final

from arbiter.clock import Clock
from arbiter.config import MOST_INSTANCES, PoolSettings
from arbiter.engines.base import LoadSpec, Place
from arbiter.metering.meter import Meter
from arbiter.pool.engines import Engines
from arbiter.pool.instance import Instance
from arbiter.pool.life import State
from arbiter.pool.loadable import Loadable, key_of
from arbiter.pool.model_file import ModelFile
from arbiter.pool.siblings import Siblings, places_taken
from arbiter.pool.space import Tenant
from arbiter.refs import VersionId
from arbiter.registry.registry import Registry

ONE: Final = 1


class Roster:
    """The instances of this house.

    tenants: by their keys. on_new: told of every instance that is made. on_change: told of every
    move of one. too_many: has an instance leave that is one more than is wanted.
    """

    def __init__(
        self,
        *,
        engines: Engines,
        settings: PoolSettings,
        registry: Registry,
        clock: Clock,
        dice: Random,
        meter: Meter,
    ) -> None:
        self.tenants: dict[str, Tenant] = {}
        self.on_change: Callable[[Instance, str], None] = lambda _, __: None
        self.on_new: Callable[[Instance, Loadable], None] = lambda _, __: None
        self.too_many: Callable[[Tenant], None] = lambda _: None
        self._siblings: dict[VersionId, Siblings] = {}
        self._engines = engines
        self._settings = settings
        self._registry = registry
        self._places = registry.places
        self._clock = clock
        self._dice = dice
        self._meter = meter
        self._revision = 0
        """Grows with every change of the settings."""

    def spec(self, loadable: Loadable) -> LoadSpec:
        """How a version is loaded by the settings of now."""
        artifact = loadable.artifact
        context = loadable.context_length or self._settings.context
        if not loadable.is_outside:
            context = min(context, self._settings.context)
        return LoadSpec(
            version=loadable.version,
            path=Path(loadable.path),
            context=context,
            slots=self._settings.server_slots if loadable.is_outside else self._settings.slots,
            threads=self._settings.threads,
            options=loadable.options,
            digest=loadable.digest,
            capabilities=frozenset() if artifact is None else artifact.capabilities,
        )

    def of(self, loadable: Loadable) -> Siblings:
        """The instances of a version; the first is made when there is none."""
        found = self._siblings.get(loadable.version)
        seen = (self._revision, self._registry.revision, self._places.revision)
        if found is None:
            found = Siblings(clock=self._clock, dice=self._dice, settings=self._settings)
            self._add(found, loadable)
            self._siblings[loadable.version] = found
        if found.seen != seen:
            found.seen = seen
            self._fit(found, loadable)
        return found

    def get(self, version: VersionId) -> Siblings | None:
        """The instances of a version, if there is any."""
        return self._siblings.get(version)

    def all(self) -> Iterable[Siblings]:
        """Those of every version."""
        return self._siblings.values()

    def reconfigure(self, settings: PoolSettings) -> None:
        """Keep to other settings from now on."""
        self._settings = settings
        self._revision += 1
        for tenant in self.tenants.values():
            tenant.instance.reconfigure(self.spec(tenant.loadable), settings)
        for siblings in self._siblings.values():
            siblings.settings = settings
            self.of(siblings.first.loadable)

    def ask_for(self, loadable: Loadable, count: int) -> None:
        """Have so many instances of a version from now on, if that is more than the settings say.

        0 leaves it to the settings again.
        """
        siblings = self.of(loadable)
        siblings.asked = count
        self._fit(siblings, loadable)

    def shown(self) -> list[Tenant]:
        """Every instance but those that are not wanted any more and have left.

        They are kept all the same: somebody may have taken hold of one a moment ago.
        """
        return [
            one
            for one in self.tenants.values()
            if self.is_wanted(one) or one.instance.busy or not one.instance.is_away
        ]

    def is_wanted(self, tenant: Tenant) -> bool:
        """Whether it is one of those that its version is to have."""
        return tenant in self._siblings[tenant.version].tenants

    def sweep(self) -> None:
        """Have those leave that are not wanted and were loaded all the same."""
        for tenant in self.tenants.values():
            # not under the hands of who just had it loaded: they would load it again, for ever
            is_idle = tenant.instance.state is State.READY and not tenant.instance.busy
            if is_idle and not tenant.is_leaving and not self.is_wanted(tenant):
                self.too_many(tenant)

    def ailing(self, doubted: Mapping[VersionId, str]) -> Mapping[VersionId, str]:
        """Of versions with an instance that keeps failing, those of which every one does."""
        if not doubted:
            return doubted
        return {
            version: why
            for version, why in doubted.items()
            if (found := self._siblings.get(version)) is None or found.is_alone or found.is_ailing
        }

    def is_helper(self, version: VersionId) -> bool:
        """Whether the settings say that a version only helps others."""
        names = self._settings.helpers
        return bool(names) and not set(names).isdisjoint(self._registry.names_of(version))

    def _fit(self, siblings: Siblings, loadable: Loadable) -> None:
        """Have as many instances as are wanted now."""
        siblings.is_helper = self.is_helper(loadable.version)
        if loadable.is_outside:
            places = self._places.of(loadable.version)
            there = [place for place in places if self._places.is_well(place)]
            wanted = min(MOST_INSTANCES, max(ONE, len(places), len(siblings.tenants)))
            siblings.most = max(ONE, len(there))
        else:
            given = self._settings.instances
            names = self._registry.names_of(loadable.version) if given else ()
            said = max((given.get(name, ONE) for name in names), default=ONE)
            wanted = siblings.most = max(said, siblings.asked)
        while len(siblings.tenants) < wanted:
            self._add(siblings, loadable)
        while len(siblings.tenants) > wanted:
            self.too_many(siblings.tenants.pop())

    def _add(self, siblings: Siblings, loadable: Loadable) -> None:
        number = len(siblings.tenants) + 1
        known = self.tenants.get(key_of(loadable.version, number))
        if known is not None:
            siblings.add(known)  # it was not wanted for a while
            return
        instance = Instance(
            engine=self._engines.find(loadable.format),
            spec=self.spec(loadable),
            clock=self._clock,
            meter=self._meter,
            settings=self._settings,
            on_change=self._changed,
            file=ModelFile(loadable.artifact, self._clock),
            prepare=partial(self._placed, siblings, number),
            number=number,
        )
        self.on_new(instance, loadable)
        tenant = self.tenants[instance.key] = Tenant(loadable=loadable, instance=instance)
        instance.is_better_elsewhere = partial(self._is_better_elsewhere, siblings, tenant)
        siblings.add(tenant)

    def _is_better_elsewhere(self, siblings: Siblings, tenant: Tenant) -> bool:
        return tenant not in siblings.tenants or siblings.can_serve_beside(tenant)

    def _changed(self, instance: Instance, reason: str) -> None:
        self.on_change(instance, reason)

    def _placed(self, siblings: Siblings, number: int, spec: LoadSpec) -> LoadSpec:
        """A spec with the places of this moment, if its version is served by others.

        Where another instance of it is already comes only where there is no other place.
        """
        places = self._places.of(spec.version)
        if not places:
            return spec
        own = self.tenants[key_of(spec.version, number)]
        taken = places_taken([one for one in siblings.tenants if one is not own])
        free = [place for place in places if place not in taken] or list(places)
        own.aims = tuple(sorted(free, key=self._order))
        return replace(spec, places=own.aims)

    def _order(self, place: Place) -> tuple[bool, float]:
        """Who is well comes first, and of those who has more weight; else as they stand."""
        return (not self._places.is_well(place), -self._settings.weights.get(place.url, 1.0))
