"""The pool with several instances: whatever happens in whatever order, nobody is lost or cut."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest
from tests.story.houses import settings
from tests.story.stage import Stage, name, stage

from arbiter.config import Settings
from arbiter.engines.scripted import Hold, Say, Scripted, ScriptedRunner, Step
from arbiter.errors import ArbiterError, InstanceLost, LoadFailed, StillInUse, StreamCut
from arbiter.inference import Generation
from arbiter.pool.loadable import loadable
from arbiter.registry.registry import Version

STEPS = 150
LONG = "Tell me all that you know of herons, please, and of owls. " * 3


class _Answers:
    """Each answer waits until it is let go."""

    def __init__(self) -> None:
        self.held: list[asyncio.Event] = []

    def reply(self, _: Generation) -> Iterable[Step]:
        gate = asyncio.Event()
        self.held.append(gate)
        return [Say("ye"), Hold(gate), Say("s")]

    def let_go(self, number: int) -> None:
        if self.held:
            self.held.pop(number % len(self.held)).set()


class _Play:
    def __init__(self, play: Stage, answers: _Answers, dice: Random) -> None:
        self.play = play
        self.answers = answers
        self.dice = dice
        self.asking: list[asyncio.Task[str]] = []
        self.others: list[asyncio.Task[None]] = []
        self.killed: list[ScriptedRunner] = []

    async def ask(self) -> None:
        number = self.dice.randrange(4)
        text, model = f"{number} {LONG}", self.dice.choice(("one", "one", "two"))
        self.asking.append(asyncio.create_task(self._asked(text, model)))

    async def _asked(self, text: str, model: str) -> str:
        try:
            return (await self.play.house.ask(text, model=model)).text
        except (InstanceLost, LoadFailed, StreamCut) as error:
            # only what was killed, again and again, may be told
            return type(error).__name__

    async def end_one(self) -> None:
        self.answers.let_go(self.dice.randrange(100))

    async def hang_up(self) -> None:
        if self.asking:
            self.dice.choice(self.asking).cancel()

    async def kill(self) -> None:
        alive = [one for one in self.play.engine.runners if not one.unloads]
        if alive:
            self.killed.append(self.dice.choice(alive))
            self.killed[-1].die()

    async def unload(self) -> None:
        number = self.dice.choice((None, 1, 2, 3))
        pool, version = self.play.house.pool, self._version().version

        async def unloaded() -> None:
            with suppress(StillInUse):
                await pool.unload(version, reason="test", number=number)

        self._begin(unloaded())

    async def warm(self) -> None:
        count = self.dice.choice((1, 2, 3))
        self._begin(self._warmed(count))

    async def _warmed(self, count: int) -> None:
        known = loadable(self._version())
        with suppress(ArbiterError):  # it was killed, or there is no room
            await self.play.house.pool.warm(known, by_person=True, count=count)

    async def reload(self) -> None:
        await self.play.house.reloading.reload()

    async def look(self) -> None:
        self.play.house.watch.look()

    async def time(self) -> None:
        self.play.clock.jump(self.dice.choice((0.1, 1.0, 5.0)))

    def _begin(self, doing: Coroutine[None, None, None]) -> None:
        self.others.append(asyncio.create_task(doing))

    def _version(self) -> Version:
        return self.play.house.registry.resolve(name("one"))

    async def settle(self) -> None:
        for _ in range(3):
            await self.play.house.database.settle()

    async def end(self) -> None:
        for _ in range(400):
            if all(task.done() for task in (*self.asking, *self.others)):
                return
            self.answers.let_go(0)
            self.play.clock.jump(1.0)
            await self.settle()
        left = [(v.number, v.state, v.leases, v.waiting) for v in self.play.house.pool.views()]
        raise AssertionError(f"somebody waits for ever: {left}")


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_happens_everybody_is_answered_and_no_runner_stops_under_an_answer(
    tmp_path: Path, seed: int
) -> None:
    dice, answers = Random(seed), _Answers()

    def reread() -> Settings:
        return settings(
            tmp_path / "data",
            pool__instances={"one": dice.choice((1, 2, 3))},
            pool__slots=dice.choice((1, 2)),
            pool__memory_mb=190.0,
            pool__look_s=0.0,
            pool__probe_s=0.0,  # a probe is nobody's request, and would be under way at the end
        )

    engine = Scripted(reply=answers.reply)
    async with stage(
        tmp_path / "data",
        engine=engine,
        reread=reread,
        pool__instances={"one": 2},
        pool__slots=2,
        pool__memory_mb=190.0,
    ) as play:
        for title in ("one", "two"):
            await play.house.admission.register(play.script(title, {title: 1.0}), name(title))
        here = _Play(play, answers, dice)
        rare = (here.kill, here.unload, here.warm, here.reload, here.hang_up)
        for _ in range(STEPS):
            step = dice.choice((here.ask, here.ask, here.end_one, here.time, here.look, *rare))
            await step()
            await here.settle()
        await here.end()
        ends = Counter("hung up" if task.cancelled() else task.result() for task in here.asking)
        faults = {what for what in ends if what not in {"yes", "hung up"}}
        assert ends["yes"] > 3
        assert not faults or here.killed
        assert faults <= {"StreamCut", "InstanceLost", "LoadFailed"}
        for task in here.others:
            task.result()
        left = [one for one in engine.runners if one not in here.killed]
        assert not any(one.unloaded_while_serving for one in left)
        assert not any(one.generated_after_unload for one in engine.runners)
        assert play.house.watch.stuck == ()
        assert all(view.leases == view.waiting == 0 for view in play.house.pool.views())
