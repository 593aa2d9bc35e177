"""Bugs that programs of this kind had, one after the other, and what happens here instead.

Each test names where its bug was told: a program and the number of its issue or pull request.
llama-swap is github.com/mostlygeek/llama-swap, Ollama github.com/ollama/ollama, llama.cpp
github.com/ggml-org/llama.cpp, Lemonade github.com/lemonade-sdk/lemonade, and LM Studio's are in
github.com/lmstudio-ai/lmstudio-bug-tracker.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.standins.bad_servers import (
    Act,
    Dialect,
    stream,
)
from tests.story.bad_backends import RIGHT, ask, beside, both_dialects, saying
from tests.story.houses import MODELS, settings
from tests.story.pooled import ONE_MB, add, asks, settle, state_of, text_of, until, version_of
from tests.story.stage import Stage, name, stage, task

from arbiter.app import open_house
from arbiter.clock import ManualClock
from arbiter.config import Settings
from arbiter.cost import Method
from arbiter.engines.scripted import Die, Hold, Say, Scripted, Step
from arbiter.errors import Busy, StreamCut
from arbiter.gateway import views
from arbiter.gateway.metrics import exposition
from arbiter.inference import Generation
from arbiter.pool.breaker import FAILURES
from arbiter.pool.instance import State
from arbiter.pool.pool import loadable
from arbiter.pool.view import Progress
from arbiter.swap.rollout import Phase


@asynccontextmanager
async def _house(
    folder: Path, engine: Scripted, *titles: str, **overrides: float
) -> AsyncIterator[Stage]:
    more: dict[str, Any] = overrides
    async with asyncio.timeout(60), stage(folder / "data", engine=engine, **more) as play:
        await add(play, *titles)
        yield play


def _yes(*before: Step) -> Scripted:
    return Scripted(reply=lambda _: [*before, Say("yes")])


async def _served_at_last(play: Stage, *asking: asyncio.Task[str]) -> list[str]:
    """What became of requests, with as much time passing as they need."""
    while not all(one.done() for one in asking):
        play.clock.jump(1.0)
        await settle(play)
    return [one.result() for one in asking]


def _slots_are_free(play: Stage) -> bool:
    return all(sight.free == sight.slots for sight in play.house.pool.sights())


@pytest.mark.parametrize("begins", [State.DRAINING, State.COLD])
async def test_who_comes_while_a_model_is_unloaded_is_served_and_no_slot_is_lost(
    tmp_path: Path, begins: State
) -> None:
    """llama-swap 946: a request during an unload by idle time wedged the slot."""
    engine = Scripted(reply=lambda _: [Say("yes")], exit_gate=asyncio.Event())
    async with _house(tmp_path, engine, "one", pool__slots=1) as play:
        assert engine.exit_gate is not None
        await text_of(play, "one")
        unloading = asyncio.create_task(
            play.house.pool.unload(version_of(play, "one"), reason="idle")
        )
        await until(play, lambda: state_of(play, "one") is State.DRAINING)
        if begins is State.COLD:
            engine.exit_gate.set()
            await until(play, lambda: state_of(play, "one") is State.COLD)
        asking = [asks(play, "one", f"{n}") for n in range(4)]
        await settle(play)
        engine.exit_gate.set()
        assert await asyncio.gather(*asking) == ["yes"] * 4
        assert await unloading
        assert (len(engine.loads), _slots_are_free(play)) == (2, True)
        assert not any(runner.generated_after_unload for runner in engine.runners)


@pytest.mark.parametrize("moment", ["before it leaves", "while it leaves", "when it has left"])
async def test_a_request_for_what_is_to_leave_holds_up_nobody_for_ever(
    tmp_path: Path, moment: str
) -> None:
    """Ollama 17408: the model to be evicted was asked again, and loads waited for five hours."""
    gate = asyncio.Event()
    engine = Scripted(reply=lambda _: [Hold(gate), Say("yes")], exit_gate=asyncio.Event())
    async with _house(tmp_path, engine, "one", "two", pool__memory_mb=ONE_MB) as play:
        assert engine.exit_gate is not None
        gate.set()
        await text_of(play, "one")
        again: list[asyncio.Task[str]] = []
        if moment == "before it leaves":
            gate.clear()
            again = [asks(play, "one", "again")]
            await until(play, lambda: any(r.in_flight for r in engine.runners))
        two = asks(play, "two")
        await until(play, lambda: state_of(play, "two") is State.LOADING)
        if moment == "while it leaves":
            await until(play, lambda: state_of(play, "one") is State.DRAINING)
            again = [asks(play, "one", "again")]
            await settle(play)
        engine.exit_gate.set()
        if moment == "when it has left":
            await until(play, lambda: state_of(play, "one") is State.COLD)
            again = [asks(play, "one", "again")]
        gate.set()
        assert await _served_at_last(play, two, *again) == ["yes", "yes"]
        assert not any(runner.unloaded_while_serving for runner in engine.runners)
        assert _slots_are_free(play)


async def test_what_was_loaded_for_a_request_serves_it_before_it_may_leave(tmp_path: Path) -> None:
    """llama.cpp 28698: the next in the queue evicted what had just been loaded for another."""
    engine = Scripted(reply=lambda _: [Say("yes")], load_gate=asyncio.Event())
    async with _house(tmp_path, engine, "one", "two", pool__memory_mb=ONE_MB) as play:
        assert engine.load_gate is not None
        one = asks(play, "one")
        await until(play, lambda: len(engine.loads) == 1)
        two = asks(play, "two")
        await until(
            play, lambda: play.house.pool.space.waits_for(version_of(play, "two")) is not None
        )
        play.clock.jump(60.0)  # even a whole turn
        engine.load_gate.set()
        assert await _served_at_last(play, one, two) == ["yes", "yes"]
        assert [spec.version for spec in engine.loads] == [
            version_of(play, "one"),
            version_of(play, "two"),
        ]


async def test_two_requests_for_two_other_models_at_once_are_both_served_where_one_fits(
    tmp_path: Path,
) -> None:
    """llama.cpp 28443: with room for one model, one of two simultaneous requests never ended."""
    engine = _yes()
    async with _house(tmp_path, engine, "one", "two", "three", pool__memory_mb=ONE_MB) as play:
        await text_of(play, "three")
        both = [asks(play, "one"), asks(play, "two")]
        assert await _served_at_last(play, *both) == ["yes", "yes"]
        assert sum(state is State.READY for state in play.house.pool.states().values()) == 1


async def test_a_model_that_loads_is_nobodys_victim(tmp_path: Path) -> None:
    """llama.cpp 25528: who was still loading was chosen to leave."""
    engine = Scripted(reply=lambda _: [Say("yes")], load_gate=asyncio.Event())
    async with _house(tmp_path, engine, "one", "two", "three", pool__memory_mb=ONE_MB) as play:
        assert engine.load_gate is not None
        asking = [asks(play, "one")]
        await until(play, lambda: len(engine.loads) == 1)
        asking += [asks(play, "two"), asks(play, "three")]
        for _ in range(3):
            play.clock.jump(60.0)
            await settle(play)
        assert (state_of(play, "one"), len(engine.loads)) == (State.LOADING, 1)
        engine.load_gate.set()
        assert await _served_at_last(play, *asking) == ["yes"] * 3
        assert not any(runner.unloaded_while_serving for runner in engine.runners)


async def test_what_a_helper_loaded_is_not_refused_to_people(tmp_path: Path) -> None:
    """Lemonade 2725: the model was there in another pool, and the two put each other out."""
    engine = _yes()
    async with _house(tmp_path, engine, "one", "two", pool__memory_mb=ONE_MB) as play:
        assert await text_of(play, "one", helper=True) == "yes"
        for _ in range(3):
            assert await text_of(play, "one") == "yes"
            assert await text_of(play, "one", helper=True) == "yes"
        assert len(engine.loads) == 1


async def test_many_first_requests_at_once_are_one_load(tmp_path: Path) -> None:
    """LM Studio 1751: the same model was loaded once for each of them."""
    engine = Scripted(reply=lambda _: [Say("yes")], load_gate=asyncio.Event())
    async with _house(tmp_path, engine, "one") as play:
        assert engine.load_gate is not None
        asking = [asks(play, "one", f"{n}") for n in range(50)]
        await until(play, lambda: len(engine.loads) == 1)
        await settle(play)
        engine.load_gate.set()
        assert await asyncio.gather(*asking) == ["yes"] * 50
        assert len(engine.loads) == 1


@pytest.mark.parametrize("waits_for", ["memory", "its file"])
async def test_nothing_is_loaded_for_who_hung_up_in_the_queue(
    tmp_path: Path, waits_for: str
) -> None:
    """llama-swap's ``OnCancel``: clients that went away are taken out of the queue."""
    gate = asyncio.Event()
    engine = _yes(Hold(gate))
    async with _house(tmp_path, engine, "one", "two", pool__memory_mb=ONE_MB) as play:
        one = asks(play, "one")
        await until(play, lambda: any(r.in_flight for r in engine.runners))
        two = asks(play, "two")
        if waits_for == "memory":
            wait = play.house.pool.space.waits_for
            await until(play, lambda: wait(version_of(play, "two")) is not None)
        else:
            await until(play, lambda: state_of(play, "two") is State.LOADING)
        two.cancel()
        await asyncio.gather(two, return_exceptions=True)
        gate.set()
        assert await one == "yes"
        for _ in range(3):
            play.clock.jump(60.0)
            await settle(play)
        assert (len(engine.loads), state_of(play, "one")) == (1, State.READY)


