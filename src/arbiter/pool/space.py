"""Who has room in memory: plans are carried out here, and whoever has none waits here.

`arbiter.pool.residency` plans from values; this asks for a plan again whenever something changed,
and a plan is made and begun without a pause, so no two can give away the same memory. What a plan
frees belongs to whom it was made for until that one is loaded or gives up. Draining others holds
up nobody else: whoever fits loads meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Final

from arbiter.clock import Clock
from arbiter.config import PoolSettings
from arbiter.cost import Level
from arbiter.engines.base import Place, Runner
from arbiter.engines.deadlines import within
from arbiter.errors import NoRoom
from arbiter.pool.footprints import Footprints
from arbiter.pool.instance import Instance
from arbiter.pool.life import State
from arbiter.pool.loadable import Loadable
from arbiter.pool.memory import MemoryReader, budget_now, headroom
from arbiter.pool.pinned_options import Avoided
from arbiter.pool.pins import Pins
from arbiter.pool.residency import (
    NEVER,
    Bytes,
    Resident,
    Room,
    Wish,
    free_room,
    make_room,
    promised,
    surplus,
    total,
    unused,
)
from arbiter.pool.shortage import ran_out
from arbiter.refs import VersionId, short
from arbiter.registry.registry import Registry

LOG = logging.getLogger(__name__)

AGAIN_S: Final = 1.0
"""Whoever waits for memory looks again this often, because a turn may be over meanwhile."""

RECOVERY_S: Final = 10.0
"""How long the memory of what was unloaded may take to come back before others have to leave."""

RECOVERY_LOOK_S: Final = 0.1

LAST: Final = float("inf")
"""Since when something waits that has no claim: whoever has one goes before it."""

UNUSED_S: Final = 600.0
"""For a helper only what nobody asked for in this long may leave."""


@dataclass(slots=True, kw_only=True)
class Tenant:
    """An instance of a version that is, was or wants to be in memory.

    unasked: it was loaded without anybody having asked for it, so it is the first to leave. spare:
    the load that nobody waits for, while it goes on. is_helper: only the house's helpers want it.
    has_claim: a person wants it, so that others may be asked to end their turn. leaves_for: whose
    is what it frees, while it is on its way out. comes_back: it leaves to be loaded otherwise,
    while another instance of its version serves. aims: the places that its load was sent to. had:
    every memory as its latest load began.
    """

    loadable: Loadable
    instance: Instance
    admitted: bool = False
    unasked: bool = False
    is_helper: bool = False
    has_claim: bool = False
    spare: asyncio.Task[Runner] | None = None
    is_leaving: bool = False
    leaves_for: str | None = None
    comes_back: bool = False
    aims: tuple[Place, ...] = ()
    had: Mapping[str, Level] = field(default_factory=dict)
    avoided: Avoided = field(default_factory=Avoided)

    @property
    def version(self) -> VersionId:
        """Which version it is one of."""
        return self.loadable.version

    @property
    def key(self) -> str:
        """Which instance it is."""
        return self.instance.key

    def want(self, *, helper: bool, claims: bool) -> None:
        """Somebody wants it. What one has a right to, all have who wait for it together."""
        self.is_helper = helper and (self.is_helper or not self.instance.busy)
        self.has_claim = self.has_claim or (claims and not helper)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Late:
    """Memory of what was unloaded that may not be back yet, and until when that is believed."""

    until: float
    size: Bytes


class Space:
    """The memory of this host, and who is in it.

    budget: what was given to models of each memory; empty: no bound but what is available.
    """

    def __init__(
        self,
        *,
        tenants: Mapping[str, Tenant],
        settings: PoolSettings,
        budget: Bytes,
        memory: MemoryReader,
        footprints: Footprints,
        pins: Pins,
        registry: Registry,
        clock: Clock,
    ) -> None:
        self.freed = asyncio.Event()
        """Set whenever somebody who waits should look again."""
        self._tenants = tenants
        self._settings = settings
        self._given = budget
        self._memory = memory
        self._footprints = footprints
        self._pins = pins
        self._registry = registry
        self._clock = clock
        self._wishes: dict[str, Wish] = {}
        self._why: dict[str, str] = {}
        self._late: list[_Late] = []
        self._acting: set[asyncio.Task[None]] = set()

    def reconfigure(self, settings: PoolSettings, budget: Bytes) -> None:
        """Keep to other bounds from now on."""
        self._settings = settings
        self._given = budget
        self.freed.set()

    def renew(self, reason: str) -> tuple[VersionId, ...]:
        """Have those leave that are loaded in a way that is no longer wanted; which those are.

        They are drained, so nobody's answer is cut; whoever asks meanwhile waits for the new load.
        Of several instances of a version one leaves at a time, and comes back before the next one.
        """
        found = [
            one for one in self._tenants.values() if one.instance.is_outdated and not one.is_leaving
        ]
        for one in found:
            beside = self.beside(one)
            if any(other.is_leaving or other.comes_back for other in beside):
                continue
            one.comes_back = any(other.instance.state is State.READY for other in beside)
            self.send_away(one, reason)
        return tuple(dict.fromkeys(one.version for one in found))

    def beside(self, tenant: Tenant) -> list[Tenant]:
        """The other instances of its version."""
        return [
            one
            for one in self._tenants.values()
            if one is not tenant and one.version == tenant.version
        ]

    def is_extra(self, tenant: Tenant) -> bool:
        """Whether it is one more of a version that one before it serves too: missed by nobody."""
        number = tenant.instance.number
        before = (one for one in self.beside(tenant) if one.instance.number < number)
        return number > 1 and any(
            one.instance.state is State.READY and not one.is_leaving for one in before
        )

    def need(self, tenant: Tenant) -> Bytes:
        """The memory of this house that a version takes: none when another program runs it."""
        if tenant.loadable.is_outside:
            return {}
        return self._footprints.predicted(tenant.loadable, tenant.instance.spec)[0] or {}

    def waits_for(self, key: str) -> str | None:
        """Why an instance that is to be loaded has no memory yet; None: it does not wait for any.

        key: of a version's first instance that is the version.
        """
        return self.why(key) if key in self._wishes else None

    def why(self, key: str) -> str | None:
        """What the latest plan for an instance said; None: there was none."""
        return self._why.get(key)

    def has_room(self, tenant: Tenant) -> bool:
        """Whether a version waits for memory for which nobody has to leave."""
        if tenant.key not in self._wishes or self._late:
            return False
        room = self._plan(tenant)
        return room.fits and not room.evict

    async def refresh(self) -> None:
        """Have the memories read, so that the next plan is made with what is so now."""
        await self._memory.refresh()

    def budget(self) -> dict[str, int]:
        """What all models together may take now of each memory."""
        return self._budget(self._given)

    def _budget(self, given: Bytes) -> dict[str, int]:
        levels = self._memory.levels()
        private = [
            self._footprints.private(one.instance.spec)
            for one in self._tenants.values()
            if one.admitted and one.instance.runner is not None
        ]
        return budget_now(given, levels, total(private), self._headroom(levels))

    def _headroom(self, levels: Mapping[str, Level]) -> dict[str, int]:
        given = self._settings.headroom_mb
        size = None if given is None else int(given * 1_000_000)
        return {memory: headroom(level, size) for memory, level in levels.items()}

    def residents(self, *, wanted: str | None, since: float | None) -> list[Resident]:
        """Everything that takes room, as a plan for one that has waited since then sees it."""
        pinned = self._pins.versions()
        return [
            self._resident(one, since=since, is_pinned=one.version in pinned, wanted=wanted)
            for one in self._tenants.values()
            if one.admitted
            and one.key != wanted
            and not (one.is_leaving and one.leaves_for == wanted)
        ]

    def _resident(
        self, tenant: Tenant, *, since: float | None, is_pinned: bool, wanted: str | None
    ) -> Resident:
        instance, now = tenant.instance, self._clock.monotonic()
        is_fresh = (
            instance.is_unserved
            and not tenant.unasked
            and now - instance.since < self._settings.stay_s
        )
        turn_s = self._settings.turn_s
        is_extra = self.is_extra(tenant)
        worth = instance.usage.chance(now) * self._footprints.reload_s(
            tenant.loadable, instance.spec
        )
        return Resident(
            version=tenant.key,
            need=self.need(tenant),
            last_used=NEVER if tenant.unasked else instance.usage.last,
            busy=tenant.is_leaving or (tenant.spare is None and (instance.busy or is_fresh)),
            worth=0.0 if tenant.unasked or is_extra else worth,
            kept=self._registry.kept_until(tenant.version) is not None and not is_extra,
            number=instance.number if is_extra else 1,
            pinned=is_pinned and not is_extra,
            is_beside=wanted is not None and self._serves_beside(tenant, self._tenants[wanted]),
            is_turn_over=not tenant.is_leaving
            and instance.state is State.READY
            and since is not None
            and min(now - instance.since, now - since) >= turn_s,
            priority=self._priority(tenant.version),
        )

    def _serves_beside(self, tenant: Tenant, wanted: Tenant) -> bool:
        """Whether it serves what the one that wants room would; one that keeps failing may go."""
        instance = tenant.instance
        is_well = instance.state is State.READY and instance.health.ailing is None
        return tenant.version == wanted.version and is_well and not tenant.is_leaving

    def _priority(self, version: VersionId) -> int:
        given = self._settings.priorities
        if not given:
            return 0
        return max((given.get(name, 0) for name in self._registry.names_of(version)), default=0)

    async def admit(self, tenant: Tenant) -> None:
        """Wait until there is room for a load, and take it.

        Raises `NoRoom` when what is pinned leaves none, or other programs leave less than it is
        known to need.
        """
        if tenant.loadable.is_outside:
            tenant.admitted = True
            return
        key = tenant.key
        self._wishes[key] = Wish(since=LAST, need=self.need(tenant))
        try:
            while True:
                self.freed.clear()
                await self.refresh()  # before the plan: within it nothing may be waited for
                pause_s = self._step(tenant)
                if pause_s is None:
                    self._let_in(tenant)
                    return
                with suppress(TimeoutError):
                    await within(self._clock, pause_s, _until(self.freed))
        finally:
            del self._wishes[key]
            self.freed.set()

    def _let_in(self, tenant: Tenant) -> None:
        tenant.admitted = True  # from now on, so that nobody else plans with the same memory
        tenant.had = self._memory.levels()

    def _step(self, tenant: Tenant) -> float | None:
        """Go on with a wish: None when there is room, else how long to wait at most."""
        key = tenant.key
        if tenant.has_claim and self._wishes[key].since == LAST:
            now = self._clock.monotonic()
            self._wishes[key] = replace(self._wishes[key], since=now)
        is_awaiting = any(one.leaves_for == key for one in self._tenants.values())
        room = self._plan(tenant)
        self._why[key] = room.reason
        if room.is_never:
            number = tenant.instance.number
            which = "this model" if number == 1 else f"instance {number} of this model"
            raise NoRoom(
                f"There is no memory for {which}: {room.reason}.",
                hint="Unpin something (arbiter models unpin NAME), or raise pool.memory_mb.",
            )
        for leaving in room.evict:
            self.send_away(self._tenants[leaving], f"evicted: {room.reason}", for_=key)
        is_awaiting = is_awaiting or bool(room.evict)
        wish = self._wishes[key]
        self._wishes[key] = replace(wish, is_claimed=is_awaiting or room.fits)
        if is_awaiting or not room.fits:
            return AGAIN_S
        refusal = self._no_room(tenant) if room.is_alone else None
        if refusal is not None and not self._late:
            raise refusal
        if refusal is not None or not (room.is_alone or self._is_back(tenant)):
            self._why[key] = "memory that was freed is not back yet"
            return RECOVERY_LOOK_S
        return None

    def _plan(self, tenant: Tenant) -> Room:
        key, now = tenant.key, self._clock.monotonic()
        ahead = promised(key, self._wishes, now=now, turn_s=self._settings.turn_s)
        since = self._wishes[key].since if tenant.has_claim else None
        others = self.residents(wanted=key, since=since)
        if tenant.is_helper:
            others = list(unused(others, since=now - UNUSED_S))
        return make_room(self.need(tenant), others, self._hoped_for(), reserved=ahead)

    def _hoped_for(self) -> dict[str, int]:
        """The budget, with what is on its way back to the system."""
        now = self._clock.monotonic()
        self._late = [one for one in self._late if one.until > now]
        late = total([one.size for one in self._late])
        return {
            memory: min(most + late.get(memory, 0), self._given.get(memory, 2**63))
            for memory, most in self._budget(self._given).items()
        }

    def _is_back(self, tenant: Tenant) -> bool:
        """Whether the memory of those that left is really free by now."""
        if not self._late:
            return True
        others = self.residents(wanted=tenant.key, since=None)
        return free_room(self.need(tenant), others, self.budget()).fits

    def _no_room(self, tenant: Tenant) -> NoRoom | None:
        """Why what does not fit is not even tried alone: it is known to need more than there is.

        It would end in swapping, or be killed.
        """
        free = self._budget({})
        short = self._footprints.shortage(tenant.instance.spec)
        if short is not None:
            for memory, size in short.had.items():
                if free.get(memory, size + 1) <= size:
                    left_s = ceil(short.until - self._clock.monotonic())
                    return ran_out(memory, had=size, free=free[memory], left_s=left_s)
        need, is_measured = self._footprints.predicted(tenant.loadable, tenant.instance.spec)
        for memory, size in (need or {}).items() if is_measured else ():
            if size > free.get(memory, size):
                return NoRoom(
                    f"It was measured to need {size / 1e6:.0f} MB of memory ({memory}), and other "
                    f"programs leave {free[memory] / 1e6:.0f} MB.",
                    hint="Close some of them, or lower pool.headroom_mb.",
                )
        return None

    def send_away(self, tenant: Tenant, reason: str, *, for_: str | None = None) -> None:
        """Have an instance leave in the background; whoever waits looks again when it is gone."""
        spare, tenant.spare = tenant.spare, None
        if spare is not None:
            spare.cancel()
        tenant.is_leaving, tenant.leaves_for = True, for_
        self._act(self._leave(tenant, reason, give_up=spare is not None))

    async def _leave(self, tenant: Tenant, reason: str, *, give_up: bool) -> None:
        try:
            await self.drained(tenant, reason, limit_s=self._settings.drain_s, give_up=give_up)
        finally:
            tenant.is_leaving, tenant.leaves_for = False, None
            self.freed.set()

    async def drained(
        self,
        tenant: Tenant,
        reason: str,
        *,
        limit_s: float | None = None,
        cut: bool = False,
        give_up: bool = False,
    ) -> bool:
        """Unload an instance as `Instance.drain` does, and remember what it gives back."""
        size = {} if tenant.loadable.is_outside else self._footprints.private(tenant.instance.spec)
        was_loaded = tenant.instance.runner is not None
        is_gone = await tenant.instance.drain(reason, limit_s=limit_s, cut=cut, give_up=give_up)
        if is_gone and was_loaded and any(size.values()):
            self._late.append(_Late(until=self._clock.monotonic() + RECOVERY_S, size=size))
        return is_gone

    def _act(self, doing: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(doing)
        self._acting.add(task)
        task.add_done_callback(self._acting.discard)

    async def settle(self) -> None:
        """Return when everybody who was sent away has left."""
        await asyncio.gather(*self._acting)

    async def admit_spare(self, tenant: Tenant, *, unused_s: float | None) -> bool:
        """Take room for a load that nobody waits for, if nobody is put out by it. False: none.

        unused_s: whoever was not asked for in this long may leave for it.
        """
        await self.refresh()
        need, key = self.need(tenant), tenant.key
        budget, claims = self.budget(), [wish.need for wish in self._wishes.values()]
        others = self.residents(wanted=key, since=None)
        room = free_room(need, others, budget, reserved=total(claims))
        if unused_s is not None and not room.fits:
            since = self._clock.monotonic() - unused_s
            room = make_room(need, unused(others, since=since), budget, reserved=total(claims))
        if not room.fits:
            return False
        self._let_in(tenant)
        for leaving in room.evict:
            self.send_away(self._tenants[leaving], f"evicted: {room.reason}", for_=key)
        if room.evict:
            await self.settle()
            tenant.had = self._memory.levels()
        return True

    def yield_to_others(self) -> tuple[str, ...]:
        """Have idle models leave when other programs need the memory; which instances those are."""
        if any(one.is_leaving for one in self._tenants.values()):
            return ()  # that may be all that it takes
        room = surplus(self.residents(wanted=None, since=None), self._hoped_for())
        for key in room.evict:
            leaving = self._tenants[key]
            LOG.info("%s leaves: %s", short(leaving.version), room.reason)
            self.send_away(leaving, f"evicted: {room.reason}")
        return room.evict


async def _until(event: asyncio.Event) -> None:
    await event.wait()
