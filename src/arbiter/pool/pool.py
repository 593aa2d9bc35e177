"""Where versions run: one instance a version on this host, loaded when it is first needed.

The pool is the only one that loads and unloads. Memory is planned from footprints that were
measured after earlier loads, and estimated from the file before the first.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Final

import msgspec

from arbiter.clock import Clock
from arbiter.config import PoolSettings
from arbiter.cost import Method
from arbiter.engines.base import Engine, LoadSpec, Runner, ServedRunner
from arbiter.errors import (
    ArbiterError,
    EngineError,
    EngineUnavailable,
    KeyRefused,
    NotOffered,
    ServerGone,
    ShuttingDown,
)
from arbiter.events import Announcer, Event
from arbiter.metering.meter import Meter
from arbiter.pool.breaker import Phase, Sign, sign_of
from arbiter.pool.instance import Instance, Lease, State
from arbiter.pool.model_file import ModelFile
from arbiter.pool.residency import NEVER, Resident, free_room, make_room, unused
from arbiter.refs import VersionId, legible, short
from arbiter.registry.artifact import Artifact
from arbiter.registry.registry import Registry, Version
from arbiter.storage.database import Database, Statement

LOG = logging.getLogger(__name__)
_NOBODY: Final[Mapping[VersionId, str]] = MappingProxyType({})


class Loadable(msgspec.Struct, frozen=True, kw_only=True):
    """What the pool must know of a version: its file and a first guess of its size.

    is_outside: another program runs it, in memory that is not this house's to give.
    estimated_bytes: None when nobody says anything about its size. digest: of its content, for
    its server to match.
    """

    version: VersionId
    format: str
    path: str
    context_length: int | None
    estimated_bytes: int | None
    is_outside: bool = False
    digest: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    artifact: Artifact | None = None
    """What was registered, to notice a file that is no longer the same; None: not checked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceView:
    """An instance as it is now, for people."""

    version: VersionId
    engine: str
    state: State
    leases: int
    waiting: int
    loads: int
    pid: int | None
    predicted_bytes: int | None
    measured_bytes: int | None
    last_error: str | None
    ailing: str | None
    """Why `auto` asks others for now."""


WORKER_BYTES = 40_000_000
"""First guess of what a worker process holds besides its model; a measurement replaces it."""


def loadable(version: Version) -> Loadable:
    """What the pool must know of a registered version."""
    artifact = version.artifact
    size, estimated = artifact.size_bytes, artifact.size_bytes
    if artifact.identity is not None and size is not None:
        cache = (artifact.kv_bytes_per_token or 0) * (artifact.context_length or 0)
        estimated = WORKER_BYTES + size + min(cache, size)
    return Loadable(
        version=version.version,
        format=artifact.format,
        path=artifact.path,
        context_length=artifact.context_length,
        estimated_bytes=estimated,
        is_outside=artifact.identity is None,
        digest=artifact.content_digest if artifact.identity is None else None,
        options=artifact.options,
        artifact=artifact,
    )


