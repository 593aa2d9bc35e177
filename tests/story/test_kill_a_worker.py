"""SIGKILL of a model's worker while it serves."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.story.houses import MODELS, alive, house_with, kill

from arbiter.house import House
from arbiter.refs import parse_name


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


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A stream that was cut, and what became of those that waited."""

    decision: str
    last: dict[str, Any]
    answers: list[dict[str, Any]]
    pid: int


async def _whole(session: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> dict[str, Any]:
    async with session.post(f"{url}/v1/chat/completions", json=body) as got:
        answer: dict[str, Any] = await got.json()
        assert got.status == 200, answer
        return answer


async def _cut(house: House, session: aiohttp.ClientSession, url: str) -> Cut:
    """A stream whose worker is killed in the middle, with four requests that wait meanwhile.

    The worker is quick: where it had said everything before the kill arrived, it is done again.
    """
    for _ in range(30):
        await _whole(session, url, _body(model="endless", stream=False, tokens=2))
        endless = house.registry.resolve(parse_name("endless")).version
        pid = next(v.pid for v in house.pool.views() if v.version == endless)
        assert pid is not None
        body = _body(model="endless", stream=True, tokens=490)
        async with session.post(f"{url}/v1/chat/completions", json=body) as begun:
            assert (await begun.content.readline()).startswith(b"data: ")
            kill(pid)
            waiting = [
                asyncio.create_task(
                    _whole(session, url, _body(model=model, stream=False, tokens=4))
                )
                for model in ("endless", "endless", "owl", "endless")
            ]
            rest = await begun.content.read()
            answers = await asyncio.gather(*waiting)
            if b"[DONE]" not in rest:
                return Cut(
                    decision=begun.headers["x-arbiter-decision"],
                    last=json.loads(rest.splitlines()[-2].removeprefix(b"data: ")),
                    answers=answers,
                    pid=pid,
                )
    raise AssertionError("thirty streams were whole before their worker was gone")


@pytest.mark.security("S-17")
async def test_a_begun_stream_gets_an_error_event_and_everybody_else_an_answer(
    house: House,
) -> None:
    async with house.door() as address, aiohttp.ClientSession() as session:
        cut = await _cut(house, session, address.url)
    assert cut.last["error"]["code"] == "stream_cut"
    assert cut.last["arbiter"]["ours"] is False
    assert [bool(answer["choices"][0]["message"]) for answer in cut.answers] == [True] * 4
    assert not alive(cut.pid)
    record = await house.record(cut.decision)
    assert record.outcome is not None
    assert (record.outcome.status, record.outcome.error) == ("failure", "stream_cut")


@pytest.mark.security("S-17")
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
