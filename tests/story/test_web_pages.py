"""A web page that is listed in the settings asks a whole house."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest
from tests.story.stage import stage

from arbiter.errors import ConfigError

PAGE = "http://localhost:3000"


async def test_a_listed_page_asks_and_judges_and_another_does_not(tmp_path: Path) -> None:
    async with stage(tmp_path / "data", door__allowed_origins=[PAGE]) as play:
        await play.add("owl", {"chat": 1.0})
        async with play.house.door() as address, aiohttp.ClientSession(address.url) as session:
            body = {"model": "auto", "messages": [{"role": "user", "content": "chat a"}]}
            url = "/v1/chat/completions"
            async with session.post(url, json=body, headers={"Origin": PAGE}) as got:
                assert (got.status, got.headers["access-control-allow-origin"]) == (200, PAGE)
                decision = got.headers["x-request-id"]
            judging = f"/control/v1/decisions/{decision}/feedback"
            async with session.post(judging, json={"score": 1}, headers={"Origin": PAGE}) as got:
                assert (got.status, got.headers["access-control-allow-origin"]) == (200, PAGE)
            other = {"Origin": "https://evil.example"}
            async with session.post(url, json=body, headers=other) as got:
                assert got.status == 403
            made = {"name": "page"}
            async with session.post("/control/v1/keys", json=made, headers={"Origin": PAGE}) as got:
                assert got.status == 403


@pytest.mark.security("S-03")
async def test_a_house_without_keys_does_not_open_to_every_page(tmp_path: Path) -> None:
    async with stage(tmp_path / "data", door__allowed_origins=["*"]) as play:
        with pytest.raises(ConfigError, match="there is no key"):
            async with play.house.door():
                pass
