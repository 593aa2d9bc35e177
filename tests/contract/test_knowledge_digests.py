"""Digests of what people decided: golden, because a change of them looks like another decision."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs
from tests.contract.knowledge_room import FULL, PREFER_FAST, TALES, cases, opened

from arbiter.inference import Limits
from arbiter.knowledge.rules import Rule, knowledge_digest
from arbiter.knowledge.tasks import (
    Grading,
    Task,
)
from arbiter.refs import ModelName


def test_the_digest_of_a_case_is_this() -> None:
    assert cases(1)[0].digest == (
        "sha256:6215010366d098b96906e7969659d1f38361d7b13a882eaa0ed217dd7a95906d"
    )


def test_the_digest_of_a_task_is_this() -> None:
    assert FULL.digest == (
        "sha256:12cd0a63b2e1f26cf77acd7bc647a14ad051fc61f52a91e5109b60557431c52e"
    )


def test_the_digest_of_a_rule_is_this() -> None:
    assert PREFER_FAST.digest == (
        "sha256:b4ff40c571f527253df148ef7ec614bad8d22addaf4b891248c870a15bc6d660"
    )


def test_the_digest_of_everything_people_decided_is_this() -> None:
    assert knowledge_digest([FULL], [PREFER_FAST]) == (
        "sha256:71e7dba3f0e582fc14412129a8ac367e9c766c5a5a4d3a54bb3ed7b9cdcd6a12"
    )


def test_the_digest_of_a_task_does_not_depend_on_the_order_of_options_and_needs() -> None:
    turned = replace(
        FULL,
        grading=Grading(kind="exact", options={"case": False, "trim": True}),
        limits=structs.replace(FULL.limits, needs=frozenset(["chat", "tools"])),
    )
    assert turned.digest == FULL.digest


CHANGES: list[Task] = [
    replace(FULL, name=TALES),
    replace(FULL, limits=Limits()),
    replace(FULL, grading=Grading(kind="exact")),
    replace(FULL, cases=tuple(reversed(FULL.cases))),
    replace(FULL, cases=cases(11)),
    replace(FULL, weights=None),
]


@pytest.mark.parametrize("changed", CHANGES)
def test_whatever_people_change_changes_the_digest_of_a_task(changed: Task) -> None:
    assert changed.digest != FULL.digest


async def test_the_digest_of_everything_does_not_depend_on_the_order_of_adding(
    tmp_path: Path,
) -> None:
    found = []
    for order in ((FULL, Task(name=TALES)), (Task(name=TALES), FULL)):
        async with opened(tmp_path / f"{order[0].name}.db") as room:
            for task in order:
                await room.tasks.add(task)
                await room.rules.add(Rule(task=task.name, prefer=ModelName("fast")))
            found.append(knowledge_digest(room.tasks.all(), room.rules.all()))
    assert found[0] == found[1]