class Pool:
    """Every instance of this host. Closing it drains them all."""

    def __init__(
        self,
        *,
        engines: Sequence[Engine],
        settings: PoolSettings,
        budget_bytes: int | None,
        database: Database,
        clock: Clock,
        announcer: Announcer,
        meter: Meter,
        registry: Registry,
    ) -> None:
        self.budget_bytes = budget_bytes
        self.revision = 0
        """Grows when a footprint becomes known."""
        self.engines = tuple(engines)
        self._settings = settings
        self._database = database
        self._clock = clock
        self._announcer = announcer
        self._reader = meter.reader
        self._meter = meter
        self._registry = registry
        self._places = registry.places
        self._instances: dict[VersionId, Instance] = {}
        self._loadables: dict[VersionId, Loadable] = {}
        self._measured: dict[tuple[VersionId, int, int], int] = {}
        self._admitted: set[VersionId] = set()
        self._spare: dict[VersionId, asyncio.Task[Runner]] = {}
        """Loads that nobody waits for: they give way to any that somebody does."""
        self._unasked: set[VersionId] = set()
        """Loaded without anybody having asked for them: the first to leave when room is needed."""
        self._doubted: set[VersionId] = set()
        """Whose breaker is not closed."""
        self._admission = asyncio.Lock()
        self._freed = asyncio.Event()
        self._closed = False

    async def load(self) -> None:
        """Read the footprints that were measured before."""
        for version, context, slots, total, _ in await self._database.read("list_footprints"):
            key = (VersionId(str(version)), int(context or 0), int(slots or 0))
            self._measured[key] = int(total or 0)

    def engine_for(self, format_: str) -> Engine:
        """The engine that loads this format here. Raises `EngineUnavailable` that says why not."""
        reasons: list[str] = []
        for engine in self.engines:
            if format_ in engine.formats:
                availability = engine.availability()
                if availability.available:
                    return engine
                reasons.append(f"{engine.name}: {availability.reason}")
        raise EngineUnavailable(
            f"Nothing here can run a {format_} model.",
            hint="; ".join(reasons) or "Install an engine for it: docs/how-to/add-an-engine.md.",
        )

    def features(self, format_: str) -> frozenset[str]:
        """What the engine that runs this format here adds to a model's own capabilities."""
        return next((e.features for e in self.engines if format_ in e.formats), frozenset())

    def capabilities(self, artifact: Artifact) -> frozenset[str]:
        """What a version can do with the engine that runs it here."""
        can = artifact.capabilities
        return can | self.features(artifact.format) if "chat" in can else can

    def at_once(self, loadable: Loadable) -> int:
        """How many requests a version is sent at the same time."""
        return self._spec(loadable).slots

    def unavailable(self, format_: str) -> str | None:
        """Why this format cannot run here, or None when it can."""
        try:
            self.engine_for(format_)
        except EngineUnavailable as error:
            return error.sentence
        return None

    def predicted_bytes(self, loadable: Loadable) -> tuple[int | None, bool]:
        """Memory that a version needs, and whether that was measured or is an estimate.

        None when nobody knows: a server that offers it does not say.
        """
        spec = self._spec(loadable)
        measured = self._measured.get((spec.version, spec.context, spec.slots))
        return (loadable.estimated_bytes, False) if measured is None else (measured, True)

    def room_in(self, loadable: Loadable) -> int | None:
        """The tokens that a version has room for here; None when its server does not say."""
        if loadable.is_outside and loadable.context_length is None:
            return None
        return self._spec(loadable).context

    def _spec(self, loadable: Loadable) -> LoadSpec:
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

    def _placed(self, spec: LoadSpec) -> LoadSpec:
        """A spec with the places of this moment, if its version is served by others."""
        places = self._places.of(spec.version)
        return replace(spec, places=places) if places else spec

    def room_for(self, loadable: Loadable) -> int:
        """The memory of this house that a version takes: none when another program runs it."""
        return 0 if loadable.is_outside else self.predicted_bytes(loadable)[0] or 0

    def _instance(self, loadable: Loadable) -> Instance:
        found = self._instances.get(loadable.version)
        if found is None:
            found = Instance(
                engine=self.engine_for(loadable.format),
                spec=self._spec(loadable),
                clock=self._clock,
                meter=self._meter,
                settings=self._settings,
                on_change=self._changed,
                file=ModelFile(loadable.artifact, self._clock),
                prepare=self._placed,
            )
            found.health.listener = partial(self._judged, found)
            self._instances[loadable.version] = found
            self._loadables[loadable.version] = loadable
        return found

    async def take(
        self, loadable: Loadable, *, patient: bool = True, bounded: bool = True
    ) -> Lease:
        """A warm runner of a version with a free slot; loads it first when it must.

        `give_back` what this returns. These are two functions and no context: every request comes
        here, and a context made of a generator costs more than all that they do.

        patient: wait out the pause after a loss; who could be served elsewhere need not. bounded:
        be refused when too many wait; the house's own work waits instead.

        Raises `Busy`, `LoadFailed` (`ServerGone` or `NotOffered` when nobody who serves it is
        there, which is no fault of the version), `EngineUnavailable`, `ShuttingDown`.
        """
        if self._closed:
            raise ShuttingDown
        instance = self._instance(loadable)
        self._spare.pop(loadable.version, None)
        if bounded:
            self._unasked.discard(loadable.version)
        try:
            return await instance.take(
                lambda: self._admit(instance), patient=patient, bounded=bounded
            )
        except BaseException:
            self._freed.set()
            raise

    def give_back(self, lease: Lease) -> None:
        """End a lease."""
        lease.instance.give_back(lease)
        self._freed.set()

    async def warm(self, loadable: Loadable) -> None:
        """Load a version now, so that its first request need not wait."""
        if self._closed:
            raise ShuttingDown
        instance = self._instance(loadable)
        self._spare.pop(loadable.version, None)
        self._unasked.discard(loadable.version)
        await instance.ensure_ready(lambda: self._admit(instance))

    async def warm_spare(self, loadable: Loadable, *, unused_s: float | None = None) -> None:
        """Load a version if it fits beside the others, and else do nothing.

        unused_s: whoever was not asked for in this long may leave for it, and whoever nobody ever
        asked for at once; by default nobody leaves. A request that needs the room ends this load.
        Raises `LoadFailed`, `EngineUnavailable`, `ShuttingDown`.
        """
        if self._closed:
            raise ShuttingDown
        version, instance = loadable.version, self._instance(loadable)
        async with self._admission:
            need = self.room_for(loadable)
            others = self._residents(instance)
            room = free_room(need, others, self.budget_bytes)
            if unused_s is not None and not room.fits:
                since = self._clock.monotonic() - unused_s
                room = make_room(need, unused(others, since=since), self.budget_bytes)
            if instance.state not in {State.COLD, State.FAILED} or not room.fits:
                return
            for leaving in room.evict:
                await self._evict(leaving, f"evicted: {room.reason}")
            self._admitted.add(version)
            self._unasked.add(version)
            loading = asyncio.create_task(instance.ensure_ready(instance.file.ensure_registered))
            self._spare[version] = loading
        try:
            await asyncio.wait({loading})
        except asyncio.CancelledError:
            if version in self._spare:
                await self._evict(version, "nobody waits for it any more")
            raise
        finally:
            loading.cancel()
            self._spare.pop(version, None)
            if instance.state in {State.COLD, State.FAILED}:
                self._admitted.discard(version)
            self._freed.set()
        if not loading.cancelled():
            loading.result()

    async def let_spare_go(self, version: VersionId, *, reason: str) -> bool:
        """Unload what `warm_spare` loaded, unless it is kept or somebody asked for it since."""
        if version not in self._unasked or self._loadables[version].is_outside:
            return False
        if self._registry.kept_until(version) is not None:
            return False
        return await self.let_go(version, reason=reason)

    async def let_go(self, version: VersionId, *, reason: str) -> bool:
        """Unload a version unless somebody uses it. False: it is in use, or was not loaded."""
        instance = self._instances.get(version)
        if instance is None or instance.busy:
            return False
        return await self.unload(version, reason=reason)

    async def unload(self, version: VersionId, *, reason: str) -> bool:
        """Drain and unload a version. False: it was not loaded."""
        instance = self._instances.get(version)
        if instance is None or instance.state is State.COLD:
            return False
        await instance.drain(reason)
        return True

    def _residents(self, wanted: Instance) -> list[Resident]:
        """Everything but this instance that takes room."""
        return [
            Resident(
                version=version,
                need_bytes=self.room_for(self._loadables[version]),
                last_used=NEVER if version in self._unasked else instance.last_used,
                # a spare load that has not begun can not be ended yet; one that has, can
                busy=instance.state is State.COLD if version in self._spare else instance.busy,
                kept=self._registry.kept_until(version) is not None,
            )
            for version, instance in self._instances.items()
            if version in self._admitted and instance is not wanted
        ]

    async def _evict(self, version: VersionId, reason: str) -> None:
        spare = self._spare.pop(version, None)
        if spare is not None:
            spare.cancel()
        await self._instances[version].drain(reason, give_up_load=spare is not None)

    async def _admit(self, wanted: Instance) -> None:
        """Check the file and make room before a load; wait while nothing idle can leave.

        Raises `LoadFailed` when the file is no longer what was registered.
        """
        await wanted.file.ensure_registered()
        if self._loadables[wanted.spec.version].is_outside:
            return
        while True:
            self._freed.clear()
            async with self._admission:
                need = self.room_for(self._loadables[wanted.spec.version])
                room = make_room(need, self._residents(wanted), self.budget_bytes)
                for version in room.evict:
                    await self._evict(version, f"evicted: {room.reason}")
                if room.fits:
                    # only what was admitted takes room: two loads that wait for each other's
                    # memory would otherwise wait for ever
                    self._admitted.add(wanted.spec.version)
                    return
            await self._freed.wait()

    def _changed(self, instance: Instance, reason: str) -> None:
        if instance.state is State.READY:
            self._measure(instance)
        elif instance.state in {State.COLD, State.FAILED}:
            self._admitted.discard(instance.spec.version)
            self._unasked.discard(instance.spec.version)
            if instance.state is State.FAILED:
                # here, and not for each request that is refused while it lasts
                names = ", ".join(self._registry.names_of(instance.spec.version))
                LOG.warning("%s failed: %s", names or short(instance.spec.version), reason)
            if not instance.was_lost:
                self._miss(instance.spec.version, instance.last_error)
        self._freed.set()
        self._tell(f"instance.{instance.state.value}", instance, reason)

    def _judged(self, instance: Instance) -> None:
        """A breaker opened, is tried, or closed."""
        version, breaker = instance.spec.version, instance.health.breaker
        if breaker.phase is Phase.CLOSED:
            self._doubted.discard(version)
        else:
            self._doubted.add(version)
        if breaker.phase is Phase.OPEN:
            names = ", ".join(self._registry.names_of(version))
            LOG.warning(
                "%s keeps failing (%s); auto asks others for %.0f s",
                names or short(version),
                breaker.why,
                breaker.until - self._clock.monotonic(),
            )
        self._tell(f"breaker.{breaker.phase.value}", instance, breaker.why)
        if breaker.phase is Phase.OPEN and instance.runner is not None:
            self._move(instance, instance.runner, breaker.why)

    def move_on(self, lease: Lease, error: EngineError) -> bool:
        """After a failure before the first byte: have the version served at its next place.

        False when it has none, or when the place is not to blame.
        """
        if sign_of(error) is Sign.NOTHING and not isinstance(error, KeyRefused):
            return False
        return self._move(lease.instance, lease.runner, error.code)

    def _move(self, instance: Instance, runner: Runner, why: str) -> bool:
        """Have a version that fails at one place served at another, if it has one."""
        if not isinstance(runner, ServedRunner):
            return False
        if not self._places.beside(instance.spec.version, runner.place):
            return False
        self._places.fail(runner.place)
        if instance.runner is runner:
            instance.leave(runner, why)
        return True

    def _tell(self, kind: str, instance: Instance, reason: str) -> None:
        detail = {"version": instance.spec.version, "reason": reason}
        self._announcer.announce(Event(kind=kind, at=self._clock.now(), detail=detail))

    def ailing(self) -> Mapping[VersionId, str]:
        """The versions that kept failing lately, each with why; who has others asks those.

        Nobody is refused because of it, and one request at a time tries whether it is over.
        """
        if not self._doubted:
            return _NOBODY
        found = {version: self._instances[version].health.ailing for version in self._doubted}
        return {version: why for version, why in found.items() if why is not None}

    def _miss(self, version: VersionId, error: ArbiterError | None) -> None:
        """No server that offers a version is there, or none has it: no choice until one does."""
        if isinstance(error, ServerGone | NotOffered):
            for place in self._places.of(version):
                why = legible(error.message.removeprefix(f"{place.url}: "), most=1000)
                if isinstance(error, NotOffered):
                    self._places.note(place, why)
                else:
                    self._places.note(place.url, why)
                    self.part_from(place.url, why)

    def part_from(self, url: str, why: str) -> None:
        """A server is gone, or silent: whoever waits there for a first byte is asked elsewhere."""
        for instance in self._instances.values():
            instance.part_from(url, why)

    def welcome_back(self, url: str) -> None:
        """A server is there again: what it offers may be loaded at once."""
        for version, instance in self._instances.items():
            if any(place.url == url for place in self._places.of(version)):
                instance.forgive()

    def _measure(self, instance: Instance) -> None:
        """Remember what the instance holds right after its load."""
        runner = instance.runner
        if runner is None:
            return
        footprint = runner.reported
        if footprint is None:
            if runner.pid is None:
                return
            footprint = self._reader.footprint(runner.pid)
        total = footprint.total_bytes
        if total is None or footprint.method is Method.UNKNOWN:
            return
        spec = instance.spec
        self._measured[(spec.version, spec.context, spec.slots)] = total
        self.revision += 1
        self._database.enqueue(
            Statement(
                query="put_footprint",
                parameters=(
                    spec.version,
                    spec.context,
                    spec.slots,
                    total,
                    footprint.method.value,
                    self._clock.now().isoformat(),
                ),
            )
        )

    def is_warm(self, version: VersionId) -> bool:
        """Whether it is in the memory of this house and could answer without a load."""
        instance = self._instances.get(version)
        return (
            instance is not None
            and instance.state is State.READY
            and not self._loadables[version].is_outside
        )

    def views(self) -> tuple[InstanceView, ...]:
        """Every instance as it is now."""
        return tuple(self._view(version) for version in self._instances)

    def _view(self, version: VersionId) -> InstanceView:
        instance = self._instances[version]
        spec = instance.spec
        error = instance.last_error
        return InstanceView(
            version=version,
            engine=instance.engine.name,
            state=instance.state,
            leases=instance.leases,
            waiting=instance.waiting,
            loads=instance.loads,
            pid=instance.runner.pid if instance.runner is not None else None,
            predicted_bytes=self._loadables[version].estimated_bytes,
            measured_bytes=self._measured.get((version, spec.context, spec.slots)),
            last_error=error.message if error is not None else None,
            ailing=instance.health.ailing,
        )

    def states(self) -> Mapping[VersionId, State]:
        """The state of every instance."""
        return {version: instance.state for version, instance in self._instances.items()}

    async def close(self) -> None:
        """Take nothing new, let what runs end, unload everything. The caller sets the deadline."""
        self._closed = True
        await asyncio.gather(
            *(instance.drain("the house closes") for instance in self._instances.values())
        )

    async def abandon(self) -> None:
        """Unload everything at once, whoever is being served: the deadline of `close` is over."""
        await asyncio.gather(*(instance.abandon() for instance in self._instances.values()))