async def test_a_model_that_cannot_generate_is_found_out_though_its_port_is_well(
    tmp_path: Path,
) -> None:
    """Ollama 17408: for hours every check of health was green, and nothing was generated."""
    gate = asyncio.Event()
    gate.set()
    engine = _yes(Hold(gate))
    async with _house(tmp_path, engine, "one", pool__probe_s=300.0) as play:
        await text_of(play, "one")
        for _ in range(400):
            play.clock.jump(1.0)
            await play.house.database.settle()
        assert play.house.pool.ailing() == {}
        gate.clear()
        while not play.house.pool.ailing():
            play.clock.jump(1.0)
            await play.house.database.settle()
        assert await engine.runners[0].is_healthy()
        assert set(play.house.pool.ailing().values()) == {
            "it kept failing: a probe: no whole answer in 60 s"
        }


async def test_a_queue_that_stands_still_is_seen_from_outside(tmp_path: Path) -> None:
    """Ollama 17408: the scheduler stood still, and had no heartbeat of its own."""
    gate = asyncio.Event()
    async with _house(tmp_path, _yes(Hold(gate)), "one", pool__slots=1) as play:
        asking = [asks(play, "one", f"{n}") for n in range(2)]
        await until(play, lambda: [s.waiting for s in play.house.pool.sights()] == [1])
        play.house.watch.look()
        assert play.house.ready() == {"ok": True, "models": 1}
        (instance,) = play.house.pool.instances()
        instance.turns.free += 1  # a fault, planted
        play.house.watch.look()
        play.house.watch.look()
        assert play.house.ready() == {"ok": False, "models": 1}
        gate.set()
        await asyncio.gather(*asking)
        play.house.watch.look()
        assert play.house.ready() == {"ok": True, "models": 1}


