"""The composition root: the only place that builds. It opens the house and closes it in reverse.

Nothing outside this file makes a database, an engine, a clock or dice.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import platform
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random, SystemRandom
from typing import TYPE_CHECKING

import psutil

from arbiter.clock import Clock, SystemClock
from arbiter.config import MeteringSettings, Settings, TelemetrySettings, load_settings
from arbiter.cost import HOST
from arbiter.dispatch.behind import Behind
from arbiter.dispatch.dispatch import Dispatch
from arbiter.engines.base import Engine, EngineContext, Waits, installed_engines
from arbiter.errors import HouseLocked, StorageError
from arbiter.events import Announcer
from arbiter.gateway.keyring import Keyring
from arbiter.gateway.security import Access, Key, hashed
from arbiter.hardware.found import Hardware, find_hardware
from arbiter.hardware.machine import usable_cores
from arbiter.house import House, own_addresses
from arbiter.judge.grading import TaskGrader
from arbiter.knowledge.carrier import Carrier
from arbiter.knowledge.costs import Costs
from arbiter.knowledge.guesser import Guesser
from arbiter.knowledge.judgements import OWNERS
from arbiter.knowledge.learning import Learning
from arbiter.knowledge.outcomes import Outcomes
from arbiter.knowledge.profiles import Profiles
from arbiter.knowledge.prompts import Prompts
from arbiter.knowledge.rules import Rules, knowledge_digest
from arbiter.knowledge.tasks import Tasks, Weights
from arbiter.ledger import Ledger
from arbiter.metering.battery import on_battery as reads_battery
from arbiter.metering.estimate import Watts
from arbiter.metering.levels import SystemMemory
from arbiter.metering.meter import Meter
from arbiter.metering.process import ProcessReader
from arbiter.pool.accelerators import accelerators_of
from arbiter.pool.footprints import Machine
from arbiter.pool.keeping import Keeping
from arbiter.pool.memory import MemoryReader
from arbiter.pool.pool import Pool, loadable
from arbiter.pool.presence import Presence
from arbiter.pool.probing import Probing
from arbiter.pool.reloading import Reloading
from arbiter.pool.watch import Watch
from arbiter.registry.agreement import BESIDE_LEDGER
from arbiter.registry.discovery import Discovery
from arbiter.registry.registry import Registry
from arbiter.selection.bandit import Table
from arbiter.selection.contender import Situation
from arbiter.selection.selector import Selector
from arbiter.storage.database import Database
from arbiter.storage.sqlite import open_sqlite
from arbiter.swap.admission import Admission, fits
from arbiter.swap.adoption import Adoption
from arbiter.swap.calibrating import Around, Calibrating
from arbiter.swap.controller import Controller
from arbiter.swap.crashing import Crash
from arbiter.swap.examining import Examining
from arbiter.swap.found_files import FoundFiles
from arbiter.swap.harvest import Harvesting
from arbiter.swap.hooks import Hooks
from arbiter.swap.intake import Intake
from arbiter.swap.lease import Leases
from arbiter.swap.pulling import Pulling
from arbiter.swap.scouting import Scout
from arbiter.swap.shadowing import Copies, Shadowing
from arbiter.swap.validation import Validator

if TYPE_CHECKING:
    # needs the extra otel
    from opentelemetry.sdk.trace import SpanProcessor

    from arbiter.tracing.request import Traces

LOG = logging.getLogger(__name__)

SHARE_OF_FREE_MEMORY = 0.7
"""Memory for models when nobody set it: this much of what was free when the house opened."""


@contextmanager
def _locked(data_dir: Path) -> Iterator[None]:
    """Hold the data directory. Raises `HouseLocked` when another house does."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = (data_dir / "lock").open("a", encoding="utf-8")
    except OSError as error:
        raise StorageError(
            f"The data directory {data_dir} cannot be used: {error.strerror}.",
            hint="Name another with --data-dir.",
        ) from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise HouseLocked(
                f"Another Arbiter uses {data_dir}.",
                hint="Speak to that one, or name another --data-dir.",
            ) from error
        yield


def _budget(settings: Settings, memory: MemoryReader) -> int | None:
    if settings.pool.memory_mb is not None:
        return int(settings.pool.memory_mb * 1_000_000)
    level = memory.levels().get(HOST)
    return None if level is None else int(level.available * SHARE_OF_FREE_MEMORY)


