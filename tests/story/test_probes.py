"""Instances in memory are probed when nobody uses them, through the way that requests go."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.standins.bad_servers import OPENAI, Act, answering, bad_server, reply
from tests.standins.ollamas import ollama
from tests.story.bad_backends import RIGHT, ask, street
from tests.story.houses import MODELS, settings
from tests.story.pooled import until
from tests.story.stage import Stage, name, stage

from arbiter.app import open_house
from arbiter.clock import ManualClock
from arbiter.engines.scripted import Die, Hold, Say, Scripted, Step
from arbiter.inference import Chat, Generation
from arbiter.knowledge.rules import Rule
from arbiter.pool.breaker import FAILURES, PAUSES_S, Sign
from arbiter.pool.instance import State
from arbiter.pool.pool import loadable
from arbiter.pool.probe import DOUBT_S
from arbiter.pool.probing import GRACE_S
from arbiter.pool.view import InstanceView
from arbiter.refs import GENERAL, parse_name

EVERY_S = 300.0


class Model:
    """A model that says what a story wants, and knows a probe when it sees one."""

    def __init__(self) -> None:
        self.says: list[Step] = [Say("hello there")]
        self.probed: list[Generation] = []
        self.asked = 0

    def reply(self, request: Generation) -> Iterable[Step]:
        assert isinstance(request.work, Chat)
        if request.work.messages[0].content == "Say hello.":
            self.probed.append(request)
        else:
            self.asked += 1
        return self.says


@asynccontextmanager
async def _house(folder: Path, model: Model, **overrides: Any) -> AsyncIterator[Stage]:
    given = {"pool__probe_s": EVERY_S, **overrides}
    engine = Scripted(reply=model.reply)
    async with asyncio.timeout(60), stage(folder / "data", engine=engine, **given) as play:
        await play.house.admission.register(play.script("one", {"one": 1.0}), name("one"))
        yield play


async def _ask(play: Stage) -> str:
    return (await play.house.ask("what?", model="one")).text


async def _look(play: Stage) -> None:
    await play.house.probing.look()
    await play.house.probing.settle()


def _view(play: Stage) -> InstanceView:
    (view,) = play.house.pool.views()
    return view


async def test_who_was_idle_for_long_is_probed_by_itself_and_that_counts_as_nothing(
    tmp_path: Path,
) -> None:
    model = Model()
    async with _house(tmp_path, model) as play:
        await _ask(play)
        used = play.house.pool.instances()[0].usage.last
        for _ in range(3):
            play.clock.jump(EVERY_S)
            await until(play, lambda: play.house.pool.instances()[0].leases == 0)
            await _look(play)
        assert len(model.probed) == 3
        asked = model.probed[0].sampling
        assert (asked.max_tokens, asked.temperature, asked.seed) == (8, 0.0, 1)
        instance = play.house.pool.instances()[0]
        assert (instance.usage.last, instance.loads) == (used, 1)
        assert _view(play).probes == {"well": 3}
        await play.house.database.settle()
        counted = sum(sum(s.statuses.values()) for _, s in play.house.outcomes.tally)
        assert counted == 1


async def test_what_is_cold_or_in_use_is_not_probed(tmp_path: Path) -> None:
    model, gate = Model(), asyncio.Event()
    model.says = [Hold(gate), Say("hello there")]
    async with _house(tmp_path, model) as play:
        play.clock.jump(EVERY_S)
        await _look(play)
        assert play.engine.loads == []
        asking = asyncio.create_task(_ask(play))
        await until(play, lambda: model.asked == 1)
        play.clock.jump(EVERY_S)
        await _look(play)
        gate.set()
        await asking
        assert model.probed == []
        version = play.house.registry.resolve(name("one")).version
        await play.house.pool.unload(version, reason="test")
        play.clock.jump(EVERY_S)
        await _look(play)
        assert (model.probed, len(play.engine.loads)) == ([], 1)


@pytest.mark.parametrize(
    ("battery", "told", "probes"),
    [(True, False, 0), (None, False, 0), (True, True, 1), (False, False, 1)],
)
async def test_on_a_battery_nothing_is_probed_unless_told(
    tmp_path: Path, battery: bool | None, told: bool, probes: int
) -> None:
    model = Model()
    async with _house(
        tmp_path, model, on_battery=lambda: battery, pool__probe_on_battery=told
    ) as play:
        await _ask(play)
        play.clock.jump(EVERY_S)
        await _look(play)
        assert len(model.probed) == probes


async def test_who_comes_ends_a_probe_that_is_made_for_time_alone(tmp_path: Path) -> None:
    model = Model()
    async with _house(tmp_path, model, pool__slots=1) as play:
        await _ask(play)
        model.says = [Hold(asyncio.Event())]
        play.clock.jump(EVERY_S)
        await play.house.probing.look()
        await until(play, lambda: len(model.probed) == 1)
        model.says = [Say("hello there")]
        assert await _ask(play) == "hello there"
        await play.house.probing.settle()
        assert _view(play).probes == {"nothing": 1}
        assert play.house.pool.ailing() == {}


async def test_failed_probes_open_the_breaker_with_their_reason_and_are_told(
    tmp_path: Path,
) -> None:
    """A dead way to generate behind a port that answers is found before a person finds it."""
    model = Model()
    # the battery is asked in a thread, during which the clock of the test would run on
    async with _house(tmp_path, model, pool__probe_on_battery=True) as play:
        await _ask(play)
        play.clock.jump(EVERY_S)
        await _look(play)  # it is known to answer
        model.says = [Hold(asyncio.Event())]
        with play.house.announcer.listening() as heard:
            began = play.clock.monotonic()
            while not play.house.pool.ailing():
                play.clock.jump(1.0)
                await play.house.database.settle()
            stream, kinds = heard.stream(), Counter[str]()
            while not kinds["breaker.open"]:
                kinds[(await anext(stream)).kind] += 1
        assert kinds["probe.failed"] in {FAILURES - 1, FAILURES}
        # the first one after EVERY_S, then in doubt at once, each as long as it may take
        assert play.clock.monotonic() - began < EVERY_S + FAILURES * (60.0 + DOUBT_S + 5.0)
        why = "a probe: no whole answer in 60 s"
        assert list(play.house.pool.ailing().values()) == [f"it kept failing: {why}"]
        view = _view(play)
        assert (view.probe, view.probes["ill"]) == (why, FAILURES)


async def test_an_answer_that_became_empty_is_a_failure_and_one_that_always_was_is_not(
    tmp_path: Path,
) -> None:
    model = Model()
    model.says = []
    async with _house(tmp_path, model) as play:
        await _ask(play)
        for says in ([], [Say("hello")], []):
            model.says = list[Step](says)
            play.clock.jump(EVERY_S)
            await _look(play)
        assert _view(play).probes == {"nothing": 1, "well": 1, "ill": 1}
        assert _view(play).probe == "a probe: it wrote nothing"


async def test_the_trial_of_a_breaker_is_a_probe_and_no_request(tmp_path: Path) -> None:
    model = Model()
    async with _house(tmp_path, model) as play:
        await play.house.admission.register(play.script("two", {"two": 1.0}), name("two"))
        await play.house.rules.add(Rule(task=GENERAL, prefer=parse_name("one")))
        model.says = []
        for _ in range(FAILURES):
            await _ask(play)
        (ill,) = play.house.pool.ailing()
        await play.house.probing.look()
        model.says = [Say("well again")]
        play.clock.jump(PAUSES_S[0])
        # its pause is over, and for a moment more others are asked: a probe is to come first
        before = (await play.house.ask("what?")).reply.decided
        assert before.version != ill
        await _look(play)
        assert play.house.pool.ailing() == {}
        assert (await play.house.ask("what, now?")).reply.decided.version == ill


async def test_where_no_probe_comes_a_request_is_the_trial(tmp_path: Path) -> None:
    model = Model()
    async with _house(tmp_path, model, on_battery=lambda: True) as play:
        model.says = []
        for _ in range(FAILURES):
            await _ask(play)
        await play.house.probing.look()
        play.clock.jump(PAUSES_S[0] + GRACE_S)
        assert play.house.pool.ailing() == {}


async def test_probes_are_made_from_the_moment_on_in_which_the_settings_say_so(
    tmp_path: Path,
) -> None:
    model = Model()
    async with _house(tmp_path, model, pool__probe_s=0.0, pool__probe_on_battery=True) as play:
        pool = play.house.pool

        async def every(seconds: float) -> None:
            changed = pool.settings.model_copy(update={"probe_s": seconds})
            pool.reconfigure(changed, pool.budget_bytes)
            await play.house.database.settle()

        async def later() -> int:
            play.clock.jump(EVERY_S + 1.0)
            for _ in range(5):
                await play.house.database.settle()
            await play.house.probing.settle()
            return len(model.probed)

        await _ask(play)
        assert await later() == 0
        await every(EVERY_S)  # nobody has asked it for longer than that
        await until(play, lambda: bool(model.probed))
        await play.house.probing.settle()
        assert len(model.probed) == 1
        await every(0.0)
        assert await later() == 1


async def test_a_probe_keeps_nobody_in_memory(tmp_path: Path) -> None:
    model = Model()
    async with _house(tmp_path, model, pool__memory_mb=60.0) as play:
        await play.house.admission.register(play.script("two", {"two": 1.0}), name("two"))
        await _ask(play)
        model.says = [Hold(asyncio.Event())]
        play.clock.jump(EVERY_S)
        await play.house.probing.look()
        await until(play, lambda: len(model.probed) == 1)
        model.says = [Say("yes")]
        assert (await play.house.ask("what?", model="two")).text == "yes"
        states = set(play.house.pool.states().values())
        assert states == {State.COLD, State.READY}
        assert not any(runner.unloaded_while_serving for runner in play.engine.runners)


async def test_what_another_program_runs_is_tried_by_a_probe_only_if_it_has_it_in_memory(
    tmp_path: Path, clock: ManualClock
) -> None:
    bad = Act(pieces=(reply(b'{"error":"no"}', status=500),))
    async with (
        asyncio.timeout(60),
        bad_server(OPENAI, "a", bad) as server,
        street(tmp_path / "data", server, clock=clock, pool__probe_s=EVERY_S) as here,
    ):
        for _ in range(FAILURES):
            await ask(here.url, "a", streamed=False)
        server.acts = (answering(OPENAI, RIGHT, streamed=True),)
        server.asked.clear()
        clock.jump(PAUSES_S[0])
        await here.house.probing.look()
        await here.house.probing.settle()
        assert not server.asked
        assert (await ask(here.url, "a", streamed=True)).ends.text == RIGHT
        clock.jump(10 * EVERY_S)
        server.asked.clear()
        await here.house.probing.look()
        await here.house.probing.settle()
        assert not server.asked


async def test_a_worker_that_stands_still_fails_its_probe_and_passes_when_it_goes_on(
    tmp_path: Path,
) -> None:
    given = settings(
        tmp_path / "data", calibration__enabled=False, pool__probe_s=0.2, pool__probe_limit_s=1.0
    )
    async with (
        asyncio.timeout(60),
        open_house(given, on_battery=lambda: False) as house,
    ):
        await house.add(MODELS / "sparrow.gguf", "sparrow")
        await house.ask("hello", model="sparrow")
        (instance,) = house.pool.instances()
        with house.announcer.listening() as heard:
            assert instance.runner is not None
            assert instance.runner.pid is not None
            os.kill(instance.runner.pid, signal.SIGSTOP)
            event = await anext(aiter(heard.stream()))
            os.kill(instance.runner.pid, signal.SIGCONT)
        assert (event.kind, event.detail["reason"]) == (
            "probe.failed",
            "a probe: no whole answer in 1 s",
        )
        await house.probing.settle()
        while instance.health.probed is None or instance.health.probed.sign is not Sign.WELL:
            await house.probing.look()
            await house.probing.settle()
        assert instance.health.breaker.failures == 0


async def test_an_ollama_is_probed_as_a_trial_where_it_says_that_the_model_is_in_its_memory(
    tmp_path: Path, clock: ManualClock
) -> None:
    async with (
        asyncio.timeout(60),
        ollama({"sparrow:latest": MODELS / "sparrow.gguf"}) as server,
        open_house(
            settings(
                tmp_path / "data",
                discovery__servers=[server.url],
                discovery__usual=False,
                calibration__enabled=False,
                pool__probe_s=EVERY_S,
            ),
            clock=clock,
            on_battery=lambda: False,
        ) as house,
    ):
        await house.scout.look()
        await house.ask("hello", model="sparrow")
        (instance,) = house.pool.instances()

        async def tried() -> dict[str, int]:
            for _ in range(FAILURES):
                instance.health.begin().tell(Sign.ILL, "engine_error")
            clock.jump(PAUSES_S[-1])
            await house.probing.look()
            await house.probing.settle()
            return {sign.value: count for sign, count in instance.health.probes.items()}

        assert await tried() == {"well": 1}
        assert house.pool.ailing() == {}
        await server.said("/api/generate", {"model": "sparrow:latest", "keep_alive": 0})
        assert await server.loaded() == []
        assert await tried() == {"well": 1, "nothing": 1}
        assert await server.loaded() == []


async def test_an_instance_that_dies_in_a_probe_is_loaded_again_for_who_comes_next(
    tmp_path: Path,
) -> None:
    model = Model()
    async with _house(tmp_path, model) as play:
        await _ask(play)
        model.says = [Die()]
        play.clock.jump(EVERY_S)
        await _look(play)
        assert _view(play).probe == "a probe: instance_lost"
        model.says = [Say("hello there")]
        assert await _ask(play) == "hello there"
        assert len(play.engine.loads) == 2


async def test_what_there_is_no_question_for_is_not_probed(tmp_path: Path) -> None:
    model = Model()
    async with stage(
        tmp_path / "data", engine=Scripted(reply=model.reply), pool__probe_s=EVERY_S
    ) as play:
        script = play.script("one", {"one": 1.0}, capabilities=["image"])
        await play.house.admission.register(script, name("one"))
        await play.house.pool.warm(loadable(play.house.registry.resolve(name("one"))))
        play.clock.jump(EVERY_S)
        await _look(play)
        assert (_view(play).probes, model.probed) == ({"nothing": 1}, [])
