"""SIGKILL of the gateway while it suspects that a model has silently got worse."""

from __future__ import annotations

from pathlib import Path
from random import Random

from tests.story.houses import Running, house_with, running

from arbiter.demo.lessons import Item, draw_many

GOOD, MOST = 24, 30
"""Judgements before the loss, and how many after it the test waits for at most."""


async def judged(house: Running, item: Item, score: float) -> bool:
    """One request, judged by whoever runs the house; whether the model is known to have fallen."""
    body = {
        "model": "heron-1",
        "messages": [{"role": "user", "content": item.prompt}],
        "max_tokens": 1,
        "metadata": {"task": item.task},
    }
    async with house.session.post(f"{house.url}/v1/chat/completions", json=body) as got:
        assert got.status == 200
        decision = got.headers["X-Arbiter-Decision"]
    await house.control("POST", f"/decisions/{decision}/feedback", {"score": score})
    return bool((await house.control("GET", "/models/heron-1"))["falls"])


async def notices(data: Path, *, killed_after: int | None) -> int:
    """After how many bad judgements the loss is noticed."""
    async with house_with(data, ["heron-1"], ["sum"]):
        pass
    items = iter(draw_many("sum", Random(1), GOOD + MOST, split="train"))
    bad = 0
    async with running(data) as house:
        for _ in range(GOOD):
            assert not await judged(house, next(items), 1.0)
        while bad != killed_after:
            bad += 1
            if await judged(house, next(items), 0.0):
                return bad
        await house.kill()
    async with running(data) as house:
        for item in items:
            bad += 1
            if await judged(house, item, 0.0):
                return bad
    raise AssertionError("it was never noticed")


async def test_a_house_killed_in_the_midst_of_a_fall_notices_it_no_later(tmp_path: Path) -> None:
    straight = await notices(tmp_path / "straight", killed_after=None)
    assert straight > 3
    assert await notices(tmp_path / "killed", killed_after=straight - 1) == straight
