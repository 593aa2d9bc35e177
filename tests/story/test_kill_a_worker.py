"""SIGKILL of a model's worker while it serves."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.story.houses import MODELS, alive, house_with, kill

from arbiter.app import House


def endless(folder: Path) -> Path:
    """A shipped model that does not know how to stop: its end token is one that it never says."""
    raw = (MODELS / "sparrow.gguf").read_bytes()
    for key in (b"tokenizer.ggml.eos_token_id", b"tokenizer.ggml.eot_token_id"):
        at = raw.find(key)
        if at >= 0:
            value = at + len(key) + 4  # after the key comes its type, uint32
            raw = raw[:value] + struct.pack("<I", 0) + raw[value + 4 :]
    path = folder / "endless.gguf"
    path.write_bytes(raw)
    return path


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with house_with(tmp_path / "data", ["owl"], [], pool__slots=1) as house:
        await house.add(endless(tmp_path), "endless")
        yield house


def _body(*, model: str, stream: bool, tokens: int) -> dict[str, Any]:
    return {
        "model": model,
        "messages": [{"role": "user", "content": "Review: the soup was great."}],
        "max_tokens": tokens,
        "temperature": 0,
        "stream": stream,
    }


async def _whole(session: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> dict[str, Any]:
    async with session.post(f"{url}/v1/chat/completions", json=body) as got:
        answer: dict[str, Any] = await got.json()
        assert got.status == 200, answer
        return answer


async def test_a_begun_stream_gets_an_error_event_and_everybody_else_an_answer(
    house: House,
) -> None:
    async with house.door() as address, aiohttp.ClientSession() as session:
        url = address.url
        await _whole(session, url, _body(model="endless", stream=False, tokens=4))
        pid = next(v.pid for v in house.pool.views() if v.pid is not None)
        body = _body(model="endless", stream=True, tokens=450)
        async with session.post(f"{url}/v1/chat/completions", json=body) as begun:
            first = await begun.content.readline()
            assert first.startswith(b"data: ")
            waiting = [
                asyncio.create_task(
                    _whole(session, url, _body(model=model, stream=False, tokens=4))
                )
                for model in ("endless", "endless", "owl", "endless")
            ]
            kill(pid)
            rest = await begun.content.read()
            answers = await asyncio.gather(*waiting)
        last = json.loads(rest.splitlines()[-2].removeprefix(b"data: "))
        assert last["error"]["code"] == "stream_cut"
        assert last["arbiter"]["ours"] is False
        assert b"[DONE]" not in rest
        assert [bool(answer["choices"][0]["message"]) for answer in answers] == [True] * 4
        fresh = next(v for v in house.pool.views() if v.loads > 1)
        assert fresh.pid != pid
        assert not alive(pid)


async def test_requests_that_had_not_begun_are_served_by_a_fresh_instance(house: House) -> None:
    async with house.door() as address, aiohttp.ClientSession() as session:
        url = address.url
        await _whole(session, url, _body(model="owl", stream=False, tokens=2))
        for _ in range(3):
            view = next(v for v in house.pool.views() if v.pid is not None)
            assert view.pid is not None
            kill(view.pid)
            answers = await asyncio.gather(
                *(
                    _whole(session, url, _body(model="owl", stream=False, tokens=3))
                    for _ in range(6)
                )
            )
            assert len(answers) == 6


async def test_the_outcome_of_a_cut_stream_is_a_failure_of_that_version(house: House) -> None:
    async with house.door() as address, aiohttp.ClientSession() as session:
        body = _body(model="endless", stream=True, tokens=450)
        async with session.post(f"{address.url}/v1/chat/completions", json=body) as begun:
            decision = begun.headers["x-arbiter-decision"]
            await begun.content.readline()
            pid = next(v.pid for v in house.pool.views() if v.pid is not None)
            kill(pid)
            await begun.content.read()
        record = await house.record(decision)
        assert record.outcome is not None
        assert (record.outcome.status, record.outcome.error) == ("failure", "stream_cut")
