"""A house that is told to stop: what runs goes on to its end, for as long as it may."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from tests.contract.engines_support import HAS_LLAMA, demo_model, never_ending, saved
from tests.story.houses import Running, alive, running

pytestmark = pytest.mark.skipif(not HAS_LLAMA, reason="llama.cpp is not installed")

LONG, ENDLESS = 600, 4_000
"""Tokens: some seconds of writing, and more than a stop has patience for."""


def _config(folder: Path, *, drain_s: float) -> Path:
    config = folder / "arbiter.toml"
    config.write_text(
        f"[door]\ndrain_s = {drain_s}\n[calibration]\nenabled = false\n", encoding="utf-8"
    )
    return config


async def _told_to_stop_in_an_answer(house: Running, folder: Path, *, tokens: int) -> list[str]:
    """What of a stream comes after the house was told to stop; it is over when this returns."""
    model = saved(folder / "endless.gguf", never_ending(demo_model().read_bytes()))
    async with house.session.post(
        f"{house.url}/control/v1/models", json={"path": str(model), "name": "endless"}
    ) as got:
        assert got.status == 200, await got.text()
        await got.read()
    body = {
        "model": "endless",
        "messages": [{"role": "user", "content": "go on"}],
        "max_tokens": tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    async with house.session.post(f"{house.url}/v1/chat/completions", json=body) as got:
        assert (await got.content.readline()).startswith(b"data: ")
        (shown,) = (await house.control("GET", "/instances"))["instances"]
        house.process.send_signal(signal.SIGTERM)
        lines = (await got.content.read()).decode().splitlines()
    assert await house.process.wait() == 0
    assert not alive(shown["pid"])
    return [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]


async def test_an_answer_that_runs_is_whole_though_the_house_was_told_to_stop(
    tmp_path: Path,
) -> None:
    async with running(tmp_path / "data", _config(tmp_path, drain_s=60.0)) as house:
        *_, usage, end = await _told_to_stop_in_an_answer(house, tmp_path, tokens=LONG)
    assert end == "[DONE]"
    assert json.loads(usage)["usage"]["completion_tokens"] == LONG


async def test_an_answer_that_outlasts_the_stop_ends_with_an_error_and_so_does_its_worker(
    tmp_path: Path,
) -> None:
    async with running(tmp_path / "data", _config(tmp_path, drain_s=0.1)) as house:
        *_, end = await _told_to_stop_in_an_answer(house, tmp_path, tokens=ENDLESS)
    assert json.loads(end)["error"]["code"] == "shutting_down"
