"""What Prometheus sees of a house that works."""

from __future__ import annotations

from pathlib import Path

import aiohttp
from msgspec import structs
from prometheus_client.parser import text_string_to_metric_families
from tests.story.stage import name, stage, task

from arbiter.cost import Figure, Method, unknown_cost
from arbiter.gateway.metrics import exposition, families
from arbiter.refs import DecisionId, parse_task

ROOT = Path(__file__).parents[2]

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


async def test_reloads_avoided_swaps_and_waits_are_on_the_page_by_alias(tmp_path: Path) -> None:
    async with stage(tmp_path / "data") as play:
        await play.add("old", {"chat": 0.9})
        await play.add("new", {"chat": 0.9})
        await play.alias("primary", "old")
        await play.house.admission.add_task(task("chat", cases=0))
        rollout = await play.swap("primary", "new", **STEPS)
        async with play.house.door() as address, aiohttp.ClientSession(address.url) as session:
            asked = {"model": "old", "messages": [{"role": "user", "content": "chat a"}]}
            for context in (4096, 8192):
                options = {"num_ctx": context}
                async with session.post("/api/chat", json={**asked, "options": options}) as got:
                    assert got.status == 200
            await play.house.controller.abort(rollout, why="enough", who="test")
            page = await read(session)
    assert page["arbiter_instance_reloads_avoided_total"] == [1.0]
    assert page["arbiter_queue_wait_seconds_count"] == [2.0]
    assert page["arbiter_instance_waiting"] == [0.0]
    steps = {labels["step"]: value for labels, value in page.labelled("arbiter_swaps_total")}
    assert steps["started"] == steps["aborted"] == 1.0
    assert {labels["alias"] for labels, _ in page.labelled("arbiter_swaps_total")} == {"primary"}


async def test_energy_is_added_when_it_is_known_by_how_it_was_come_by(tmp_path: Path) -> None:
    async with stage(tmp_path / "data") as play:
        await play.add("owl", {"chat": 1.0})
        who = (name("owl"), next(iter(play.house.registry.versions())).version, parse_task("chat"))
        for millijoules, method in ((1.0, Method.SHARED), (2.0, Method.SHARED)):
            cost = structs.replace(
                unknown_cost("not read"),
                energy_mwh=Figure(value=millijoules, method=method),
                gpu_ms=Figure(value=500.0, method=Method.SHARED),
            )
            play.house.costs.add(DecisionId("dec_a"), cost, who=who)
        play.house.costs.add(DecisionId("dec_b"), unknown_cost("not read"), who=who)
        page = Page(exposition(play.house.watched()).decode())
    ((labels, joules),) = page.labelled("arbiter_energy_joules_total")
    assert joules == 3.0 * 3.6
    assert labels["method"] == "shared"
    assert page["arbiter_gpu_seconds_total"] == [1.0]


async def test_what_clients_make_up_is_no_series(tmp_path: Path) -> None:
    async with stage(tmp_path / "data") as play:
        await play.add("owl", {"chat": 1.0})
        async with play.house.door() as address, aiohttp.ClientSession(address.url) as session:
            for number in range(20):
                asked = {
                    "model": f"owl-{number}" if number % 2 else "owl",
                    "messages": [{"role": "user", "content": "chat a"}],
                    "metadata": {"task": f"made-up-{number}"},
                }
                async with session.post("/v1/chat/completions", json=asked) as got:
                    assert got.status in {400, 404}
            page = await read(session)
    assert page.labelled("arbiter_requests_total") == []
    assert page.labelled("arbiter_swaps_total") == []


def test_the_page_has_the_documented_families_and_no_others() -> None:
    documented = (ROOT / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")
    for family in families():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        assert f"| `{name}` |" in documented
        assert family.documentation in documented


class Page:
    """The page as the parser of Prometheus reads it."""

    def __init__(self, text: str) -> None:
        found = text_string_to_metric_families(text)
        self._samples = [sample for family in found for sample in family.samples]

    def __getitem__(self, name: str) -> list[float]:
        return [one.value for one in self._samples if one.name == name]

    def labelled(self, name: str) -> list[tuple[dict[str, str], float]]:
        return [(dict(one.labels), one.value) for one in self._samples if one.name == name]


async def read(session: aiohttp.ClientSession) -> Page:
    async with session.get("/metrics") as got:
        assert got.status == 200
        return Page(await got.text())
