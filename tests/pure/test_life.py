"""The life of an instance: whatever happens, in whatever order, nothing forbidden does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbiter.clock import ManualClock
from arbiter.config import PoolSettings
from arbiter.cost import Footprint
from arbiter.engines.base import Availability, LoadSpec, Runner
from arbiter.errors import Busy, LoadFailed
from arbiter.hardware.found import Hardware
from arbiter.inference import Chunk, Embedding, Finish, Generation, Vectors
from arbiter.metering.meter import Meter
from arbiter.metering.process import ProcessReader
from arbiter.pool.fairness import Who
from arbiter.pool.instance import Instance, Lease
from arbiter.pool.life import TABLE, ImpossibleMove, Move, State, moved
from arbiter.pool.model_file import ModelFile
from arbiter.refs import VersionId


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("move", Move)
def test_every_move_is_in_the_table_or_impossible(state: State, move: Move) -> None:
    if (state, move) in TABLE:
        assert moved(state, move) in State
        return
    with pytest.raises(ImpossibleMove, match=f"{move.value} is no move"):
        moved(state, move)


@given(moves=st.lists(st.sampled_from(Move), max_size=30))
def test_only_a_load_that_ended_well_makes_anything_ready(moves: Sequence[Move]) -> None:
    state = State.COLD
    for move in moves:
        if (state, move) not in TABLE:
            continue
        before, state = state, moved(state, move)
        if state is State.READY:
            assert (before, move) in {
                (State.LOADING, Move.LOADED),
                (State.DRAINING, Move.CALL_OFF),
            }


def test_from_everywhere_there_is_a_way_back_to_cold() -> None:
    reached = {State.COLD}
    for _ in State:
        reached |= {state for (state, _), then in TABLE.items() if then in reached}
    assert reached == set(State)


@dataclass(eq=False)
class Toy:
    """A runner that sees whether it is stopped while somebody holds it."""

    holders: Callable[[Toy], int]
    cut: Callable[[], bool]
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    unloads: int = 0
    cut_while_held: int = 0

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
        await self.gone.wait()
        return "boom"

    async def unload(self) -> None:
        if not self.unloads and self.holders(self) and not self.gone.is_set() and not self.cut():
            self.cut_while_held += 1
        self.unloads += 1


@dataclass
class World:
    """An instance, its engine, and everybody who uses it."""

    slots: int = 2
    clock: ManualClock = field(default_factory=ManualClock)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    room: asyncio.Event = field(default_factory=asyncio.Event)
    fails: int = 0
    loading: int = 0
    most_loading: int = 0
    was_cut: bool = False
    runners: list[Toy] = field(default_factory=list)
    held: list[Lease] = field(default_factory=list)
    asking: list[asyncio.Task[None]] = field(default_factory=list)
    doing: list[asyncio.Task[bool]] = field(default_factory=list)
    states: list[State] = field(default_factory=list)

    name = "toy"
    formats = frozenset({"toy"})
    features = frozenset[str]()

    def __post_init__(self) -> None:
        self.room.set()
        self.instance = Instance(
            engine=self,
            spec=LoadSpec(version=VersionId("v"), path=Path("v"), context=1, slots=self.slots),
            clock=self.clock,
            meter=Meter(Hardware(), clock=self.clock, reader=ProcessReader()),
            settings=PoolSettings(queue=3, wait_s=50.0),
            on_change=lambda instance, _: self.states.append(instance.state),
            file=ModelFile(None, self.clock),
        )

    def availability(self) -> Availability:
        return Availability(available=True, reason="a toy")

    async def load(self, spec: LoadSpec) -> Runner:
        del spec
        self.loading += 1
        self.most_loading = max(self.most_loading, self.loading)
        try:
            await self.gate.wait()
            if self.fails:
                self.fails -= 1
                raise LoadFailed
        finally:
            self.loading -= 1
        self.runners.append(Toy(holders=self._holders, cut=lambda: self.was_cut))
        return self.runners[-1]

    def _holders(self, runner: Toy) -> int:
        return sum(lease.runner is runner for lease in self.held)

    async def admit(self) -> None:
        await self.room.wait()

    async def settle(self) -> None:
        for _ in range(40):
            await self.clock.sleep(0)

    async def _ask(self, caller: str) -> None:
        lease = await self.instance.take(self.admit, who=Who(caller))
        self.held.append(lease)

    def act(self, what: str, number: int) -> None:
        """Do one thing, if it can be done now."""
        getattr(self, what)(number)

    def ask(self, number: int) -> None:
        self.asking.append(asyncio.create_task(self._ask("abc"[number % 3])))

    def hang_up(self, number: int) -> None:
        if self.asking:
            self.asking[number % len(self.asking)].cancel()

    def end_one(self, number: int) -> None:
        if self.held:
            self.instance.give_back(self.held.pop(number % len(self.held)))

    def turn_gate(self, _: int) -> None:
        self.gate.clear() if self.gate.is_set() else self.gate.set()

    def turn_room(self, _: int) -> None:
        self.room.clear() if self.room.is_set() else self.room.set()

    def fail(self, _: int) -> None:
        self.fails += 1

    def die(self, _: int) -> None:
        if self.runners:
            self.runners[-1].gone.set()

    def lose(self, _: int) -> None:
        if self.held:
            self.instance.lost(self.held[0].runner)

    def answer(self, _: int) -> None:
        self.instance.answered()

    def forgive(self, _: int) -> None:
        self.instance.forgive()

    def drain(self, number: int) -> None:
        limit_s = None if number % 2 else 20.0
        self.doing.append(asyncio.create_task(self.instance.drain("test", limit_s=limit_s)))

    def cut(self, _: int) -> None:
        self.was_cut = True
        self.doing.append(asyncio.create_task(self.instance.drain("test", cut=True)))

    def pass_by(self, number: int) -> None:
        self.clock.jump(float(number))

    async def end(self) -> None:
        """Let everything come to its end."""
        self.gate.set()
        self.room.set()
        self.fails = 0
        for _ in range(60):
            while self.held:
                self.instance.give_back(self.held.pop())
            await self.settle()
            self.clock.jump(70.0)
            if all(task.done() for task in self.asking):
                break
        await asyncio.gather(*self.asking, return_exceptions=True)
        while self.held:
            self.instance.give_back(self.held.pop())
        while not await self.instance.drain("the end"):
            pass  # it joined one that was called off
        await asyncio.gather(*self.doing)


ACTS = (
    "ask", "ask", "ask", "hang_up", "end_one", "turn_gate", "turn_room", "fail", "die", "lose",
    "answer", "forgive", "drain", "cut", "pass_by",
)  # fmt: skip
STEPS = st.lists(st.tuples(st.sampled_from(ACTS), st.integers(0, 60)), max_size=40)


async def _live(steps: Sequence[tuple[str, int]]) -> World:
    world = World()
    for what, number in steps:
        world.act(what, number)
        if number % 3:
            await world.settle()
        assert world.instance.leases <= world.slots
        assert world.instance.turns.free >= 0
        assert (world.instance.state is State.READY) <= (world.instance.runner is not None)
    await world.end()
    return world


@settings(deadline=None, max_examples=300)
@given(steps=STEPS)
def test_whatever_happens_nobody_is_cut_but_by_order_and_everybody_is_told(
    steps: Sequence[tuple[str, int]],
) -> None:
    world = asyncio.run(_live(steps))
    instance = world.instance
    assert not any(runner.cut_while_held for runner in world.runners)
    assert all(runner.unloads for runner in world.runners)
    assert world.most_loading <= 1
    assert (instance.state, instance.leases, instance.waiting) == (State.COLD, 0, 0)
    assert instance.turns.free == world.slots
    for asked in world.asking:
        assert asked.cancelled() or isinstance(asked.exception(), Busy | LoadFailed | None)


async def _ready(world: World) -> None:
    world.gate.set()
    world.act("ask", 0)
    await world.settle()
    assert len(world.held) == 1


async def test_a_drain_that_takes_too_long_is_called_off_and_the_instance_serves_on() -> None:
    world = World()
    await _ready(world)
    draining = asyncio.create_task(world.instance.drain("test", limit_s=20.0))
    await world.settle()
    world.act("ask", 1)
    await world.settle()
    assert (world.instance.state, len(world.held)) == (State.DRAINING, 1)
    world.clock.jump(21.0)
    assert not await draining
    await world.settle()
    assert (world.instance.state, len(world.held)) == (State.READY, 2)
    assert world.runners[0].unloads == 0
    await world.end()


async def test_a_person_may_cut_a_drain_that_is_under_way() -> None:
    world = World()
    await _ready(world)
    draining = asyncio.create_task(world.instance.drain("test", limit_s=20.0))
    await world.settle()
    world.was_cut = True
    assert await world.instance.drain("now", cut=True)
    assert await draining
    assert world.runners[0].unloads == 1
    await world.end()


async def test_when_everybody_who_waited_for_memory_hung_up_nothing_is_loaded() -> None:
    world = World()
    world.room.clear()
    world.act("ask", 0)
    world.act("ask", 1)
    await world.settle()
    assert world.instance.state is State.LOADING
    world.act("hang_up", 0)
    await world.settle()
    assert world.instance.state is State.LOADING
    world.act("hang_up", 1)
    await world.settle()
    assert (world.instance.state, world.most_loading) == (State.COLD, 0)
    await world.end()


async def test_who_comes_as_a_load_is_given_up_is_served_by_the_next() -> None:
    world = World()
    world.room.clear()
    world.act("ask", 0)
    await world.settle()
    world.act("hang_up", 0)
    world.act("ask", 1)
    world.room.set()
    world.gate.set()
    await world.settle()
    assert [lease.runner for lease in world.held] == [world.runners[0]]
    await world.end()


async def test_a_wait_for_memory_that_is_too_long_is_nobodys_fault() -> None:
    world = World()
    world.room.clear()
    world.act("ask", 0)
    await world.settle()
    world.clock.jump(51.0)
    await world.settle()
    assert isinstance(world.asking[0].exception(), Busy)
    assert (world.instance.state, world.instance.failures.in_a_row) == (State.COLD, 0)
    await world.end()
