"""SIGKILL of the gateway in the middle of a rollout."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests.story.houses import Running, house_with, running

from arbiter.demo.lessons import draw_many
from arbiter.inference import Arm
from arbiter.refs import TaskName, parse_name
from arbiter.storage.database import Row
from arbiter.storage.sqlite import open_sqlite
from arbiter.swap.analysis import Unit, fold, verdict
from arbiter.swap.plan import Plan

# a soak that outlasts the test: the rollout must still be going on when the house is killed
PRIMARY = parse_name("primary")
SLOW = "[rollout]\nsoak_s = 3600.0\n"


async def _replayed(data_dir: Path, rollout: str, plan: dict[str, Any]) -> dict[str, float]:
    """The evidence of a rollout, folded from nothing but the rows on disk."""
    database = await open_sqlite(data_dir / "arbiter.db")
    try:
        rows = await database.read("list_units", (rollout,))
    finally:
        await database.close()
    evidence = fold([_unit(row) for row in rows if row[5] is not None], Plan.from_dict(plan))
    judgement = verdict(evidence)
    return {
        "n_stable": judgement.n_stable,
        "n_candidate": judgement.n_candidate,
        "e_worse": judgement.e_worse,
        "e_not_worse": judgement.e_not_worse,
    }


def _unit(row: Row) -> Unit:
    _, _, task, arm, probability, score, *_ = row
    return Unit(
        task=TaskName(str(task)),
        arm=Arm(str(arm)),
        probability=float(probability or 0),
        score=float(score or 0),
    )


async def _ask(house: Running, seed: int, count: int) -> None:
    items = iter(draw_many("sum", Random(seed), count, split="train"))

    async def client() -> None:
        for item in items:
            await house.chat(item, model="primary")

    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(client())


async def _progressing(house: Running, rollout: str) -> dict[str, Any]:
    while True:
        found = await house.control("GET", f"/rollouts/{rollout}")
        if found["phase"] != "validating":
            return found


@pytest.mark.parametrize("killed_after", [60, 150])
async def test_a_killed_rollout_goes_on_from_its_rows_equal_to_the_last_bit(
    tmp_path: Path, killed_after: int
) -> None:
    config = tmp_path / "arbiter.toml"
    config.write_text(SLOW, encoding="utf-8")
    data = tmp_path / "data"
    async with house_with(data, ["heron-1", "heron-2"], ["sum"]) as house:
        await house.admission.set_alias(PRIMARY, parse_name("heron-1"), who="test")
        knowledge = house.knowledge()

    async with running(data, config) as first:
        body = {"alias": "primary", "model": "heron-2"}
        rollout = (await first.control("POST", "/rollouts", body))["rollout"]
        found = await _progressing(first, rollout)
        assert found["phase"] == "progressing"
        await _ask(first, 1, killed_after)
        await first.kill()

    expected = await _replayed(data, rollout, found["plan"])
    assert expected["n_stable"] + expected["n_candidate"] > 0

    async with running(data, config) as second:
        after = await second.control("GET", f"/rollouts/{rollout}")
        assert after["phase"] == "progressing"
        assert after["step"] == found["step"]
        assert {name: after["judgement"][name] for name in expected} == expected

        await _ask(second, 2, 40)
        status = await second.control("GET", "/status")  # waits until everything is durable
        assert status["knowledge"] == knowledge
        later = await second.control("GET", f"/rollouts/{rollout}")
        await second.kill()

    again = await _replayed(data, rollout, found["plan"])
    assert {name: later["judgement"][name] for name in again} == again
    assert again["n_stable"] + again["n_candidate"] > (
        expected["n_stable"] + expected["n_candidate"]
    )


async def test_a_rollout_killed_while_it_validates_validates_to_the_same_end(
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    async with house_with(data, ["heron-1"], ["sum", "code"]) as house:
        await house.admission.set_alias(PRIMARY, parse_name("heron-1"), who="test")
        path = Path(house.registry.resolve(PRIMARY).artifact.path).with_name("heron-2.gguf")
        await house.admission.register(
            path, parse_name("heron-2")
        )  # not calibrated: the swap has to
    async with running(data) as first:
        body = {"alias": "primary", "model": "heron-2"}
        rollout = (await first.control("POST", "/rollouts", body))["rollout"]
        await first.kill()
    async with running(data) as second:
        found = await _progressing(second, rollout)
        assert found["phase"] == "progressing"
        assert [f["task"] for f in found["findings"] if f["about"] == "quality"] == [
            "code",
            "sum",
            None,
        ]
