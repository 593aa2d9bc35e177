"""Requests for stories on a stage, and scripts for them."""

from __future__ import annotations

from collections.abc import Iterable

from tests.story.stage import Stage, name

from arbiter.engines.scripted import Scripted, Step
from arbiter.inference import Ask, Chat, Delta, Generation, Message, Named


def asked(model: str, text: str = "chat now", *, stream: bool = True) -> Ask:
    return Ask(
        target=Named(name=name(model)),
        work=Chat(messages=(Message(role="user", content=text),)),
        stream=stream,
        conversation=text,
    )


def always(steps: Iterable[Step]) -> Scripted:
    kept = tuple(steps)

    def reply(request: Generation) -> Iterable[Step]:
        del request
        return kept

    return Scripted(reply=reply)


async def add_slow(play: Stage) -> None:
    await play.house.admission.register(play.script("slow", {}), name("slow"))


async def said(play: Stage, model: str, text: str = "hello") -> str:
    async with play.house.dispatch.answer(asked(model, text)) as reply:
        return "".join([c.text async for c in reply.chunks() if isinstance(c, Delta)])
