"""A swap of one shipped model for another, and back, under twenty clients that stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import openai
import pytest
from tests.story.houses import house_with

from arbiter.demo.lessons import Item, draw_many
from arbiter.house import House
from arbiter.refs import parse_name
from arbiter.swap.rollout import Phase

pytest.importorskip("xllamacpp", reason="llama.cpp is not installed")

CLIENTS = 20
PRIMARY = parse_name("primary")


@dataclass
class Crowd:
    """Twenty clients, each with one stream at a time."""

    client: openai.AsyncOpenAI
    items: Sequence[Item]
    going: bool = True
    whole: int = 0
    lost: list[str] = field(default_factory=list)
    versions: set[str] = field(default_factory=set)
    target: int = 0
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    async def further(self, answers: int) -> None:
        """Until there are so many more."""
        self.target = self.whole + answers
        self.reached.clear()
        await self.reached.wait()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(CLIENTS):
                group.create_task(self._one(self.items[number::CLIENTS]))

    async def _one(self, items: Sequence[Item]) -> None:
        for item in items:
            if not self.going:
                return
            try:
                await self._ask(item)
            except openai.OpenAIError as error:
                self.lost.append(repr(error))
            else:
                self.whole += 1
                if self.whole == self.target:
                    self.reached.set()

    async def _ask(self, item: Item) -> None:
        asked = self.client.chat.completions.with_streaming_response.create(
            model="primary",
            messages=[{"role": "user", "content": item.prompt}],
            stream=True,
            temperature=0,
            max_tokens=60,
            metadata={"task": "sum", "expected": item.expected},
        )
        async with asked as got:
            self.versions.add(got.headers["x-arbiter-version"])
            ends = [chunk.choices[0].finish_reason async for chunk in await got.parse()]
        if ends[-1] != "stop" or any(ends[:-1]):
            self.lost.append(f"cut: {ends}")


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with house_with(tmp_path / "data", ["heron-1", "heron-2"], ["sum"]) as house:
        await house.admission.set_alias(PRIMARY, parse_name("heron-1"), who="test")
        yield house


async def test_a_swap_and_the_way_back_lose_nothing_under_twenty_streams(house: House) -> None:
    first = house.registry.resolve(PRIMARY).version
    async with (
        house.door() as address,
        openai.AsyncOpenAI(base_url=f"{address.url}/v1", api_key="-", max_retries=0) as client,
    ):
        crowd = Crowd(client=client, items=draw_many("sum", Random(5), 6_000, split="train"))
        with house.announcer.listening() as heard:
            stored = await house.swap("primary", "heron-2", soak_s=0.0, min_units=5)
            running = asyncio.create_task(crowd.run())
            async for event in heard.stream():
                if event.kind in {"rollout.promoted", "rollout.rolled_back", "rollout.blocked"}:
                    break
            await house.undo("primary", why="the way back")
            await crowd.further(3 * CLIENTS)
            crowd.going = False
            await running
    assert (await house.rollout(stored)).stored.rollout.phase is Phase.UNDONE
    assert house.registry.resolve(PRIMARY).version == first
    assert crowd.lost == []
    assert crowd.whole > 10 * CLIENTS
    assert len(crowd.versions) == 2
