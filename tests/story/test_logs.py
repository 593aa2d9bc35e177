"""What a house writes to its log: a line a request, a line for what happens, and never a prompt."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.story.houses import MODELS, Running, running
from tests.story.stage import stage, task

from arbiter.engines.base import LoadSpec, Runner
from arbiter.engines.scripted import Scripted, ScriptedRunner
from arbiter.errors import EngineError, UnknownDecision
from arbiter.inference import Chat, Chunk, Delta, Generation
from arbiter.logs import JsonLines, TextLines

SECRET = "marmalade-4711"
KEY = "a-key-that-nobody-may-read-4711"
CHAT = {"messages": [{"role": "user", "content": SECRET}], "max_tokens": 5}

ASKED: tuple[tuple[str, dict[str, Any]], ...] = (
    ("/v1/chat/completions", {"model": "sparrow", **CHAT}),
    ("/v1/chat/completions", {"model": "sparrow", "stream": True, **CHAT}),
    ("/v1/chat/completions", {"model": "sparrow", "temperature": 99, **CHAT}),
    ("/v1/chat/completions", {"model": f"{SECRET}", **CHAT}),
    ("/v1/chat/completions", {"model": "sparrow", "messages": SECRET}),
    ("/v1/completions", {"model": "sparrow", "prompt": SECRET, "max_tokens": 5}),
    ("/v1/responses", {"model": "sparrow", "input": SECRET, "max_output_tokens": 5}),
    ("/v1/embeddings", {"model": "sparrow", "input": SECRET}),
    ("/v1/messages", {"model": "sparrow", **CHAT}),
    ("/api/chat", {"model": "sparrow", **CHAT}),
    ("/api/generate", {"model": "sparrow", "prompt": SECRET}),
    ("/v1/" + SECRET, {}),
)


async def asked(house: Running) -> list[int]:
    found = []
    headers = {"Authorization": f"Bearer {KEY}"}
    for path, body in ASKED:
        async with house.session.post(f"{house.url}{path}", json=body, headers=headers) as got:
            await got.read()
            found.append(got.status)
    async with house.session.get(f"{house.url}/v1/models", headers={"x-api-key": SECRET}) as got:
        found.append(got.status)
    return found


@pytest.mark.parametrize("form", ["json", "text"])
async def test_no_prompt_and_no_key_is_in_the_log_of_a_house_at_its_lowest_level(
    tmp_path: Path, form: str
) -> None:
    config, log = tmp_path / "arbiter.toml", tmp_path / "log"
    text = f'[log]\nformat = "{form}"\nlevel = "debug"\n[door]\nkeys = ["{KEY}"]\n'
    config.write_text(text, encoding="utf-8")
    with log.open("wb") as stream:
        async with running(tmp_path / "data", config, log=stream) as house:
            added = {"path": str(MODELS / "sparrow.gguf"), "name": "sparrow"}
            url = f"{house.url}/control/v1/models"
            async with house.session.post(
                url, json=added, headers={"Authorization": f"Bearer {KEY}"}
            ) as got:
                assert got.status == 200
                await got.read()
            statuses = await asked(house)
    assert statuses.count(200) >= 6
    assert 401 in statuses
    told = log.read_text(encoding="utf-8")
    assert SECRET not in told
    assert KEY not in told
    assert "request success" in told
    assert "instance.ready" in told
    if form == "json":
        lines = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
        assert {"time", "level", "logger", "message"} <= lines[0].keys()
        ended = [line for line in lines if line["logger"] == "arbiter.requests"]
        assert len(ended) == statuses.count(200)
        assert all(line["decision"].startswith("dec_") for line in ended)
        assert {line["alias"] for line in ended} == {"sparrow"}
        assert all(line["latency_ms"] > 0 and line["tokens_out"] >= 0 for line in ended)
        refused = [line for line in lines if line["message"] == "request refused"]
        assert {"unauthorized", "model_not_found"} <= {line["error"] for line in refused}


class _Quoting(ScriptedRunner):
    """A model whose engine repeats what it was asked when it fails."""

    async def generate(self, request: Generation) -> AsyncGenerator[Chunk, None]:
        if isinstance(request.work, Chat):
            raise EngineError(f"cannot answer {request.work.messages[-1].content!r}")
        yield Delta(text="")


class _Engine(Scripted):
    async def load(self, spec: LoadSpec) -> Runner:
        return _Quoting(spec, reply=lambda _: ())


async def test_a_request_is_found_again_by_what_its_sender_called_it_and_by_its_answers_id(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with stage(tmp_path / "data") as play:
        await play.add("owl", {"chat": 1.0})
        async with play.house.door() as address, aiohttp.ClientSession(address.url) as session:
            ids = []
            for model in ("owl", "ghost"):
                async with session.post(
                    "/v1/chat/completions",
                    json={"model": model, **CHAT},
                    headers={"X-Request-Id": f"job-{model}"},
                ) as got:
                    ids.append(got.headers["x-request-id"])
        answered, refused = ids
        assert (await play.house.record(answered)).decided.decision == answered
        with pytest.raises(UnknownDecision, match="Nothing was decided on this request"):
            await play.house.record(refused)
    lines = [json.loads(JsonLines().format(record)) for record in caplog.records]
    named = {one["client_request_id"]: one for one in lines if "client_request_id" in one}
    assert named["job-owl"]["decision"] == answered
    assert named["job-ghost"]["request_id"] == refused


async def test_what_an_engine_says_of_a_prompt_stays_out_of_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    decisions: list[str] = []
    async with stage(tmp_path / "data", engine=_Engine()) as play:
        await play.add("owl", {"chat": 1.0})
        async with play.house.door() as address, aiohttp.ClientSession(address.url) as session:
            for stream in (True, False):
                body = {"model": "owl", "stream": stream, **CHAT}
                async with session.post("/v1/chat/completions", json=body) as got:
                    assert got.status == 502
                    decisions.append(got.headers["x-arbiter-decision"])
        decision = decisions[-1]
        found = await play.house.record(decision)
    assert found.outcome is not None
    assert SECRET in str(found.outcome.detail), "whoever runs the house can read it there"
    assert decision in "".join(map(JsonLines().format, caplog.records))
    for lines in (JsonLines(), TextLines()):
        assert SECRET not in "".join(map(lines.format, caplog.records))


async def test_every_step_of_a_rollout_has_a_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with stage(tmp_path / "data") as play:
        await play.add("old", {"chat": 0.9})
        await play.add("new", {"chat": 0.9})
        await play.alias("primary", "old")
        await play.house.admission.add_task(task("chat", cases=0))
        rollout = await play.swap("primary", "new", soak_s=3600.0)
        await play.ask()
        await play.house.controller.abort(rollout, why="enough", who="test")
        await play.tick()
    said = [one.getMessage() for one in caplog.records if one.name == "arbiter.events"]
    assert "rollout.started" in said
    assert "rollout.aborted" in said
    assert "instance.loading" in said