async def test_two_quick_changes_of_the_settings_leave_one_process_a_model(tmp_path: Path) -> None:
    """llama-swap 281: each of two quick edits started its own processes."""
    changed: dict[str, object] = {}

    def reread() -> Settings:
        return settings(tmp_path / "data", **changed)

    before = set(psutil.Process().children())
    async with open_house(reread(), reread=reread) as house:
        await house.add(MODELS / "sparrow.gguf", "sparrow")
        await house.ask("hello", model="sparrow")
        for context in (256, 512):
            changed["pool__context"] = context
            await house.reloading.reload()
        asked = await asyncio.gather(*(house.ask("hello", model="sparrow") for _ in range(4)))
        assert all(one.text for one in asked)
        (view,) = house.pool.views()
        models = {one.pid for one in set(psutil.Process().children()) - before}
        assert models == {view.pid}


async def test_when_a_swap_fails_to_load_the_old_model_is_back_and_serves(tmp_path: Path) -> None:
    """In imp 1080, "restore on failure": the new model did not load, and the old was gone."""
    async with stage(tmp_path / "data", pool__memory_mb=ONE_MB) as play:
        await play.house.admission.add_task(task("chat"))
        await play.add("old", {"chat": 1.0})
        await play.alias("primary", "old")
        broken = play.script("new", {"chat": 1.0}, fail_load="no such architecture")
        await play.house.admission.register(broken, name("new"))
        stored = await play.house.swap("primary", "new", soak_s=0.0)
        while stored.rollout.phase is Phase.VALIDATING:
            await play.house.database.settle()
            play.clock.jump(1.0)
            stored = await play.house.controller.find(stored.rollout.id)
        assert stored.rollout.phase is Phase.BLOCKED
        assert await play.ask() == "yes"
        assert play.decided[-1].version == version_of(play, "old")
        assert state_of(play, "old") is State.READY


async def test_a_failure_is_tried_elsewhere_before_the_first_byte_and_never_after_it(
    tmp_path: Path,
) -> None:
    """Of no peer in particular: no answer may be glued to the beginning of another."""
    how: list[Step] = []
    tries: list[int] = []

    def reply(request: Generation) -> Iterable[Step]:
        del request
        tries.append(1)
        return [*(how.pop(0) for _ in list(how)), Say("yes")]

    engine = Scripted(reply=reply)
    async with _house(tmp_path, engine, "one") as play:
        how[:] = [Say("half "), Die()]
        with pytest.raises(StreamCut):
            await text_of(play, "one")
        assert len(tries) == 1
        how[:] = [Die()]
        assert await _served_at_last(play, asks(play, "one")) == ["yes"]
        assert len(tries) == 3


