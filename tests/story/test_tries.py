"""A request that was tried more than once: its receipt has every try, and nobody's work is lost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from pathlib import Path

import aiohttp
import pytest
from tests.story.houses import MODELS, settings
from tests.story.stage import Stage, name, stage, task
from tests.story.test_costs import counted, settled

from arbiter.app import open_house
from arbiter.cost import JOULES_IN_A_MWH, Footprint
from arbiter.engines.base import Availability, Engine, EngineContext, LoadSpec, Runner
from arbiter.engines.llama_cpp import LlamaCppEngine
from arbiter.engines.scripted import Die, Hold, Say, Scripted, Step
from arbiter.errors import EngineError
from arbiter.gateway.control_costs import receipt_view
from arbiter.hardware.found import Hardware
from arbiter.inference import Chunk, Embedding, Finish, Generation, Sampling, Vectors
from arbiter.knowledge.cost_sums import By, totals
from arbiter.knowledge.receipt import Receipt
from arbiter.knowledge.rules import Rule
from arbiter.knowledge.tries import NO_SLOT
from arbiter.refs import GENERAL, parse_task


async def receipt_of(play: Stage) -> Receipt:
    """Of what was asked last."""
    return await play.house.receipt(play.decided[-1].decision)


def ended(found: Receipt) -> list[str | None]:
    """How each try ended."""
    return [one.error for one in found.attempts]


async def test_an_instance_that_died_is_a_try_on_the_receipt(tmp_path: Path) -> None:
    deaths = iter([True, True, False])

    def reply(request: Generation) -> Iterable[Step]:
        del request
        return [Die()] if next(deaths) else [Say("yes")]

    async with stage(tmp_path / "data", engine=Scripted(reply=reply)) as play:
        await play.house.admission.register(play.script("slow", {}), name("slow"))
        asking = asyncio.create_task(play.ask(GENERAL, model="slow", expected=None))
        while not asking.done():
            await play.house.database.settle()
            play.clock.jump(5.0)
        await asking
        found = await receipt_of(play)
    assert ended(found) == ["instance_lost", "instance_lost", None]
    assert found.status == "success"


async def test_a_version_that_could_not_load_is_a_try_that_used_nothing(tmp_path: Path) -> None:
    async with stage(tmp_path / "data") as play:
        await play.add("owl", {})
        await play.house.admission.register(play.script("wren", {}, fail_load="gone"), name("wren"))
        await play.house.rules.add(Rule(task=GENERAL, prefer=name("wren"), why="taste"))
        await play.ask(GENERAL, model="auto", expected=None)
        found = await receipt_of(play)
    assert ended(found) == ["load_failed", None]
    assert found.attempts[0].cpu_ms.note == NO_SLOT
    assert found.attempts[0].version != found.attempts[1].version == found.version


async def test_a_hang_up_before_the_first_piece_leaves_what_it_used(tmp_path: Path) -> None:
    gate = asyncio.Event()
    engine = Scripted(reply=lambda _: [Hold(gate), Say("one")])
    async with stage(tmp_path / "data", engine=engine) as play:
        await play.house.admission.register(play.script("slow", {}), name("slow"))
        asking = asyncio.create_task(play.ask(GENERAL, model="slow", expected=None))
        while not engine.runners or not engine.runners[0].in_flight:
            await play.house.database.settle()
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await play.house.database.settle()
        ((decision, *_),) = await play.house.database.read("list_costs", ("", 9))
        found = await play.house.receipt(str(decision))
    assert ended(found) == ["cancelled"]
    assert found.status == "cancelled"


class _InVain:
    """A real runner that works for its first answer, and then does not give it."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._fails = True

    @property
    def pid(self) -> int | None:
        """Of the real one."""
        return self._runner.pid

    @property
    def reported(self) -> Footprint | None:
        """As the real one."""
        return self._runner.reported

    async def generate(self, request: Generation) -> AsyncGenerator[Chunk, None]:
        """Everything is done; the first time nothing of it is given."""
        fails, self._fails = self._fails, False
        async with aclosing(self._runner.generate(request)) as chunks:
            async for chunk in chunks:
                if not fails:
                    yield chunk
        if fails:
            raise EngineError("It worked in vain.")

    async def embed(self, request: Embedding) -> tuple[Vectors, Finish]:
        """As the real one."""
        return await self._runner.embed(request)

    async def is_healthy(self) -> bool:
        """As the real one."""
        return await self._runner.is_healthy()

    async def wait_lost(self) -> str:
        """As the real one."""
        return await self._runner.wait_lost()

    async def unload(self) -> None:
        """As the real one."""
        await self._runner.unload()


class _Engine:
    """llama.cpp, one of whose models fails at first."""

    name, formats = LlamaCppEngine.name, LlamaCppEngine.formats
    features = LlamaCppEngine.features

    def __init__(self, context: EngineContext) -> None:
        self._real = LlamaCppEngine(context)

    def availability(self) -> Availability:
        """Of the real one."""
        return self._real.availability()

    async def load(self, spec: LoadSpec) -> Runner:
        """The real thing, and of sparrow the one that fails."""
        runner = await self._real.load(spec)
        return _InVain(runner) if "sparrow" in str(spec.path) else runner


def engines(context: EngineContext) -> Sequence[Engine]:
    """The one engine."""
    return (_Engine(context),)


