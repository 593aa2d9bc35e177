"""What the pool adds: to a request whose model is loaded, and to a load over the engine's own."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from bench.figures import Figure, median, quantile
from bench.programs import SPARROW
from tests.story.houses import settings

from arbiter.app import open_house
from arbiter.clock import SystemClock
from arbiter.engines.base import EngineContext
from arbiter.engines.llama_cpp import LlamaCppEngine
from arbiter.engines.scripted import Say, Scripted
from arbiter.house import House
from arbiter.inference import Chat, Message
from arbiter.pool.fairness import Who
from arbiter.pool.loadable import Loadable, loadable
from arbiter.pool.siblings import ANYWHERE, Sought
from arbiter.refs import parse_name

AREA = "pool"
NAME = parse_name("bench")
_SCRIPT = '{"arbiter_script": 1, "name": "bench", "capabilities": ["chat"], "default": "yes"}'


async def measure(*, takes: int, loads: int, real: bool) -> list[Figure]:
    """Taking and giving back a warm instance; loading through the pool and around it."""
    with tempfile.TemporaryDirectory(prefix="arbiter-bench-") as folder:
        found = [*await _warm(Path(folder), takes), await _of_two(Path(folder), takes)]
        return [*found, *await _loading(Path(folder), loads)] if real else found


async def _version(house: House, file: Path) -> Loadable:
    return loadable(await house.admission.register(file, NAME))


async def _warm(folder: Path, takes: int) -> list[Figure]:
    script = folder / "bench.json"
    script.write_text(_SCRIPT, encoding="utf-8")
    engine = Scripted(reply=lambda _: [Say("yes")])
    async with open_house(settings(folder / "warm"), engines=lambda _: (engine,)) as house:
        version = await _version(house, script)
        await house.pool.warm(version)
        took = [await _once(house, version, number) for number in range(takes)]
    how = f"{takes} times take and give_back of a loaded scripted model, 50 callers in turn"
    return [
        Figure(area=AREA, name="warm acquire p50", value=median(took) * 1e3, unit="ms", method=how),
        Figure(area=AREA, name="warm acquire p95", value=quantile(took, 0.95) * 1e3, unit="ms",
               target=0.2, method=f"{how}; the look at the file once a second is among them"),
    ]  # fmt: skip


async def _of_two(folder: Path, takes: int) -> Figure:
    """What the choice between two instances adds: a prompt's beginning is looked up and noted."""
    script = folder / "bench.json"
    engine = Scripted(reply=lambda _: [Say("yes")])
    changed = settings(folder / "two", pool__instances={NAME: 2})
    turns = tuple(Message(role="user", content="x" * 400) for _ in range(10))
    async with open_house(changed, engines=lambda _: (engine,)) as house:
        version = await _version(house, script)
        await house.pool.warm(version, count=2)
        sought = Sought(Chat(messages=turns))
        took = [await _once(house, version, number, sought) for number in range(takes)]
    return Figure(
        area=AREA, name="warm acquire of two instances p95", value=quantile(took, 0.95) * 1e3,
        unit="ms", target=0.2, method=f"{takes} times, a chat of 10 turns and 4,000 letters",
    )  # fmt: skip


async def _once(house: House, version: Loadable, number: int, sought: Sought = ANYWHERE) -> float:
    begun = time.perf_counter()
    lease = await house.pool.take(
        version, who=Who(f"key-{number % 50}", str(number)), sought=sought
    )
    house.pool.give_back(lease)
    return time.perf_counter() - begun


async def _loading(folder: Path, loads: int) -> list[Figure]:
    """What the pool takes of a load, beside the engine; and loads around the pool, in turn."""
    run_dir = folder / "alone"
    engine = LlamaCppEngine(EngineContext(clock=SystemClock(), run_dir=run_dir))
    alone: list[float] = []
    pooled: list[float] = []
    added: list[float] = []
    async with open_house(settings(folder / "cold", pool__context=256)) as house:
        version = await _version(house, SPARROW)
        await house.pool.warm(version)  # the file cache is warm from here on
        (instance,) = house.pool.instances()
        await house.pool.unload(version.version, reason="bench")

        async def own() -> None:
            begun = time.perf_counter()
            runner = await engine.load(instance.spec)
            alone.append(time.perf_counter() - begun)
            await runner.unload()

        async def through() -> None:
            begun = time.perf_counter()
            await house.pool.warm(version)
            took = time.perf_counter() - begun
            pooled.append(took)
            added.append(took / (instance.load_s or took) - 1)
            await house.pool.unload(version.version, reason="bench")

        for number in range(loads):
            # whoever comes second finds the machine warmer, so they take turns at that too
            for one in (own, through) if number % 2 == 0 else (through, own):
                await one()
    # pair by pair: what else runs on the machine changes from minute to minute
    apart = [through_s / own_s - 1 for through_s, own_s in zip(pooled, alone, strict=True)]
    how = f"{SPARROW.name}, {loads} loads, {median(alone):.2f} s by the engine alone"
    return [
        Figure(
            area=AREA, name="a load through the pool, over the engine's own", unit="%", target=5.0,
            value=median(added) * 100,
            method=f"{how}; of each load all of it over what its engine took, the check of the "
            "file and the plan for memory included",
        ),
        Figure(
            area=AREA, name="the same, against other loads around the pool", unit="%",
            value=median(apart) * 100,
            method=f"{how}; as many of each in turn, median of the pairs, half of them between "
            f"{quantile(apart, 0.25):+.0%} and {quantile(apart, 0.75):+.0%}",
        ),
    ]  # fmt: skip
