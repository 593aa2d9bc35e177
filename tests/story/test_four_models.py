"""The seed's four models behind an Ollama: found, aliased, and one swapped for its successor."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

import pytest
from tests.standins.beside import beside
from tests.story.houses import MODELS, settings

from arbiter.app import open_house
from arbiter.demo.lessons import draw_many
from arbiter.demo.story import task_of
from arbiter.house import House
from arbiter.knowledge.rules import Rule
from arbiter.refs import parse_name, parse_task
from arbiter.swap.looking import RolloutView
from arbiter.swap.rollout import Phase

pytest.importorskip("xllamacpp", reason="llama.cpp is not installed")

STAND_INS = {
    "gemma3:1b": "heron-1",
    "gemma3n:e2b": "heron-2",
    "gemma3n:e4b": "owl",
    "gemma3:4b": "sparrow",
}
"""Small models that ship, under the names of those that a person would have."""


async def _traffic(house: House, *, most: int) -> None:
    """Requests under ``primary`` with their right answers, until its rollout is over."""
    items = iter(draw_many("sum", Random(11), most, split="train"))

    async def client() -> None:
        for item in items:
            if house.controller.active(parse_name("primary")) is None:
                return
            await house.ask(item.prompt, model="primary", task="sum", expected=item.expected)

    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(client())


async def _swapped(house: House, alias: str, model: str) -> RolloutView:
    """The rollout once it has ended, or its traffic has."""
    with house.announcer.listening() as heard:
        stored = await house.swap(alias, model, soak_s=0.0, min_units=5)
        async for event in heard.stream():
            if event.kind.startswith("rollout.") and event.kind != "rollout.started":
                break  # its validation is over
    await _traffic(house, most=1500)
    return await house.rollout(stored)


async def test_the_four_models_are_found_with_their_aliases_and_one_is_swapped(
    tmp_path: Path,
) -> None:
    offered = [f"--model={name}={MODELS / file}.gguf" for name, file in STAND_INS.items()]
    async with beside("ollama_server", *offered) as ollama:
        given = settings(
            tmp_path, discovery__servers=[ollama.url], discovery__usual=False, pool__server_slots=4
        )
        async with open_house(given) as house:
            await house.admission.add_task(task_of("sum"))
            await house.scout.look()
            named = {one.name: one.version for one in house.registry.names()}
            assert {
                alias: next(model for model in STAND_INS if named[parse_name(model)] == version)
                for alias in ("fast", "primary", "quality", "alternative")
                if (version := named[parse_name(alias)])
            } == {
                "fast": "gemma3:1b",
                "primary": "gemma3n:e2b",
                "quality": "gemma3n:e4b",
                "alternative": "gemma3:4b",
            }
            # the swap of the plan starts one model back
            await house.admission.set_alias(
                parse_name("primary"), parse_name("gemma3:1b"), who="test"
            )
            await house.rules.add(
                Rule(task=parse_task("general"), prefer=parse_name("quality"), why="care")
            )
            before = house.knowledge()
            view = await _swapped(house, "primary", "gemma3n:e2b")
            assert view.stored.rollout.phase is Phase.PROMOTED, view.stored.rollout.reason
            primary = house.registry.resolve(parse_name("primary"))
            assert primary.version == named[parse_name("gemma3n:e2b")]
            assert house.knowledge() == before
            assert [rule.prefer for rule in house.rules.all()] == ["quality"]
