"""The house is opened, and closed in reverse."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random, SystemRandom
from typing import TYPE_CHECKING

from arbiter.app.building import build
from arbiter.app.ground import Ground
from arbiter.app.lock import locked
from arbiter.app.traces import traced
from arbiter.clock import Clock, SystemClock
from arbiter.config import Settings, load_settings
from arbiter.engines.base import Engine, EngineContext, Waits, installed_engines
from arbiter.events import Announcer
from arbiter.hardware.found import Hardware, find_hardware
from arbiter.house import House
from arbiter.metering.battery import on_battery as reads_battery
from arbiter.metering.levels import SystemMemory
from arbiter.pool.memory import MemoryReader
from arbiter.pool.presence import Presence
from arbiter.storage.sqlite import open_sqlite
from arbiter.swap.crashing import Crash

if TYPE_CHECKING:
    # needs the extra otel
    from opentelemetry.sdk.trace import SpanProcessor


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
        stack.enter_context(locked(settings.data_dir))
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
            traced(settings.telemetry, spans, announcer, clock)
        )
        house = await build(
            Ground(
                settings=settings,
                database=base,
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
                hardware=hardware,
                memory=memory,
                on_battery=on_battery,
                announcer=announcer,
                presence=Presence(clock),
                traces=traces,
                reread=reread or (lambda: settings),
                crash=crash,
            )
        )
        stack.push_async_callback(_close, house)
        yield house


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
