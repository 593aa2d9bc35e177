"""Only type-checked: the Python API as its users write it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_type

import arbiter
from arbiter.inference import Chat, Chunk, Limits, Message, Reply, Sampling, Tool, ToolCall, Tools
from arbiter.knowledge.outcome import Record
from arbiter.registry.registry import Version
from arbiter.selection.contender import Choice
from arbiter.swap.looking import RolloutView
from arbiter.swap.records import Stored


async def a_day_in_the_house() -> None:
    async with arbiter.open("data", rollout__soak_s=0) as house:
        assert_type(house, arbiter.House)
        assert_type(await house.add("heron.gguf", "heron"), Version)
        assert_type(house.select("sum", limits=Limits(threshold=0.5)), Choice)
        answered = await house.ask("2 + 2?", task="sum", sampling=Sampling(temperature=0))
        assert_type(answered, arbiter.Answered)
        assert_type(answered.text, str)
        asked = (Message(role="user", content="What time is it?"),)
        tools = Tools(offered=(Tool(name="clock"),))
        called = await house.ask(Chat(messages=asked, tools=tools), model="heron")
        assert_type(called.calls, tuple[ToolCall, ...])
        embedded = await house.embed(["a", "b"], dimensions=64)
        assert_type(embedded, arbiter.Embedded)
        assert_type(embedded.vectors, tuple[Sequence[float], ...])
        assert_type(embedded.reply.decided.reason, str)
        async with house.stream("2 + 2?", model="heron") as reply:
            assert_type(reply, Reply)
            async for chunk in reply.chunks():
                assert_type(chunk, Chunk)
        assert_type(await house.feedback(answered.reply.decided.decision, 1.0), bool)
        assert_type(await house.record(answered.reply.decided.decision), Record)
        rollout = await house.swap("primary", "heron", soak_s=1.0)
        assert_type(rollout, Stored)
        assert_type(await house.rollout(rollout), RolloutView)
