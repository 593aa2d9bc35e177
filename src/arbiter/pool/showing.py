"""What is shown of the pool: every instance, what somebody waits for, every queue."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from arbiter.clock import Clock
from arbiter.cost import HOST
from arbiter.pool.footprints import Footprints
from arbiter.pool.life import State
from arbiter.pool.pins import Pins
from arbiter.pool.roster import Roster
from arbiter.pool.siblings import place_of
from arbiter.pool.space import Space, Tenant
from arbiter.pool.stuck import Sight
from arbiter.pool.view import InstanceView, Progress
from arbiter.refs import VersionId


class Showing:
    """Looks at the tenants, and changes nothing."""

    def __init__(
        self,
        *,
        roster: Roster,
        footprints: Footprints,
        space: Space,
        pins: Pins,
        clock: Clock,
    ) -> None:
        self._roster = roster
        self._footprints = footprints
        self._space = space
        self._pins = pins
        self._clock = clock

    def views(self) -> tuple[InstanceView, ...]:
        """Every instance as it is now."""
        pinned = self._pins.versions()
        return tuple(self._view(tenant, pinned) for tenant in self._roster.shown())

    def _view(self, tenant: Tenant, pinned: Mapping[VersionId, datetime | None]) -> InstanceView:
        version, instance, now = tenant.version, tenant.instance, self._clock.monotonic()
        siblings = self._roster.of(tenant.loadable)
        host, last = siblings.host(tenant), siblings.last
        place = place_of(tenant)
        held = self._footprints.measured(instance.spec) or {}
        chance = instance.usage.chance(now)
        reload_s = self._footprints.reload_s(tenant.loadable, instance.spec)
        probed = instance.health.probed
        short = self._footprints.shortage(instance.spec)
        until, error = pinned.get(version), instance.failures.last
        is_spared = self._space.is_extra(tenant) or (
            instance.is_away and siblings.serve_without(instance.number)
        )
        is_pinned = version in pinned and not is_spared
        return InstanceView(
            version=version,
            engine=instance.engine.name,
            state=instance.state,
            state_s=now - instance.since,
            number=instance.number,
            most=siblings.most,
            place=None if place is None else place.url,
            weight=host.weight,
            ramp=host.ramp,
            chosen=None if last is None or last.id != tenant.key else last.reason,
            waits_for=self._space.waits_for(tenant.key),
            leases=instance.leases,
            waiting=instance.waiting,
            waiting_by=instance.turns.by_caller(),
            loads=instance.loads,
            load_s=self._footprints.load_s(instance.spec),
            expected_load_s=reload_s,
            pid=instance.runner.pid if instance.runner is not None else None,
            predicted_bytes=tenant.loadable.estimated_bytes,
            measured_bytes=held.get(HOST),
            accelerator_bytes={m: size for m, size in held.items() if m != HOST},
            too_little_bytes={} if short is None else short.had,
            chance=chance,
            worth=chance * reload_s,
            is_pinned=is_pinned,
            pinned_until=until.isoformat() if is_pinned and until is not None else None,
            reloads_avoided=tenant.avoided.count,
            last_error=error.message if error is not None else None,
            ailing=instance.health.ailing,
            resting=instance.health.resting,
            slow=instance.health.pace.why,
            probed_s=None if probed is None else now - probed.at,
            probe=None if probed is None else probed.why or None,
            probes={sign.value: count for sign, count in instance.health.probes.items()},
        )

    def progress(self, version: VersionId, *, of_load: bool = False) -> Progress | None:
        """What somebody who waits for a version waits for; None: for nothing but its answer."""
        siblings = self._roster.get(version)
        if siblings is None:
            return None
        instance = (siblings.under_way if of_load else siblings.nearest).instance
        return Progress(
            number=instance.number,
            state=instance.state,
            state_s=self._clock.monotonic() - instance.since,
            expected_load_s=self._footprints.load_s(instance.spec),
            waits_for=self._space.waits_for(instance.key),
            waiting=instance.waiting,
        )

    def sights(self) -> tuple[Sight, ...]:
        """Every queue as it is now, for whoever looks whether one stands still."""
        return tuple(
            Sight(
                version=one.version,
                number=one.instance.number,
                waiting=one.instance.waiting,
                free=one.instance.turns.free,
                leases=one.instance.leases,
                slots=one.instance.spec.slots,
                served=one.instance.turns.served,
                is_ready=one.instance.state is State.READY,
                has_room=self._space.has_room(one),
            )
            for one in self._roster.shown()
        )