def _watts(settings: MeteringSettings) -> Watts | None:
    if settings.cpu_idle_w is None or settings.cpu_full_w is None:
        return None
    threads = psutil.cpu_count() or usable_cores()
    return Watts(idle=settings.cpu_idle_w, full=settings.cpu_full_w, threads=threads)


@asynccontextmanager
async def open_house(  # noqa: PLR0913  # each is something that a test may put in
    settings: Settings,
    *,
    clock: Clock | None = None,
    dice: Random | None = None,
    engines: Callable[[EngineContext], Sequence[Engine]] = installed_engines,
    on_battery: Callable[[], bool | None] = reads_battery,
    hardware: Hardware | None = None,
    memory: MemoryReader | None = None,
    crash: Crash | None = None,
    reread: Callable[[], Settings] | None = None,
    spans: SpanProcessor | None = None,
) -> AsyncIterator[House]:
    """Build the house on a data directory, and close it again in reverse order.

    Closing takes no new requests, lets those that run go on until ``door.drain_s``, unloads every
    model and commits what is queued. hardware: what is read of the machine; by default all that
    can be. memory: who says how full its memories are. crash: called at the named places of a
    rollout, for tests that kill the house there. reread: where the settings come from when they
    are read again; by default they stay as they are. spans: what takes the spans of traces in place
    of the endpoint of the settings. Raises `HouseLocked`, `StorageError`,
    `ConfigError`.
    """
    clock = clock or SystemClock()
    # seeded once by the system: an id a request is too often to ask it each time, and no secret
    dice = dice or Random(SystemRandom().getrandbits(256))  # noqa: S311  # ids and salts, no secret
    async with AsyncExitStack() as stack:
        stack.enter_context(_locked(settings.data_dir))
        base = await open_sqlite(settings.data_dir / "arbiter.db")
        stack.push_async_callback(base.close)
        run_dir = settings.data_dir / "run"
        run_dir.mkdir(mode=0o700, exist_ok=True)
        if hardware is None:
            hardware = await asyncio.to_thread(find_hardware, domain=settings.metering.rapl)
        memory = memory or SystemMemory(tuple(hardware.accelerators.values()))
        await memory.refresh()
        announcer = Announcer()
        traces = await stack.enter_async_context(
            _traced(settings.telemetry, spans, announcer, clock)
        )
        house = await _build(
            settings,
            base,
            engines=engines(
                EngineContext(
                    clock=clock,
                    run_dir=run_dir,
                    keys=settings.discovery.keys,
                    alike=settings.discovery.firsts(),
                    waits=Waits(
                        first_s=settings.pool.first_s,
                        next_s=settings.pool.next_s,
                        whole_s=settings.pool.whole_s,
                    ),
                )
            ),
            clock=clock,
            dice=dice,
            on_battery=on_battery,
            crash=crash,
            given=_Given(
                hardware=hardware,
                memory=memory,
                reread=reread or (lambda: settings),
                announcer=announcer,
                traces=traces,
            ),
        )
        stack.push_async_callback(_close, house)
        yield house


@asynccontextmanager
async def _traced(
    settings: TelemetrySettings, spans: SpanProcessor | None, announcer: Announcer, clock: Clock
) -> AsyncIterator[Traces | None]:
    """Traces where an endpoint is set, or spans are taken; else None, and nothing is imported.

    An endpoint may be set for every program of a person: what is missing to write to it is told,
    and keeps nobody from working.
    """
    if settings.disabled or (settings.traces_url is None and spans is None):
        yield None
        return
    try:
        from arbiter.tracing.opening import opened  # noqa: PLC0415  # an extra, and half a second
    except ImportError:
        from arbiter.tracing.extra import without_extra  # noqa: PLC0415  # only here

        LOG.warning("%s", without_extra(settings.traces_url))
        yield None
        return
    async with opened(settings, processor=spans, announcer=announcer, clock=clock) as traces:
        yield traces


async def _close(house: House) -> None:
    # the controller first: a validation that ran into a closed door would be taken for a verdict
    await house.controller.close()
    await house.shadowing.close()
    await house.calibrating.close()
    await house.keeping.close()
    await house.probing.close()
    await house.watch.close()
    await house.prompts.close()
    await house.scout.close()
    house.dispatch.close()
    try:
        async with asyncio.timeout(house.settings.door.drain_s + 10):
            await house.pool.close()
    except TimeoutError:
        await house.pool.abandon()
    await house.meter.close()
    if house.guesser is not None:
        house.guesser.save()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Given:
    """What whoever opens a house may hand in: who reads the machine, where settings come from."""

    hardware: Hardware
    memory: MemoryReader
    reread: Callable[[], Settings]
    announcer: Announcer
    traces: Traces | None


