"""A house on a manual clock with scripted models: whole journeys, and nothing ever waits."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from opentelemetry.sdk.trace import SpanProcessor
from tests.story.houses import settings

from arbiter.app import open_house
from arbiter.clock import ManualClock
from arbiter.config import Settings
from arbiter.cost import HOST, Level
from arbiter.engines.scripted import Scripted
from arbiter.house import House
from arbiter.inference import Arm, Decided, Limits, Message
from arbiter.knowledge.tasks import Case, Grading, Task
from arbiter.pool.memory import MemoryReader
from arbiter.refs import ModelName, RolloutId, parse_name, parse_task
from arbiter.swap.audit import audit, read_record
from arbiter.swap.controller import Controller
from arbiter.swap.crashing import Crash
from arbiter.swap.driving import TICK_S
from arbiter.swap.looking import RolloutView
from arbiter.swap.rollout import Phase
from arbiter.swap.shadowing import QUIET_S


def name(text: str) -> ModelName:
    """A name."""
    return parse_name(text)


def task(
    title: str,
    *,
    cases: int = 30,
    limits: Limits = Limits(),
) -> Task:
    """A task whose right answer is always ``yes``."""
    return Task(
        name=parse_task(title),
        limits=limits,
        grading=Grading(kind="exact"),
        cases=tuple(
            Case(
                messages=(Message(role="user", content=f"{title} case {number}"),),
                expected="yes",
            )
            for number in range(cases)
        ),
    )


def looking(controller: Controller) -> int:
    """How many rollouts and watched promotions wait for the clock between two looks."""
    return len(controller.aliases()) + len(controller.watching.aliases())


@dataclass
class Stage:
    """A house and what is needed to play with it."""

    house: House
    clock: ManualClock
    engine: Scripted
    folder: Path
    asked: int = 0
    decided: list[Decided] = field(default_factory=list)

    def script(self, title: str, accuracy: Mapping[str, float], **more: object) -> Path:
        """A model file that is right at each task for this share of prompts."""
        rules = [
            {"match": f"^{one} ", "right": "yes", "wrong": "no", "accuracy": share, "salt": title}
            for one, share in accuracy.items()
        ]
        path = self.folder / f"{title}.json"
        script = {"arbiter_script": 1, "name": title, "context": 4096, "capabilities": ["chat"]}
        path.write_text(
            json.dumps({**script, "rules": rules, "default": "no", **more}), encoding="utf-8"
        )
        return path

    async def add(self, title: str, accuracy: Mapping[str, float], **more: object) -> None:
        """Register such a model and run its graded cases."""
        await self.house.add(self.script(title, accuracy, **more), title)

    async def alias(self, alias: str, model: str) -> None:
        """Point an alias at a model."""
        await self.house.admission.set_alias(name(alias), name(model), who="test")

    async def ask(
        self,
        title: str = "chat",
        *,
        model: str = "primary",
        conversation: str | None = None,
        expected: str | None = "yes",
    ) -> str:
        """One request of a task, with its right answer sent along; a new conversation."""
        self.asked += 1
        answered = await self.house.ask(
            f"{title} live {self.asked}",
            model=model,
            task=title,
            conversation=conversation,
            expected=expected,
        )
        self.decided.append(answered.reply.decided)
        return answered.text

    async def tick(self, times: int = 1) -> None:
        """Let the rollouts look once more: at everything that is durable by now."""
        for _ in range(times):
            await self.house.database.settle()
            await self._asleep()
            self.clock.jump(TICK_S)
            await self._asleep()

    async def _asleep(self) -> None:
        """Until every rollout, every watch and who lets go wait for the clock again."""
        while self.clock.sleepers < 1 + looking(self.house.controller):
            await self.house.database.settle()

    async def copies(self) -> None:
        """Let nobody come until every copy of a request has been asked."""
        while self.house.shadowing.waiting:
            self.clock.jump(QUIET_S)
            await self.house.database.settle()
        await self.house.database.settle()

    async def swap(self, alias: str, model: str, **changes: object) -> RolloutId:
        """Begin a rollout and see it through its validation."""
        plan: dict[str, Any] = {"soak_s": 0.0, **changes}
        stored = await self.house.swap(alias, model, **plan)
        rollout = stored.rollout.id
        while (await self.house.controller.find(rollout)).rollout.phase is Phase.VALIDATING:
            await self.house.database.settle()
        return rollout

    async def live(
        self, rollout: RolloutId, titles: tuple[str, ...] = ("chat",), *, most: int = 3000
    ) -> RolloutView:
        """Traffic under ``primary`` until the rollout is over, or so many requests."""
        for number in range(most):
            await self.ask(titles[number % len(titles)])
            if number % 10 == 9:
                await self.copies()
                await self.tick()
                if self.house.controller.active(name("primary")) is None:
                    break
        return await self.house.controller.view(rollout)

    @property
    def arms(self) -> tuple[Arm, ...]:
        """The arms of everything asked so far."""
        return tuple(decided.arm for decided in self.decided)


@dataclass
class Memory:
    """A machine's memory, of which a story says how much is left."""

    total: int = 10**12
    available: int = 10**12

    async def refresh(self) -> None:
        """Nothing takes long here."""

    def levels(self) -> Mapping[str, Level]:
        """As the story has it."""
        return {HOST: Level(total=self.total, available=self.available)}

    def held(self, pid: int) -> Mapping[str, int]:
        """Nothing of any accelerator."""
        del pid
        return {}


@asynccontextmanager
async def stage(
    data_dir: Path,
    *,
    engine: Scripted | None = None,
    on_battery: Callable[[], bool | None] = lambda: False,
    memory: MemoryReader | None = None,
    reread: Callable[[], Settings] | None = None,
    seed: int = 7,
    crash: Crash | None = None,
    untouched: bool = True,
    spans: SpanProcessor | None = None,
    **overrides: object,
) -> AsyncIterator[Stage]:
    """An open house on a manual clock; nothing is run in idle time unless a story says so.

    In the end every rollout is repeated from its record, whatever the story was about. untouched:
    whether it has to come out as recorded.

    `auto` takes the highest score unless a story says otherwise: most are about something else,
    and have to know who is picked.
    """
    clock, scripted = ManualClock(), engine or Scripted()
    folder = data_dir.parent / "scripts"
    await asyncio.to_thread(folder.mkdir, exist_ok=True)
    async with open_house(
        settings(
            data_dir,
            **{
                "calibration__enabled": False,
                "selection__strategy": "static",
                "rollout__shadow": 0.0,
                "pool__look_s": 0.0,
                "pool__probe_s": 0.0,
                **overrides,
            },
        ),
        clock=clock,
        dice=Random(seed),
        engines=lambda _: (scripted,),
        on_battery=on_battery,
        memory=memory or Memory(),
        reread=reread,
        crash=crash,
        spans=spans,
    ) as house:
        yield Stage(house=house, clock=clock, engine=scripted, folder=folder)
        for found in await house.controller.list() if untouched else ():
            record = await read_record(found.rollout.id, house.database, house.ledger)
            assert audit(record).differs is None
