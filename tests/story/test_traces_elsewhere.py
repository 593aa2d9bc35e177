"""Traces that leave the house: to a collector, and with a request to another house."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span
from tests.story.houses import settings
from tests.story.stage import stage, task
from tests.story.traced import Kept, ids, said

from arbiter.app import open_house


class Collector:
    """What OpenTelemetry's collector does with traces: takes them, and says so."""

    def __init__(self) -> None:
        self.found: list[ResourceSpans] = []

    async def take(self, request: web.Request) -> web.Response:
        assert request.content_type == "application/x-protobuf"
        told = ExportTraceServiceRequest.FromString(await request.read())
        self.found.extend(told.resource_spans)
        return web.Response(content_type="application/x-protobuf")

    @property
    def spans(self) -> list[Span]:
        return [span for one in self.found for scope in one.scope_spans for span in scope.spans]

    def resource(self) -> dict[str, str]:
        return {one.key: one.value.string_value for one in self.found[0].resource.attributes}


@asynccontextmanager
async def collecting() -> AsyncIterator[tuple[Collector, str]]:
    """A collector on this machine, and its address."""
    collector, app = Collector(), web.Application()
    app.router.add_post("/v1/traces", collector.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield collector, f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_an_endpoint_gets_every_span_by_the_time_the_house_is_closed(tmp_path: Path) -> None:
    async with collecting() as (collector, url):
        async with stage(tmp_path / "data", telemetry__otlp_endpoint=url) as play:
            await play.add("owl", {"chat": 1.0})
            await play.house.admission.add_task(task("chat", cases=0))
            for _ in range(3):
                await play.ask(model="owl")
        assert len([span for span in collector.spans if span.name == "chat owl"]) == 3
        (request, *_) = [span for span in collector.spans if span.name == "chat owl"]
        assert request.kind is not None
        below = {span.name for span in collector.spans if span.parent_span_id == request.span_id}
        assert below == {"decide", "queue", "engine"}
        assert collector.resource()["service.name"] == "arbiter"
        assert collector.resource()["service.version"]


async def test_a_collector_that_is_gone_holds_nobody_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with asyncio.timeout(30):
        async with stage(tmp_path / "data", telemetry__otlp_endpoint="http://127.0.0.1:9") as play:
            await play.add("owl", {"chat": 1.0})
            await play.house.admission.add_task(task("chat", cases=0))
            assert await play.ask(model="owl") == "yes"
    assert "chat live" not in caplog.text


async def test_a_house_behind_a_house_goes_on_with_its_trace(tmp_path: Path) -> None:
    front, back = Kept(), Kept()
    async with stage(tmp_path / "data", spans=back.processor) as play:
        await play.add("owl", {"": 1.0})
        async with (
            play.house.door() as behind,
            open_house(
                settings(tmp_path / "front", discovery__enabled=False), spans=front.processor
            ) as house,
            house.door() as door,
            aiohttp.ClientSession(door.url) as session,
        ):
            added = {"path": f"{behind.url}#owl", "name": "owl"}
            async with session.post("/control/v1/models", json=added) as got:
                assert got.status == 200, await got.text()
                await got.read()
            asked = {"model": "owl", "messages": [{"role": "user", "content": "hello"}]}
            async with session.post("/v1/chat/completions", json=asked) as got:
                assert got.status == 200, await got.text()
    engine = front.one("engine")
    assert said(engine)["server.address"] == "127.0.0.1"
    requests = [span for span in back.all() if span.name.startswith("chat owl")]
    assert [ids(span)[0] for span in requests] == [ids(engine)[0]]
    assert requests[0].parent is not None
    assert requests[0].parent.span_id == ids(engine)[1]
