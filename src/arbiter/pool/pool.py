"""Where versions run: in one instance or several, each loaded when it is first needed.

The pool is the only one that loads and unloads. `arbiter.pool.space` says when there is memory for
a load, `arbiter.pool.instance` does it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping, Sequence
from datetime import datetime
from functools import lru_cache, partial
from random import Random

from arbiter.clock import Clock
from arbiter.config import PoolSettings
from arbiter.cost import HOST
from arbiter.engines.base import Engine
from arbiter.errors import (
    ArbiterError,
    NoRoom,
    ShuttingDown,
    StillInUse,
)
from arbiter.events import Announcer, Detail, Event
from arbiter.pool.again import Again
from arbiter.pool.doubts import Doubts
from arbiter.pool.elsewhere import Elsewhere
from arbiter.pool.engines import Engines
from arbiter.pool.fairness import HOUSE, Who
from arbiter.pool.footprints import Footprints, Machine
from arbiter.pool.instance import Instance, Lease, State
from arbiter.pool.loadable import Loadable, loadable
from arbiter.pool.moves import Moves
from arbiter.pool.pinned_options import LoadOptions
from arbiter.pool.pins import Pins
from arbiter.pool.roster import Roster
from arbiter.pool.showing import Showing
from arbiter.pool.siblings import ANYWHERE, Siblings, Sought
from arbiter.pool.space import Space, Tenant
from arbiter.pool.spares import Spares
from arbiter.pool.stuck import Sight
from arbiter.pool.turns import SentOn
from arbiter.pool.view import InstanceView, Progress
from arbiter.refs import ModelName, VersionId, short
from arbiter.registry.artifact import Artifact
from arbiter.registry.registry import Registry
from arbiter.storage.database import Database

__all__ = ["InstanceView", "Loadable", "Pool", "loadable"]

LOG = logging.getLogger(__name__)


class Pool:
    """Every instance of this host. Closing it drains them all.

    budget_bytes: of this machine's own memory, for models; None: no bound but what is available.
    """

    def __init__(  # noqa: PLR0913  # what it stands on
        self,
        *,
        engines: Sequence[Engine],
        settings: PoolSettings,
        budget_bytes: int | None,
        database: Database,
        clock: Clock,
        announcer: Announcer,
        machine: Machine,
        registry: Registry,
        dice: Random,
    ) -> None:
        self.budget_bytes = budget_bytes
        self.pins = Pins(database, clock, registry)
        self.engines = tuple(engines)
        self._engines = Engines(engines)
        self._settings = settings
        self._clock = clock
        self._database = database
        self._announcer = announcer
        self._registry = registry
        self._places = registry.places
        self._doubts = Doubts(registry=registry, clock=clock, tell=self._tell)
        self._roster = Roster(
            engines=self._engines,
            settings=settings,
            registry=registry,
            clock=clock,
            dice=dice,
            meter=machine.meter,
        )
        self._tenants = self._roster.tenants
        self._footprints = Footprints(database=database, clock=clock, machine=machine)
        self.space = Space(
            tenants=self._tenants,
            settings=settings,
            budget={} if budget_bytes is None else {HOST: budget_bytes},
            memory=machine.memory,
            footprints=self._footprints,
            pins=self.pins,
            registry=registry,
            clock=clock,
        )
        self._roster.too_many = lambda one: self.space.send_away(one, "it is one too many")
        self._spares = Spares(space=self.space, clock=clock)
        self._moves = Moves(
            roster=self._roster,
            space=self.space,
            spares=self._spares,
            footprints=self._footprints,
            doubts=self._doubts,
            registry=registry,
            admit=self._admit,
            tell=self._tell,
        )
        self._showing = Showing(
            roster=self._roster,
            footprints=self._footprints,
            space=self.space,
            pins=self.pins,
            clock=clock,
        )
        self.again = Again(settings=settings, clock=clock, announcer=announcer)
        """Whether requests that failed may be tried again."""
        self.elsewhere = Elsewhere(roster=self._roster, doubts=self._doubts)
        """Whether one that failed at an instance is to be asked at another one."""
        self._closed = False
        self.reconfigured = asyncio.Event()
        """Set when other settings hold from now on."""

    async def load(self) -> None:
        """Read the footprints that were measured before, what is pinned, and how fast all were."""
        await self._footprints.load()
        await self.pins.load()
        await self._doubts.load(self._database)

    @property
    def settings(self) -> PoolSettings:
        """What holds now."""
        return self._settings

    def instances(self) -> tuple[Instance, ...]:
        """Every instance that there is, in memory or not."""
        return tuple(tenant.instance for tenant in self._tenants.values())

    @property
    def revision(self) -> int:
        """Grows when a footprint becomes known."""
        return self._footprints.revision

    def engine_for(self, format_: str) -> Engine:
        """The engine that loads this format here. Raises `EngineUnavailable` that says why not."""
        return self._engines.find(format_)

    def features(self, format_: str) -> frozenset[str]:
        """What the engine that runs this format here adds to a model's own capabilities."""
        return self._engines.features(format_)

    def capabilities(self, artifact: Artifact) -> frozenset[str]:
        """What a version can do with the engine that runs it here."""
        can = artifact.capabilities
        return _together(can, self.features(artifact.format)) if "chat" in can else can

    def at_once(self, loadable: Loadable) -> int:
        """How many requests a version is sent at the same time."""
        return self._roster.spec(loadable).slots

    def unavailable(self, format_: str) -> str | None:
        """Why this format cannot run here, or None when it can."""
        return self._engines.unavailable(format_)

    def predicted_bytes(self, loadable: Loadable) -> tuple[int | None, bool]:
        """Memory that a version needs, and whether that was measured or is an estimate.

        None when nobody knows: a server that offers it does not say.
        """
        held, is_measured = self._footprints.predicted(loadable, self._roster.spec(loadable))
        return (None if held is None else sum(held.values())), is_measured

    def room_in(self, loadable: Loadable) -> int | None:
        """The tokens that a version has room for here; None when its server does not say."""
        if loadable.is_outside and loadable.context_length is None:
            return None
        return self._roster.spec(loadable).context

    def reload_s(self, loadable: Loadable) -> float:
        """How long a load of a version is expected to take here, in seconds."""
        return self._footprints.reload_s(loadable, self._roster.spec(loadable))

    def room_for(self, loadable: Loadable) -> int:
        """The memory of this house that a version takes: none when another program runs it."""
        return 0 if loadable.is_outside else self.predicted_bytes(loadable)[0] or 0

    async def take(
        self,
        loadable: Loadable,
        *,
        who: Who = HOUSE,
        patient: bool = True,
        bounded: bool = True,
        helper: bool = False,
        options: LoadOptions = (),
        sought: Sought = ANYWHERE,
    ) -> Lease:
        """A warm runner of a version with a free slot; loads it first when it must.

        `give_back` what this returns. These are two functions and no context: every request comes
        here, and a context made of a generator costs more than all that they do.

        who: whose turn it is depends on that. patient: wait out the pause after a loss; who could
        be served elsewhere need not. bounded: be refused when too many wait; the house's own work
        waits instead. helper: no model that people use may leave memory for this request. options:
        how the request would have it loaded, which is not heeded. sought: what the choice between
        several instances goes by.

        Raises `Busy`, `LoadFailed` (`ServerGone` or `NotOffered` when nobody who serves it is
        there, which is no fault of the version), `EngineUnavailable`, `ShuttingDown`.
        """
        if self._closed:
            raise ShuttingDown
        siblings = self._roster.of(loadable)

        def ask(tenant: Tenant) -> Coroutine[object, object, Lease]:
            tenant.spare = None
            if bounded:
                tenant.unasked = False
                tenant.avoided.note(options)
            tenant.want(helper=helper or siblings.is_helper, claims=bounded)
            return tenant.instance.take(
                partial(self._admit, tenant), who=who, patient=patient, bounded=bounded
            )

        try:
            if siblings.is_alone:
                try:
                    return await ask(siblings.first)
                except SentOn:
                    pass  # there is another one by now
            return await siblings.take(sought, ask, self._spares.open)
        except BaseException:
            self.space.freed.set()
            raise

    def give_back(self, lease: Lease) -> None:
        """End a lease."""
        lease.instance.give_back(lease)
        self.space.freed.set()
        siblings = self._roster.get(lease.instance.spec.version)
        if siblings is not None and not siblings.is_alone:
            siblings.level()

    async def _admit(self, tenant: Tenant) -> None:
        """Check the file and wait for room. Raises as `Space.admit`, and `LoadFailed`."""
        await tenant.instance.file.ensure_registered()
        await self.space.admit(tenant)

    async def warm(
        self, loadable: Loadable, *, helper: bool = False, by_person: bool = False, count: int = 1
    ) -> None:
        """Load a version now, so that its first request need not wait.

        helper: no model that people use may leave for it. by_person: what is in use all the time
        makes way for it after a turn. count: so many instances of it; more than the settings say
        may be there until it is unloaded, or as many of them as there is room for. Raises what
        `take` raises.
        """
        if self._closed:
            raise ShuttingDown
        siblings = self._roster.of(loadable)
        if count > siblings.most:
            self._roster.ask_for(loadable, count)
        ready = [one for one in siblings.tenants if one.instance.state is State.READY]
        others = [one for one in siblings.tenants if one not in ready]
        for tenant in others[: max(0, count - len(ready))] or ready[:1]:
            if not self._roster.is_wanted(tenant):
                continue  # there are to be fewer by now
            tenant.spare, tenant.unasked = None, False
            tenant.want(helper=helper or siblings.is_helper, claims=by_person)
            try:
                await tenant.instance.ensure_ready(partial(self._admit, tenant))
            except NoRoom:
                self._roster.ask_for(loadable, siblings.highest_ready)
                raise

    async def warm_spare(self, loadable: Loadable, *, unused_s: float | None = None) -> None:
        """Load a version if it fits beside the others, and else do nothing.

        As `Spares.load`. Raises `LoadFailed`, `EngineUnavailable`, `ShuttingDown`.
        """
        if self._closed:
            raise ShuttingDown
        siblings = self._roster.of(loadable)
        if not siblings.is_ready:
            await self._spares.load(siblings.first, unused_s=unused_s)

    async def let_spare_go(self, version: VersionId, *, reason: str) -> bool:
        """Unload what `warm_spare` loaded, unless it is kept or somebody asked for it since."""
        loaded = self._loaded(version)
        if not loaded or any(one.loadable.is_outside or not one.unasked for one in loaded):
            return False
        if self._registry.kept_until(version) is not None:
            return False
        return await self.let_go(version, reason=reason)

    async def let_go(self, version: VersionId, *, reason: str) -> bool:
        """Unload a version unless somebody uses it. False: it is in use, or was not loaded."""
        loaded = self._loaded(version)
        if any(one.instance.busy for one in loaded) or version in self.pins.versions():
            return False
        return await self.unload(version, reason=reason)

    async def unload(
        self, version: VersionId, *, reason: str, cut: bool = False, number: int | None = None
    ) -> bool:
        """Drain and unload a version. False: it was not loaded.

        Answers that run are served to their end; the drain is called off when that takes longer
        than ``pool.drain_s``. cut: end them at once, with an error. number: this instance of it
        alone, while the others serve. Raises `StillInUse`.
        """
        loaded = [
            one for one in self._loaded(version) if number is None or one.instance.number == number
        ]
        limit_s = self._settings.drain_s
        are_gone = await asyncio.gather(
            *(self.space.drained(one, reason, limit_s=limit_s, cut=cut) for one in loaded)
        )
        if not all(are_gone):
            which = "" if number is None else f" --number {number}"
            raise StillInUse(
                f"{sum(one.instance.leases for one in loaded)} answers still run after "
                f"{limit_s:.0f} s; it is not unloaded.",
                hint=f"Try again, or cut them: arbiter models unload NAME{which} --now.",
            )
        if loaded and number is None:
            self._roster.ask_for(loaded[0].loadable, 0)
        return bool(loaded)

    def _loaded(self, version: VersionId) -> list[Tenant]:
        """Its instances that are not cold."""
        siblings = self._roster.get(version)
        found = () if siblings is None else siblings.tenants
        return [one for one in found if one.instance.state is not State.COLD]

    async def pin(self, name: ModelName, until: datetime | None) -> None:
        """Have what a name stands for in memory, for good or until a date. Raises `UnknownModel`.

        It is loaded by `keep_pinned`. Durable when this returns.
        """
        await self.pins.add(name, until)
        date = None if until is None else until.isoformat()
        self._tell("pin.set", name=self._registry.meant(name), until=date)

    async def unpin(self, name: ModelName) -> bool:
        """Let a pinned name go like any other. False: it was not pinned."""
        is_gone = await self.pins.remove(name)
        if is_gone:
            self._tell("pin.removed", name=name, reason="by a person")
            self.space.freed.set()
        return is_gone

    def reconfigure(
        self, settings: PoolSettings, budget_bytes: int | None
    ) -> tuple[VersionId, ...]:
        """Keep to other settings from now on; which versions are loaded again because of it.

        Only those whose context, slots or threads change: they are drained first, and loaded anew
        when they are next asked for.
        """
        self._settings = settings
        self.reconfigured.set()
        self.budget_bytes = budget_bytes
        self.space.reconfigure(settings, {} if budget_bytes is None else {HOST: budget_bytes})
        self._roster.reconfigure(settings)
        self.again.reconfigure(settings)
        self._footprints.revision += 1  # what fits may have changed for whoever asks
        return self.renew()

    def renew(self) -> tuple[VersionId, ...]:
        """Have those leave that are loaded otherwise than the settings say; which those are."""
        return self._moves.renew()

    async def keep_pinned(self) -> None:
        """Load what is pinned and is not loaded, and take away the pins whose date has passed."""
        for name in await self.pins.expire():
            self._tell("pin.removed", name=name, reason="its date has passed")
        for version in self.pins.versions():
            if self._loaded(version):
                continue
            try:
                await self.warm(loadable(self._registry.version(version)))
            except ArbiterError as error:
                LOG.warning("%s is pinned and not loaded: %s", short(version), error.sentence)

    def _tell(self, kind: str, **detail: Detail) -> None:
        self._announcer.announce(Event(kind=kind, at=self._clock.now(), detail=detail))

    def ailing(self) -> Mapping[VersionId, str]:
        """The versions of which every instance kept failing lately, each with why."""
        doubted = self._doubts.ailing()
        return self._roster.ailing(doubted) if doubted else doubted

    def part_from(self, url: str, why: str) -> None:
        """A server is gone, or silent: whoever waits there for a first byte is asked elsewhere."""
        self._moves.part_from(url, why)

    def welcome_back(self, url: str) -> None:
        """A server is there again: what it offers may be loaded at once."""
        for tenant in self._tenants.values():
            if any(place.url == url for place in self._places.of(tenant.version)):
                tenant.instance.forgive()

    def is_warm(self, version: VersionId) -> bool:
        """Whether it is in the memory of this house and could answer without a load."""
        return any(
            one.instance.state is State.READY and not one.loadable.is_outside
            for one in self._loaded(version)
        )

    def ready(self) -> tuple[VersionId, ...]:
        """The versions that are in memory, or had from a server, and on their way nowhere."""
        return tuple(version for version, state in self.states().items() if state is State.READY)

    def siblings(self, version: VersionId) -> Siblings | None:
        """The instances of a version, if it ever had one."""
        return self._roster.get(version)

    def views(self) -> tuple[InstanceView, ...]:
        """Every instance as it is now."""
        return self._showing.views()

    def progress(self, version: VersionId, *, of_load: bool = False) -> Progress | None:
        """What somebody who waits for a version waits for; None: for nothing but its answer.

        of_load: for a load of one more of it, and not for an answer.
        """
        return self._showing.progress(version, of_load=of_load)

    def sights(self) -> tuple[Sight, ...]:
        """Every queue as it is now, for whoever looks whether one stands still."""
        return self._showing.sights()

    def wake(self) -> None:
        """Have everybody who waits look again."""
        self.space.freed.set()
        for tenant in self._tenants.values():
            tenant.instance.turns.wake()

    def states(self) -> Mapping[VersionId, State]:
        """The state of every version: that of the instance that is nearest to an answer."""
        return {one.first.version: one.state for one in self._roster.all()}

    async def close(self) -> None:
        """Take nothing new, let what runs end, unload everything. The caller sets the deadline."""
        self._closed = self._moves.is_closing = True
        await self._spares.close()
        await asyncio.gather(*(_gone(tenant.instance) for tenant in self._tenants.values()))
        await self.space.settle()

    async def abandon(self) -> None:
        """Unload everything at once, whoever is being served: the deadline of `close` is over."""
        self._closed = self._moves.is_closing = True
        await self._spares.close()
        await asyncio.gather(*(one.instance.abandon() for one in self._tenants.values()))
        await self.space.settle()


async def _gone(instance: Instance) -> None:
    # a drain that was under way has a limit of its own, and this one has none
    while not await instance.drain("the house closes"):
        pass


@lru_cache(maxsize=256)
def _together(one: frozenset[str], other: frozenset[str]) -> frozenset[str]:
    """Both; kept, because every request asks what its version can do."""
    return one | other