@both_dialects
async def test_of_two_models_the_second_answers_only_if_the_first_had_not_begun(
    tmp_path: Path, dialect: Dialect, clock: ManualClock
) -> None:
    """The same, over the wire and for both kinds of server."""
    async with beside(tmp_path, clock, dialect) as (here, bad, good):
        bad.acts = (saying(500),)
        assert (await ask(here.url, "auto", streamed=False)).ends.text == RIGHT
        asked = len(good.asked)
        bad.acts = (Act(pieces=stream(dialect, dialect.piece("hel"))),)
        heard = await ask(here.url, "auto", streamed=True)
        assert (heard.ends.code, heard.ends.text) == ("stream_cut", "hel")
        assert len(good.asked) == asked


@pytest.mark.parametrize(
    ("status", "opens"), [(401, False), (403, False), (429, False), (500, True), (502, True)]
)
@both_dialects
async def test_what_is_said_of_a_key_or_a_quota_opens_no_breaker_and_failures_do(
    tmp_path: Path, dialect: Dialect, status: int, opens: bool, clock: ManualClock
) -> None:
    """Olla counts errors of transport alone; here a status of 5xx counts too, 401 and 429 never."""
    async with beside(tmp_path, clock, dialect) as (here, bad, _):
        bad.acts = (saying(status),)
        for _ in range(2 * FAILURES):
            await ask(here.url, "a-bad", streamed=False)
        assert bool(here.house.pool.ailing()) is opens


@both_dialects
async def test_streams_that_die_open_the_breaker(
    tmp_path: Path, dialect: Dialect, clock: ManualClock
) -> None:
    """As before: to be there and to cut every answer is no health."""
    async with beside(tmp_path, clock, dialect) as (here, bad, _):
        bad.acts = (Act(pieces=stream(dialect, dialect.piece("hel"))),)
        for _ in range(FAILURES):
            await ask(here.url, "a-bad", streamed=True)
        assert set(here.house.pool.ailing()) == {here.version("a-bad")}


async def test_the_bound_of_the_queue_holds_for_a_model_that_is_loaded(tmp_path: Path) -> None:
    """Ollama 7758: the limit was kept only for models that had yet to be loaded."""
    gate = asyncio.Event()
    engine = _yes(Hold(gate))
    async with _house(tmp_path, engine, "one", pool__slots=1, pool__queue=2) as play:
        gate.set()
        await text_of(play, "one")
        gate.clear()
        asking = [asks(play, "one", f"{n}") for n in range(3)]
        await until(play, lambda: [s.waiting for s in play.house.pool.sights()] == [2])
        with pytest.raises(Busy) as refused:
            await text_of(play, "one", "one too many")
        assert refused.value.retry_after_s is not None
        gate.set()
        assert await asyncio.gather(*asking) == ["yes"] * 3


async def test_what_nobody_measured_is_null_and_neither_zero_nor_a_guess(tmp_path: Path) -> None:
    """llama-swap shows null for hardware it cannot read, LocalAI no time left that it guesses."""
    engine = Scripted(reply=lambda _: [Say("yes")], load_gate=asyncio.Event())
    async with _house(tmp_path, engine, "one") as play:
        assert engine.load_gate is not None
        asking = asks(play, "one")
        await until(play, lambda: len(engine.loads) == 1)
        (view,) = play.house.pool.views()
        shown = views.instance_view(view, play.house.registry)
        unknown = ("pid", "measured_bytes", "load_s", "last_error", "ailing")
        assert {field: shown[field] for field in unknown} == dict.fromkeys(unknown)
        progress = play.house.pool.progress(version_of(play, "one"))
        assert isinstance(progress, Progress)
        assert (progress.expected_load_s, progress.sentence) == (None, "loading for 0 s")
        page = exposition(play.house.watched()).decode()
        assert 'kind="measured"' not in page
        engine.load_gate.set()
        await asking
        answered = await play.house.ask("hello", model="one")
        receipt = await play.house.receipt(answered.reply.decided.decision)
        figures = [receipt.cpu_ms, receipt.energy_mwh]
        assert [(one.value, one.method) for one in figures] == [(None, Method.UNKNOWN)] * 2
        loaded = loadable(play.house.registry.resolve(name("one")))
        assert play.house.pool.predicted_bytes(loaded)[1] is False
