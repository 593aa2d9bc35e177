"""Rules over a real file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.contract.knowledge_room import PREFER_FAST, SUMS, Room, opened

from arbiter.errors import NotFound
from arbiter.knowledge.rules import Rule
from arbiter.refs import GENERAL, ModelName, TaskName


async def test_rules_are_the_same_after_a_restart(path: Path) -> None:
    other = Rule(task=GENERAL, prefer=ModelName("primary"))
    async with opened(path) as room:
        await room.rules.add(PREFER_FAST)
        await room.rules.add(other)
    async with opened(path) as room:
        assert room.rules.all() == (other, PREFER_FAST)
        assert room.rules.get(SUMS) == PREFER_FAST


EVERY_RULE = (
    Rule(task=TaskName("a"), only=ModelName("fast"), why="it is quick"),
    Rule(task=TaskName("b"), never=(ModelName("slow"), ModelName("big"))),
    Rule(task=TaskName("c"), prefer=ModelName("fast"), never=(ModelName("big"),)),
    Rule(task=TaskName("d"), only=ModelName("fast"), never=(ModelName("big"),)),
)


async def test_rules_of_every_kind_are_the_same_after_a_restart(path: Path) -> None:
    async with opened(path) as room:
        for rule in EVERY_RULE:
            await room.rules.add(rule)
    async with opened(path) as room:
        assert room.rules.all() == EVERY_RULE


async def test_every_change_of_a_rule_is_another_revision(room: Room) -> None:
    seen = [room.rules.revision]
    for rule in EVERY_RULE:
        await room.rules.add(rule)
        seen.append(room.rules.revision)
    await room.rules.remove(TaskName("a"))
    assert len({*seen, room.rules.revision}) == len(seen) + 1


async def test_a_rule_replaces_the_one_for_the_same_task(path: Path) -> None:
    second = replace(PREFER_FAST, prefer=ModelName("quality"))
    async with opened(path) as room:
        await room.rules.add(PREFER_FAST)
        await room.rules.add(second)
        assert room.rules.all() == (second,)
    async with opened(path) as room:
        assert room.rules.all() == (second,)


async def test_a_removed_rule_is_gone(path: Path) -> None:
    async with opened(path) as room:
        await room.rules.add(PREFER_FAST)
        await room.rules.remove(SUMS)
        assert room.rules.get(SUMS) is None
    async with opened(path) as room:
        assert room.rules.get(SUMS) is None


async def test_a_rule_that_is_not_there_cannot_be_removed(room: Room) -> None:
    with pytest.raises(NotFound, match="No rule stands for task 'sums'"):
        await room.rules.remove(SUMS)
