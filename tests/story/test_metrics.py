"""What Prometheus sees of a house that works."""

from __future__ import annotations

from pathlib import Path

import aiohttp
from prometheus_client.parser import text_string_to_metric_families
from tests.story.stage import stage, task

STEPS = {"unproven_first_step": 0.3, "steps": [0.5], "min_steps": 1, "soak_s": 3600.0}


async def test_requests_events_instances_and_rollouts_are_on_the_page(tmp_path: Path) -> None:
    async with stage(tmp_path / "data") as play:
        await play.add("old", {"chat": 0.9})
        await play.add("new", {"chat": 0.9})
        await play.alias("primary", "old")
        await play.house.admission.add_task(task("chat", cases=0))
        rollout = await play.swap("primary", "new", **STEPS)
        for _ in range(20):
            await play.ask()
        async with play.house.door() as address, aiohttp.ClientSession(address.url) as session:
            async with session.get("/metrics") as got:
                assert got.status == 200
                assert got.content_type == "text/plain"
                page = await got.text()
            async with session.get("/readyz") as got:
                assert (got.status, (await got.json())["ok"]) == (200, True)
    found = {
        sample.name: sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }
    counted = [
        sample
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == "arbiter_requests_total"
    ]
    assert sum(one.value for one in counted) == 20
    assert {one.labels["task"] for one in counted} == {"chat"}
    assert found["arbiter_rollout_weight"] == 0.3
    assert f'rollout="{rollout}"' in page
    assert 'arbiter_events_total{kind="rollout.started"} 1.0' in page
    assert 'state="ready"' in page