async def _build(
    settings: Settings,
    base: Database,
    *,
    engines: Sequence[Engine],
    clock: Clock,
    dice: Random,
    on_battery: Callable[[], bool | None],
    crash: Crash | None,
    given: _Given,
) -> House:
    announcer, presence = given.announcer, Presence(clock)
    ledger = Ledger(base, clock, beside=BESIDE_LEDGER)
    registry = Registry(base, clock, ledger)
    keyring = Keyring(
        base,
        clock,
        dice,
        fixed=[
            Key(id=f"key-{number}", digest=hashed(secret), access=Access.ADMIN)
            for number, secret in enumerate(settings.door.keys, start=1)
        ],
    )
    await keyring.load()
    tasks, rules = Tasks(base, clock), Rules(base, clock)
    # of a house with one key, whoever has it runs the house: a bound would protect nobody
    owners = OWNERS if len(settings.door.keys) > 1 else OWNERS | {"key-1"}
    profiles = Profiles(
        base, tasks.grading, owners=owners, slow_share=settings.selection.limit_share
    )
    table = Table(weigh=profiles.weights)
    learning = Learning(
        database=base, clock=clock, learner=table, profiles=profiles, announcer=announcer
    )
    outcomes = Outcomes(base, clock, learning)
    prompts = Prompts(base, clock, settings.privacy)
    costs = Costs(base, outcomes.tally)
    meter = Meter(
        given.hardware, clock=clock, reader=ProcessReader(), watts=_watts(settings.metering)
    )
    pool = Pool(
        engines=engines,
        settings=settings.pool,
        budget_bytes=_budget(settings, given.memory),
        database=base,
        clock=clock,
        announcer=announcer,
        machine=Machine(name=platform.node(), meter=meter, memory=given.memory),
        registry=registry,
        dice=dice,
    )
    for part in (ledger, registry, tasks, rules, profiles, learning, pool, costs):
        await part.load()
    controller = Controller(
        registry=registry,
        tasks=tasks,
        pool=pool,
        database=base,
        clock=clock,
        dice=dice,
        announcer=announcer,
        knowledge=lambda: knowledge_digest(tasks.all(), rules.all()),
        leases=Leases(
            holder=f"{os.getpid()}-{SystemRandom().getrandbits(64):016x}",
            # the data directory is locked: whoever drove a rollout of it before is gone
            is_sole=True,
            database=base,
            clock=clock,
        ),
        crash=crash,
    )
    accelerators = await asyncio.to_thread(accelerators_of, given.hardware)
    weights, grader, copies = settings.selection, TaskGrader(), Copies()
    guesser: Guesser | None = None
    if settings.selection.guess_tasks:
        guesser = Guesser(base, clock, least=settings.selection.guess_confidence)
        await guesser.load(tasks.all())
    dispatch = Dispatch(
        Behind(
            registry=registry,
            tasks=tasks,
            rules=rules,
            profiles=profiles,
            outcomes=outcomes,
            costs=costs,
            prompts=prompts,
            guesser=guesser,
            pool=pool,
            presence=presence,
            controller=controller,
            copies=copies,
            learning=learning,
            selector=Selector(table if settings.selection.strategy == "learned" else None),
            situation=Situation(
                budget_bytes=pool.budget_bytes,
                weights=Weights(
                    quality=weights.quality,
                    latency=weights.latency,
                    memory=weights.memory,
                    reliability=weights.reliability,
                    energy=weights.energy,
                ),
                accelerator_bytes=accelerators.memory_bytes,
            ),
            accelerators=accelerators,
            grader=grader,
            clock=clock,
            dice=dice,
            traces=given.traces,
        )
    )
    validator = Validator(
        answer=dispatch,
        warm=lambda version: pool.warm(loadable(registry.version(version))),
        database=base,
        learning=learning,
        clock=clock,
        capabilities=lambda version: registry.version(version).artifact.capabilities,
        cases_per_task=settings.rollout.calibration_cases,
        presence=presence,
    )
    admission = Admission(
        registry=registry,
        tasks=tasks,
        rules=rules,
        learning=learning,
        validator=validator,
        controller=controller,
        guesser=guesser,
    )
    discovery = Discovery(
        engines=engines,
        settings=settings.discovery,
        clock=clock,
        home=Path.home(),
        environment=os.environ,
        places=registry.places,
        own=own_addresses(settings.door.host, settings.door.port),
    )
    intake = Intake(
        registry=registry,
        controller=controller,
        pool=pool,
        aliases=settings.aliases,
        clock=clock,
        announcer=announcer,
    )
    adoption = Adoption(
        discovery=discovery,
        registry=registry,
        intake=intake,
        pool=pool,
        options=settings.discovery.options,
    )
    scout = Scout(
        discovery=discovery,
        adoption=adoption,
        files=FoundFiles(registry=registry, intake=intake),
        settings=settings.discovery,
        clock=clock,
    )
    grader.prepare(tasks.in_force())
    hooks = Hooks(settings.rollout.hooks, timeout_s=settings.rollout.hook_timeout_s, clock=clock)
    await controller.open(validator, hooks)
    keeping = Keeping(registry=registry, pool=pool, clock=clock, announcer=announcer)
    keeping.open()
    watch = Watch(pool=pool, clock=clock, announcer=announcer, every_s=settings.pool.look_s)
    watch.open()
    probing = Probing(
        pool=pool, presence=presence, clock=clock, announcer=announcer, on_battery=on_battery
    )
    probing.open()
    most_in_idle_time = settings.calibration.most_cases or settings.rollout.calibration_cases
    examining = Examining(
        registry=registry,
        tasks=tasks,
        learning=learning,
        validator=validator,
        database=base,
        clock=clock,
        announcer=announcer,
        most=most_in_idle_time,
    )
    await examining.load()
    calibrating = Calibrating(
        Around(
            registry=registry,
            tasks=tasks,
            pool=pool,
            profiles=profiles,
            validator=validator,
            presence=presence,
            database=base,
            clock=clock,
            announcer=announcer,
        ),
        settings=settings.calibration,
        most=most_in_idle_time,
        examining=examining,
        on_battery=on_battery,
        capabilities=dispatch.capabilities,
    )
    calibrating.open()
    shadowing = Shadowing(
        copies=copies,
        answer=dispatch,
        track=controller.track,
        registry=registry,
        pool=pool,
        presence=presence,
        grader=grader,
        database=base,
        clock=clock,
        announcer=announcer,
        crash=crash,
    )
    shadowing.open()
    await prompts.open()
    meter.open()
    return House(
        settings=settings,
        clock=clock,
        database=base,
        ledger=ledger,
        keyring=keyring,
        registry=registry,
        tasks=tasks,
        rules=rules,
        profiles=profiles,
        learning=learning,
        outcomes=outcomes,
        costs=costs,
        meter=meter,
        on_battery=on_battery,
        prompts=prompts,
        carrier=Carrier(
            database=base,
            ledger=ledger,
            clock=clock,
            dice=dice,
            tasks=tasks,
            rules=rules,
            learning=learning,
            fits=fits,
        ),
        guesser=guesser,
        pool=pool,
        controller=controller,
        keeping=keeping,
        watch=watch,
        probing=probing,
        reloading=Reloading(
            settings,
            reread=given.reread,
            budget=lambda found: _budget(found, given.memory),
            pool=pool,
            announcer=announcer,
            clock=clock,
        ),
        calibrating=calibrating,
        shadowing=shadowing,
        admission=admission,
        intake=intake,
        adoption=adoption,
        harvesting=Harvesting(
            prompts=prompts,
            tasks=tasks,
            admission=admission,
            run_at_most=max(most_in_idle_time, settings.rollout.calibration_cases),
        ),
        scout=scout,
        pulling=Pulling(discovery=discovery, registry=registry, adoption=adoption, clock=clock),
        dispatch=dispatch,
        announcer=announcer,
    )


@asynccontextmanager
async def open_at(data_dir: str | Path | None = None, **overrides: object) -> AsyncIterator[House]:
    """The Python API's way in: ``async with arbiter.open("data") as house``.

    overrides: settings, with two underscores for the dot: ``rollout__soak_s=0``.
    """
    given: Mapping[str, object] = {
        "data_dir": data_dir,
        **{name.replace("__", "."): value for name, value in overrides.items()},
    }
    async with open_house(load_settings(overrides=given)) as house:
        yield house
