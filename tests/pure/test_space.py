"""Memory shared by many: whatever is asked in whatever order, it fits, and all have a turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from hypothesis import given, settings
from hypothesis import strategies as st

from arbiter.clock import ManualClock
from arbiter.config import PoolSettings
from arbiter.cost import HOST, Footprint, Level
from arbiter.engines.base import Availability, LoadSpec, Runner
from arbiter.errors import Busy
from arbiter.hardware.found import Hardware
from arbiter.inference import Chunk, Embedding, Finish, Generation, Vectors
from arbiter.metering.meter import Meter
from arbiter.metering.process import ProcessReader
from arbiter.pool.footprints import Footprints, Machine
from arbiter.pool.instance import Instance, Lease
from arbiter.pool.life import State
from arbiter.pool.loadable import Loadable
from arbiter.pool.model_file import ModelFile
from arbiter.pool.pins import Pins
from arbiter.pool.space import Space, Tenant
from arbiter.refs import ModelName, VersionId
from arbiter.registry.registry import Registry
from arbiter.storage.database import Database

BUDGET = 100
SIZES = {"a": 30, "b": 40, "c": 60, "d": 90, "e": 130}


@dataclass(eq=False)
class Toy:
    """A runner that sees whether it is stopped while somebody holds it."""

    world: World
    cut_while_held: bool = False

    pid = None
    reported: Footprint | None = None

    async def generate(self, request: Generation) -> AsyncGenerator[Chunk, None]:
        raise NotImplementedError(request)
        yield  # type: ignore[unreachable]  # or it would be no generator

    async def embed(self, request: Embedding) -> tuple[Vectors, Finish]:
        raise NotImplementedError(request)

    async def is_healthy(self) -> bool:
        return True

    async def wait_lost(self) -> str:
        await asyncio.Event().wait()
        return ""

    async def unload(self) -> None:
        self.cut_while_held = any(lease.runner is self for lease in self.world.held)


class Plain:
    """A machine without any other bound, no pins, no names."""

    async def refresh(self) -> None:
        """Nothing takes long here."""

    def levels(self) -> Mapping[str, Level]:
        return {}

    def held(self, pid: int) -> Mapping[str, int]:
        raise NotImplementedError(pid)

    def versions(self) -> Mapping[VersionId, None]:
        return {}

    def kept_until(self, version: VersionId) -> None:
        del version

    def names_of(self, version: VersionId) -> tuple[ModelName, ...]:
        del version
        return ()


@dataclass
class World:
    """Five models of which few fit together, and everybody who asks for them."""

    clock: ManualClock = field(default_factory=ManualClock)
    held: list[Lease] = field(default_factory=list)
    asking: list[asyncio.Task[None]] = field(default_factory=list)
    runners: list[Toy] = field(default_factory=list)
    tenants: dict[str, Tenant] = field(default_factory=dict)
    settings: PoolSettings = field(
        default_factory=lambda: PoolSettings(wait_s=100_000.0, queue=1000, slots=2)
    )

    name = "toy"
    formats = frozenset({"toy"})
    features = frozenset[str]()

    def __post_init__(self) -> None:
        plain = Plain()
        meter = Meter(Hardware(), clock=self.clock, reader=ProcessReader())
        machine = Machine(name="here", meter=meter, memory=plain)
        self.space = Space(
            tenants=self.tenants,
            settings=self.settings,
            budget={HOST: BUDGET},
            memory=plain,
            footprints=Footprints(
                database=cast("Database", plain), clock=self.clock, machine=machine
            ),
            pins=cast("Pins", plain),
            registry=cast("Registry", plain),
            clock=self.clock,
        )
        for title, size in SIZES.items():
            version = VersionId(title)
            instance = Instance(
                engine=self,
                spec=LoadSpec(version=version, path=Path(title), context=1, slots=2),
                clock=self.clock,
                meter=meter,
                settings=self.settings,
                on_change=self._changed,
                file=ModelFile(None, self.clock),
            )
            self.tenants[version] = Tenant(
                loadable=Loadable(
                    version=version,
                    format="toy",
                    path=title,
                    context_length=1,
                    estimated_bytes=size,
                ),
                instance=instance,
            )

    def _changed(self, instance: Instance, reason: str) -> None:
        del reason
        if instance.state is State.READY or (instance.is_away and not instance.busy):
            self.tenants[instance.spec.version].has_claim = False
        if instance.is_away:
            self.tenants[instance.spec.version].admitted = False
        self.space.freed.set()

    def availability(self) -> Availability:
        return Availability(available=True, reason="a toy")

    async def load(self, spec: LoadSpec) -> Runner:
        await self.clock.sleep(float(SIZES[spec.version]) / 10)
        self.runners.append(Toy(self))
        return self.runners[-1]

    async def settle(self) -> None:
        for _ in range(60):
            await self.clock.sleep(0)
            self.check()

    def check(self) -> None:
        """Everything that was let in fits, or is alone."""
        sizes = [SIZES[one.version] for one in self.tenants.values() if one.admitted]
        assert sum(sizes) <= BUDGET or len(sizes) == 1

    async def _ask(self, title: str) -> None:
        tenant = self.tenants[VersionId(title)]
        tenant.want(helper=False, claims=True)
        self.held.append(await tenant.instance.take(lambda: self.space.admit(tenant)))

    def ask(self, title: str) -> None:
        self.asking.append(asyncio.create_task(self._ask(title)))

    def end_one(self, number: int) -> None:
        if self.held:
            lease = self.held.pop(number % len(self.held))
            lease.instance.give_back(lease)
            self.space.freed.set()

    def hang_up(self, number: int) -> None:
        if self.asking:
            self.asking[number % len(self.asking)].cancel()

    async def end(self) -> None:
        """Answer everybody who asks, one after the other; nobody may be left over."""
        for _ in range(600):
            await self.settle()
            if all(task.done() for task in self.asking) and not self.held:
                return
            self.end_one(0)
            self.clock.jump(1.0)
        left = [one.version for one in self.tenants.values() if one.instance.busy]
        raise AssertionError(f"these wait for ever: {left}")


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.sampled_from("abcde")),
        st.tuples(st.just("end"), st.integers(0, 9)),
        st.tuples(st.just("hang up"), st.integers(0, 30)),
        st.tuples(st.just("pass"), st.integers(0, 40)),
    ),
    max_size=40,
)


async def _live(steps: Sequence[tuple[str, str | int]]) -> World:
    world = World()
    for what, which in steps:
        match what, which:
            case "ask", str(title):
                world.ask(title)
            case "end", int(number):
                world.end_one(number)
            case "hang up", int(number):
                world.hang_up(number)
            case _, int(number):
                world.clock.jump(float(number))
            case _:
                raise AssertionError(what)
        await world.settle()
    await world.end()
    return world


@settings(deadline=None, max_examples=120)
@given(steps=STEPS)
def test_what_is_loaded_always_fits_nobody_is_cut_and_nobody_waits_for_ever(
    steps: Sequence[tuple[str, str | int]],
) -> None:
    world = asyncio.run(_live(steps))
    assert not any(runner.cut_while_held for runner in world.runners)
    for asked in world.asking:
        assert asked.cancelled() or asked.exception() is None
    assert all(
        one.instance.state in {State.COLD, State.READY, State.DRAINING}
        for one in world.tenants.values()
    )


async def test_with_two_models_that_are_always_in_use_each_has_its_turn() -> None:
    world = World()
    for number in range(400):
        if len(world.asking) < 4 + number:
            world.ask("c" if number % 2 else "d")
        await world.settle()
        world.end_one(0)
        world.clock.jump(1.0)
    loads = {title: world.tenants[VersionId(title)].instance.loads for title in "cd"}
    # a turn is 30 s, and a load 6 or 9: neither has more than its share, and nobody loads all day
    assert 4 <= loads["c"] <= 12
    assert 4 <= loads["d"] <= 12
    for asked in world.asking:
        asked.cancel()
    gone = await asyncio.gather(*world.asking, return_exceptions=True)
    assert not any(isinstance(one, Busy) for one in gone)
    while world.held:
        world.end_one(0)
    for tenant in world.tenants.values():
        await tenant.instance.drain("the end")
