"""What stories of memory and slots have in common: small models, asked and looked at."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tests.story.stage import Stage, name

from arbiter.cost import Footprint, Method
from arbiter.engines.base import LoadSpec
from arbiter.engines.scripted import Scripted, Step
from arbiter.inference import Ask, Chat, Delta, Message, Named
from arbiter.pool.instance import State
from arbiter.refs import VersionId

ONE_MB, TWO_MB, THREE_MB = 60.0, 100.0, 140.0
"""Memory for so many scripted models: each is planned with little over 40 MB."""
MB = 1_000_000


def always(*steps: Step) -> Scripted:
    return Scripted(reply=lambda _: steps)


def each_holds(size_mb: int) -> Callable[[LoadSpec], Footprint]:
    """Every model holds so much for itself."""
    return lambda _: Footprint(
        anonymous_bytes=size_mb * MB, weights_bytes=0, method=Method.MEASURED
    )


async def add(play: Stage, *titles: str) -> None:
    for title in titles:
        await play.house.admission.register(play.script(title, {title: 1.0}), name(title))


def version_of(play: Stage, title: str = "one") -> VersionId:
    return play.house.registry.resolve(name(title)).version


def state_of(play: Stage, title: str = "one") -> State | None:
    return play.house.pool.states().get(version_of(play, title))


async def settle(play: Stage) -> None:
    for _ in range(5):
        await play.house.database.settle()


async def until(play: Stage, seen: Callable[[], bool]) -> None:
    while not seen():
        await play.house.database.settle()


async def waits(play: Stage, title: str) -> None:
    """Until a model waits for memory: its file is looked at in a thread before that."""
    await until(play, lambda: play.house.pool.space.waits_for(version_of(play, title)) is not None)
    await settle(play)


def ask_of(model: str, text: str, *, caller: str = "local", helper: bool = False) -> Ask:
    return Ask(
        target=Named(name=name(model)),
        work=Chat(messages=(Message(role="user", content=text),)),
        stream=True,
        conversation=text,
        caller=caller,
        helper=helper,
    )


async def text_of(
    play: Stage, model: str, text: str = "hello", *, caller: str = "local", helper: bool = False
) -> str:
    asked = ask_of(model, text, caller=caller, helper=helper)
    async with play.house.dispatch.answer(asked) as reply:
        return "".join([c.text async for c in reply.chunks() if isinstance(c, Delta)])


def asks(
    play: Stage, model: str, text: str = "hello", *, helper: bool = False
) -> asyncio.Task[str]:
    return asyncio.create_task(text_of(play, model, text, helper=helper))
