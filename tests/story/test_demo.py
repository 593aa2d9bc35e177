"""The demo, and the models that ship, as a newcomer meets them."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import pytest
import pytest_asyncio

from arbiter.demo.lessons import TASKS
from arbiter.demo.matrix import FORM, Matrix, measure
from arbiter.demo.story import MODELS


async def _run(*arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "arbiter", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def test_the_demo_does_the_whole_main_job_and_prints_one_document() -> None:
    code, out, err = await _run("demo", "--json")
    told: dict[str, Any] = json.loads(out)
    assert code == 0, err
    assert (told["promoted"], told["blocked"], told["rolled_back"]) == (True, True, True)
    assert told["lost"] == 0
    assert told["requests"] >= 500
    assert told["rules_retained"] == told["rules"] == 1
    before, after = told["quality_before"], told["quality_after"]
    assert sum(after.values()) / len(TASKS) >= sum(before.values()) / len(TASKS) + 0.10
    assert set(told["tasks"]) == set(TASKS)
    assert all({"pick", "quality", "samples"} <= set(row) for row in told["tasks"].values())
    assert len({row["pick"] for row in told["tasks"].values()}) >= 3
    assert told["cost"]["worker_cpu_s"] > 0
    assert "blocked" in err


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def matrix() -> Matrix:
    return await measure(items=60, say=lambda _: None)


@pytest.mark.asyncio(loop_scope="module")
async def test_the_models_that_ship_differ_as_they_are_said_to(matrix: Matrix) -> None:
    """No model is best everywhere, three tasks have clear and different winners."""
    best = {task: max(MODELS, key=lambda model: matrix.accuracy[model][task]) for task in TASKS}
    assert len(set(best.values())) > 1
    assert len(set(matrix.winners.values())) >= 3
    assert matrix.mean("heron-2") >= matrix.mean("heron-1") + 0.10
    assert matrix.accuracy["heron-3"]["topic"] <= 0.3 * matrix.accuracy["heron-2"]["topic"]
    better = [
        task
        for task in TASKS
        if matrix.accuracy["heron-3"][task] >= matrix.accuracy["heron-2"][task]
    ]
    assert len(better) >= 4
    assert matrix.accuracy["heron-4"][FORM] <= 0.5 * matrix.accuracy["heron-2"][FORM]