async def test_what_was_used_in_vain_is_in_the_receipt_the_sums_and_the_counters(
    tmp_path: Path,
) -> None:
    async with open_house(
        settings(tmp_path / "data", calibration__enabled=False), hardware=counted(), engines=engines
    ) as house:
        await house.add(MODELS / "sparrow.gguf", "sparrow")
        await house.add(MODELS / "owl.gguf", "owl")
        await house.rules.add(Rule(task=GENERAL, prefer=name("sparrow"), why="taste"))
        answered = await house.ask(
            "Reverse: lantern", model="auto", sampling=Sampling(max_tokens=12)
        )
        found = await settled(house, answered.reply.decided.decision)
        attributed = sum(one.attributed for one in house.meter.sums().values())
        spent = await house.costs.spent()
        by_model = {one.key: one for one in totals(spent, By.MODEL)}
        (by_task,) = totals(spent, By.TASK)
    first, second = found.attempts
    assert (first.error, second.error) == ("engine_error", None)
    assert first.place is not None
    assert first.place.startswith("process ")
    assert first.cpu_ms.value
    assert second.cpu_ms.value
    assert found.cpu_ms.value == pytest.approx(first.cpu_ms.value + second.cpu_ms.value)
    known = [one.energy_mwh.value for one in found.attempts if one.energy_mwh.value is not None]
    assert found.cpu_ms.value is not None
    assert found.energy_mwh.value == pytest.approx(sum(known))
    # conservation: nothing that a counter gave to a request is on nobody's receipt
    assert sum(known) == pytest.approx(attributed / JOULES_IN_A_MWH, rel=0.01)
    assert (by_task.requests, by_task.tries, by_task.failed) == (1, 1, 0)
    assert by_task.cpu_s == pytest.approx(found.cpu_ms.value / 1e3)
    assert by_model[first.version].requests == 0
    assert by_model[first.version].cpu_s == pytest.approx(first.cpu_ms.value / 1e3)


async def test_tries_outlive_the_house(tmp_path: Path) -> None:
    async with open_house(
        settings(tmp_path / "data", calibration__enabled=False), hardware=counted(), engines=engines
    ) as house:
        await house.add(MODELS / "sparrow.gguf", "sparrow")
        with pytest.raises(EngineError) as failed:
            await house.ask("hi", model="sparrow", sampling=Sampling(max_tokens=3))
        decision = failed.value.decision
        assert decision is not None
        before = await settled(house, decision)
    async with open_house(
        settings(tmp_path / "data", calibration__enabled=False), hardware=Hardware()
    ) as house:
        after = await house.receipt(decision)
    assert ended(before) == ["engine_error"]
    hidden, shown = (receipt_view(before, to_admin=is_admin) for is_admin in (False, True))
    assert "process " in json.dumps(shown)
    assert "process " not in json.dumps(hidden)
    assert after.attempts == before.attempts
    assert after.cpu_ms == before.cpu_ms
    assert before.cpu_ms.value


async def test_what_tries_in_vain_took_is_forgotten_with_the_rest(tmp_path: Path) -> None:
    async with open_house(
        settings(tmp_path / "data", calibration__enabled=False), hardware=counted(), engines=engines
    ) as house:
        await house.add(MODELS / "sparrow.gguf", "sparrow")
        with pytest.raises(EngineError) as failed:
            await house.ask("hi", model="sparrow", sampling=Sampling(max_tokens=3))
        assert failed.value.decision is not None
        await settled(house, failed.value.decision)
        await house.database.settle()
        assert await house.database.read("sum_energy")
        await house.carrier.forget(who="ada")
        assert not await house.database.read("sum_energy")


@pytest.mark.parametrize("strategy", ["static", "learned"])
async def test_a_task_that_is_removed_while_it_is_answered_breaks_nothing(
    tmp_path: Path, strategy: str
) -> None:
    gate = asyncio.Event()
    engine = Scripted(reply=lambda _: [Say("yes"), Hold(gate), Say("!")])
    async with stage(tmp_path / "data", engine=engine, selection__strategy=strategy) as play:
        await play.house.admission.register(play.script("owl", {}), name("owl"))
        await play.house.admission.add_task(task("chat", cases=0))
        asking = asyncio.create_task(play.ask("chat", model="auto", expected="yes"))
        while not engine.runners or not engine.runners[0].in_flight:
            await play.house.database.settle()
        await play.house.admission.remove_task(parse_task("chat"))
        gate.set()
        assert await asking == "yes!"


async def test_the_short_receipt_in_the_header_tells_how_often_it_was_tried(tmp_path: Path) -> None:
    deaths = iter([True, False])

    def reply(request: Generation) -> Iterable[Step]:
        del request
        return [Die()] if next(deaths) else [Say("yes")]

    async with stage(tmp_path / "data", engine=Scripted(reply=reply)) as play:
        await play.house.admission.register(play.script("slow", {}), name("slow"))
        body = {"model": "slow", "messages": [{"role": "user", "content": "hi"}]}
        async with (
            play.house.door() as address,
            aiohttp.ClientSession(address.url) as session,
            session.post("/v1/chat/completions", json=body) as got,
        ):
            assert got.status == 200
            said = got.headers["x-arbiter-receipt"].split()
    assert "attempts=2" in said
    assert not any(word.startswith("cpu_ms") for word in said)  # nobody could read it
