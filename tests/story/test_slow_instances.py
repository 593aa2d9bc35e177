"""An instance that has become far slower than it was is told, and others are asked for a while."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.story.houses import MODELS, settings
from tests.story.stage import Stage, name, stage

from arbiter.app import open_house
from arbiter.engines.scripted import Hold, Say, Scripted, Step
from arbiter.gateway import views
from arbiter.gateway.metrics import exposition
from arbiter.inference import Ask, Chat, Generation, Message, Named
from arbiter.knowledge.rules import Rule
from arbiter.pool.health import SLOW_PAUSES_S
from arbiter.pool.pace import BACK, remembered
from arbiter.refs import GENERAL, VersionId, parse_name


class Model:
    """Takes its time, on the clock of the story."""

    def __init__(self) -> None:
        self.takes_s = 0.4
        self.play: Stage | None = None

    def reply(self, request: Generation) -> Iterator[Step]:
        assert self.play is not None
        assert isinstance(request.work, Chat)
        if request.work.messages[-1].content == "for ever":
            yield Hold(asyncio.Event())
        self.play.clock.jump(self.takes_s)
        yield Say("yes")


@asynccontextmanager
async def _house(folder: Path, *titles: str) -> AsyncIterator[tuple[Stage, Model]]:
    """A house whose models answered a hundred times, each in the same time."""
    model = Model()
    engine = Scripted(reply=model.reply)
    async with asyncio.timeout(60), stage(folder / "data", engine=engine) as play:
        model.play = play
        for title in titles:
            await play.house.admission.register(play.script(title, {title: 1.0}), name(title))
            for _ in range(100):
                await _ask(play, title)
        yield play, model


async def _ask(play: Stage, model: str) -> VersionId:
    asked = Ask(
        target=Named(name=name(model)),
        work=Chat(messages=(Message(role="user", content="what?"),)),
        stream=True,
        conversation="c",
    )
    async with play.house.dispatch.answer(asked) as reply:
        assert [chunk async for chunk in reply.chunks()]
        return reply.decided.version


async def _picked(play: Stage) -> VersionId:
    return (await play.house.ask("what?")).reply.decided.version


async def test_a_slow_instance_is_told_and_passed_over_for_a_while_and_then_asked_again(
    tmp_path: Path,
) -> None:
    async with _house(tmp_path, "one", "two") as (play, model):
        await play.house.rules.add(Rule(task=GENERAL, prefer=parse_name("one")))
        one = play.house.registry.resolve(name("one")).version
        assert await _picked(play) == one
        with play.house.announcer.listening() as heard:
            model.takes_s = 4.0
            for _ in range(10):
                await _ask(play, "one")
            why = "its answers begin 10.0 times as late as they did"
            assert dict(play.house.pool.ailing()) == {one: f"it is slow: {why}"}
            shown = [views.instance_view(v, play.house.registry) for v in play.house.pool.views()]
            assert {s["slow"] for s in shown if s["version"] == one} == {why}
            page = exposition(play.house.watched()).decode()
            assert page.count("\narbiter_instance_slow{") == 2
            assert sum(line.endswith(" 1.0") for line in page.splitlines() if "_slow{" in line) == 1
            assert await _picked(play) != one
            play.clock.jump(SLOW_PAUSES_S[0])
            model.takes_s = 0.4
            assert await _picked(play) == one
            for _ in range(BACK):
                await _ask(play, "one")
            events, kinds = heard.stream(), Counter[str]()
            while not kinds["pace.well"]:
                kinds[(await anext(events)).kind] += 1
        assert kinds["pace.slow"] == 1
        assert {view.slow for view in play.house.pool.views()} == {None}


async def test_who_shares_the_machine_with_another_model_is_not_slow_because_of_it(
    tmp_path: Path,
) -> None:
    async with _house(tmp_path, "one", "two") as (play, model):
        other = asyncio.create_task(play.house.ask("for ever", model="two"))
        while sum(instance.leases for instance in play.house.pool.instances()) < 1:
            await play.house.database.settle()
        model.takes_s = 4.0
        for _ in range(20):
            await _ask(play, "one")
        assert play.house.pool.ailing() == {}
        other.cancel()
        await asyncio.gather(other, return_exceptions=True)


async def test_the_last_one_is_asked_however_slow_it_is(tmp_path: Path) -> None:
    async with _house(tmp_path, "one") as (play, model):
        model.takes_s = 4.0
        for _ in range(10):
            await _ask(play, "one")
        assert len(play.house.pool.ailing()) == 1
        assert (await play.house.ask("what?")).text == "yes"
        assert await _ask(play, "one")


async def test_each_time_that_it_is_still_slow_others_are_asked_for_longer(tmp_path: Path) -> None:
    async with _house(tmp_path, "one") as (play, model):
        model.takes_s = 4.0
        for pause_s in SLOW_PAUSES_S[:3]:
            play.clock.jump(SLOW_PAUSES_S[-1])
            while not play.house.pool.ailing():
                await _ask(play, "one")
            play.clock.jump(pause_s - 1.0)
            assert play.house.pool.ailing()
            play.clock.jump(1.0)
            assert not play.house.pool.ailing()


async def test_the_answers_of_before_are_the_history_after_a_restart(tmp_path: Path) -> None:
    given = settings(tmp_path / "data", calibration__enabled=False, pool__probe_s=0.0)
    async with open_house(given) as house:
        await house.add(MODELS / "sparrow.gguf", "sparrow")
        asked = Ask(
            target=Named(name=parse_name("sparrow")),
            work=Chat(messages=(Message(role="user", content="sum: 2 + 2"),)),
            stream=True,
            conversation="c",
        )
        for _ in range(3):
            async with house.dispatch.answer(asked) as reply:
                assert [chunk async for chunk in reply.chunks()]
    async with open_house(given) as house:
        found = list(remembered(await house.database.read("latest_paced", (100, 2))))
        assert {version for version, *_ in found} == {house.registry.versions()[0].version}
        assert len(found) == 2
        for _, one, usage, crowd in found:
            assert one.first_ms is not None
            assert (usage.prompt_tokens or 0) > 0
            assert crowd == 1.0
