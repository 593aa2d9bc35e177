"""What OpenTelemetry sees of a house: requests, what they wait for, and what happens to models."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest
from opentelemetry.trace import SpanKind, StatusCode
from tests.story.stage import Stage, stage, task
from tests.story.traced import Kept, ids, said

from arbiter.engines.scripted import Die, Hold, Say, Scripted
from arbiter.errors import StreamCut, UnknownModel
from arbiter.logs import JsonLines

SECRET = "marmalade-4711"
STEPS = {"unproven_first_step": 0.3, "steps": [0.5], "min_steps": 1, "soak_s": 3600.0}


async def furnished(play: Stage) -> None:
    await play.add("owl", {"chat": 1.0})
    await play.house.admission.add_task(task("chat", cases=0))


async def streamed(play: Stage) -> None:
    async with play.house.stream("chat now", model="owl") as reply:
        async for _ in reply.chunks():
            pass


async def test_a_request_is_a_span_with_what_it_waited_for_below_it(tmp_path: Path) -> None:
    kept = Kept()
    async with stage(tmp_path / "data", spans=kept.processor) as play:
        await furnished(play)
        await play.ask(model="owl")
        decided = play.decided[-1]
    request = kept.one("chat owl")
    assert request.kind is SpanKind.SERVER
    assert request.status.status_code is StatusCode.UNSET
    found = said(request)
    assert {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "arbiter",
        "gen_ai.request.model": "owl",
        "gen_ai.response.model": "owl",
        "gen_ai.response.id": decided.decision,
        "gen_ai.response.finish_reasons": ("stop",),
        "arbiter.decision": decided.decision,
        "arbiter.task": "chat",
        "arbiter.version": decided.version,
        "arbiter.arm": "none",
        "arbiter.status": "success",
    }.items() <= found.items()
    assert isinstance(found["gen_ai.usage.input_tokens"], int)
    assert isinstance(found["gen_ai.usage.output_tokens"], int)
    assert kept.below(request) == ["decide", "queue", "engine"]
    assert said(kept.one("engine"))["arbiter.version"] == decided.version
    assert kept.one("engine").kind is SpanKind.CLIENT
    assert request.start_time is not None
    assert request.end_time is not None
    assert request.start_time <= request.end_time


async def test_a_line_of_the_log_leads_to_its_trace(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = Kept()
    caplog.set_level(logging.INFO, logger="arbiter.requests")
    async with stage(tmp_path / "data", spans=kept.processor) as play:
        await furnished(play)
        await play.ask(model="owl")
    (line,) = [one for one in caplog.records if one.name == "arbiter.requests"]
    found = json.loads(JsonLines().format(line))
    trace, span = ids(kept.one("chat owl"))
    assert (int(found["trace_id"], 16), int(found["span_id"], 16)) == (trace, span)
    assert (len(found["trace_id"]), len(found["span_id"])) == (32, 16)


async def test_without_traces_a_line_of_the_log_names_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="arbiter.requests")
    async with stage(tmp_path / "data") as play:
        await furnished(play)
        await play.ask(model="owl")
    assert [one for one in caplog.records if "trace_id" in JsonLines().format(one)] == []


async def test_a_load_that_a_request_waits_for_is_told_twice_over(tmp_path: Path) -> None:
    """Below the request that waited, and as what happened to the model."""
    kept, gate = Kept(), asyncio.Event()
    engine = Scripted(load_gate=gate)
    async with stage(tmp_path / "data", spans=kept.processor, engine=engine) as play:
        await furnished(play)
        asked = asyncio.create_task(play.ask(model="owl"))
        while not engine.loads:
            await play.house.database.settle()
        play.clock.jump(2.0)
        gate.set()
        await asked
    request = kept.one("chat owl")
    assert kept.below(request) == ["decide", "queue", "load", "engine"]
    for load in kept.named("load"):
        assert load.end_time is not None
        assert load.start_time is not None
        assert load.end_time - load.start_time >= 1_999_000_000
    assert len(kept.named("load")) == 2


async def test_texts_and_vectors_have_their_own_words(tmp_path: Path) -> None:
    kept = Kept()
    async with stage(tmp_path / "data", spans=kept.processor) as play:
        await furnished(play)
        async with play.house.door() as address, aiohttp.ClientSession(address.url) as session:
            asked = {"model": "owl", "prompt": "chat once", "max_tokens": 5, "temperature": 0.5}
            async with session.post("/v1/completions", json=asked) as got:
                assert got.status == 200
        with pytest.raises(Exception, match="embedding"):
            await play.house.embed(["a"], model="owl")
    found = said(kept.one("text_completion owl"))
    assert found["gen_ai.request.max_tokens"] == 5
    assert found["gen_ai.request.temperature"] == 0.5
    assert said(kept.one("embeddings owl"))["gen_ai.operation.name"] == "embeddings"


async def test_a_stream_tells_when_its_first_piece_came(tmp_path: Path) -> None:
    kept = Kept()
    async with stage(tmp_path / "data", spans=kept.processor) as play:
        await furnished(play)
        await streamed(play)
    found = said(kept.one("chat owl"))
    assert found["gen_ai.request.stream"] is True
    assert found["gen_ai.response.time_to_first_chunk"] == 0.0


async def test_the_trace_of_a_client_goes_on_in_the_house(tmp_path: Path) -> None:
    kept = Kept()
    trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    async with stage(tmp_path / "data", spans=kept.processor) as play:
        await furnished(play)
        async with play.house.door() as address, aiohttp.ClientSession(address.url) as session:
            asked = {"model": "owl", "messages": [{"role": "user", "content": "chat a"}]}
            headers = {"traceparent": f"00-{trace}-{span}-01", "x-request-id": "job-7"}
            for odd in ({}, {"traceparent": "00-nonsense"}, headers):
                async with session.post("/v1/chat/completions", json=asked, headers=odd) as got:
                    assert got.status == 200
    own, other, joined = kept.named("chat owl")
    assert joined.parent is not None
    assert (f"{ids(joined)[0]:032x}", f"{joined.parent.span_id:016x}") == (trace, span)
    assert own.parent is None
    assert other.parent is None
    assert said(joined)["arbiter.client_request_id"] == "job-7"
    assert "arbiter.client_request_id" not in said(own)


async def test_what_was_asked_and_answered_is_not_recorded(tmp_path: Path) -> None:
    kept = Kept()
    async with stage(tmp_path / "data", spans=kept.processor) as play:
        await furnished(play)
        await play.house.ask(f"chat {SECRET}", model="owl")
        with pytest.raises(UnknownModel):
            await play.house.ask(SECRET, model=f"no-{SECRET[:9]}")
    told = repr([(span.name, said(span), span.events, span.status) for span in kept.all()])
    assert SECRET not in told


async def test_it_is_recorded_when_the_settings_say_so(tmp_path: Path) -> None:
    kept = Kept()
    async with stage(
        tmp_path / "data", spans=kept.processor, telemetry__record_content=True
    ) as play:
        await furnished(play)
        answered = await play.house.ask(f"chat {SECRET}", model="owl")
    found = said(kept.one("chat owl"))
    assert SECRET in str(found["gen_ai.input.messages"])
    assert answered.text in str(found["gen_ai.output.messages"])


async def test_a_request_that_nobody_can_serve_is_told_with_its_code(tmp_path: Path) -> None:
    kept = Kept()
    async with stage(tmp_path / "data", spans=kept.processor) as play:
        await furnished(play)
        with pytest.raises(UnknownModel):
            await play.house.ask("chat", model="nobody")
    found = kept.one("chat nobody")
    assert said(found)["error.type"] == "model_not_found"
    assert said(found)["arbiter.status"] == "refused"
    # the client's mistake is no error of this server
    assert found.status.status_code is StatusCode.UNSET


DIES = [
    {"match": "live", "reply": "no", "die_after_tokens": 0},
    {"match": "^chat ", "right": "yes", "wrong": "no", "accuracy": 1.0, "salt": "rat"},
]


async def test_a_version_that_fails_and_the_one_that_serves_have_a_span_each(
    tmp_path: Path,
) -> None:
    kept = Kept()
    async with stage(tmp_path / "data", spans=kept.processor) as play:
        await play.house.admission.add_task(task("chat"))
        await play.add("owl", {"chat": 0.5})
        await play.add("rat", {}, rules=DIES)
        answered = await play.house.ask("chat live", model="auto", task="chat")
    served = answered.reply.decided
    (request,) = kept.named("chat task:chat")
    assert "failed" in served.reason
    assert said(request)["arbiter.version"] == served.version
    assert said(request)["arbiter.status"] == "success"
    assert "error.type" not in said(request)
    engines = [said(one) for one in kept.named("engine") if one.parent is not None]
    asked = [one for one in engines if "error.type" in one]
    assert asked
    assert {one["error.type"] for one in asked} == {"instance_lost"}
    assert served.version not in {one["arbiter.version"] for one in asked}
    assert kept.below(request)[-2:] == ["queue", "engine"]


async def test_a_client_that_hangs_up_ends_every_span(tmp_path: Path) -> None:
    kept, goes_on = Kept(), asyncio.Event()
    engine = Scripted(reply=lambda _: (Say("one"), Hold(goes_on), Say("two")))
    async with stage(tmp_path / "data", spans=kept.processor, engine=engine) as play:
        await play.add("owl", {"chat": 1.0})
        async with play.house.stream("chat now", model="owl") as reply:
            await anext(reply.chunks())
    request = kept.one("chat owl")
    assert said(request)["arbiter.status"] == "cancelled"
    assert request.status.status_code is StatusCode.UNSET
    assert kept.below(request) == ["decide", "queue", "engine"]


async def test_a_stream_that_breaks_off_is_told_with_its_code(tmp_path: Path) -> None:
    kept = Kept()
    engine = Scripted(reply=lambda _: (Say("one"), Die()))
    async with stage(tmp_path / "data", spans=kept.processor, engine=engine) as play:
        await play.add("owl", {"chat": 1.0})
        with pytest.raises(StreamCut):
            await streamed(play)
    for name in ("chat owl", "engine"):
        assert said(kept.one(name))["error.type"] == "stream_cut"
        assert kept.one(name).status.status_code is StatusCode.ERROR


async def test_a_rollout_is_a_span_with_its_steps_below_it(tmp_path: Path) -> None:
    kept = Kept()
    async with stage(tmp_path / "data", spans=kept.processor) as play:
        await play.add("old", {"chat": 0.9})
        await play.add("new", {"chat": 0.9})
        await play.alias("primary", "old")
        await play.house.admission.add_task(task("chat", cases=0))
        rollout = await play.swap("primary", "new", **STEPS)
        await play.ask()
        await play.tick()
        await play.house.controller.abort(rollout, why="enough", who="test")
        await play.tick()
    (span,) = kept.named("rollout primary")
    assert said(span)["arbiter.rollout"] == rollout
    assert said(span)["arbiter.phase"] == "aborted"
    steps = kept.below(span)
    assert steps[0] == "rollout.started"
    assert steps[-1] == "rollout.aborted"
    (request,) = kept.named("chat primary")
    assert said(request)["arbiter.rollout"] == rollout


def test_a_house_without_an_endpoint_never_imports_the_sdk(tmp_path: Path) -> None:
    # the API is there in any case: FastAPI brings it
    program = (
        "import asyncio, sys\n"
        "import arbiter\n"
        "async def main():\n"
        f"    async with arbiter.open({str(tmp_path / 'data')!r}, discovery__enabled=False) as h:\n"
        "        assert not h.dispatch.is_traced\n"
        "asyncio.run(main())\n"
        "wanted = ('opentelemetry.sdk', 'arbiter.tracing')\n"
        "print([name for name in sys.modules if name.startswith(wanted)])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"
