"""What the commands send: a change that rests on what was read is made only if it still stands."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest

from arbiter.app import open_house
from arbiter.cli.client import Client
from arbiter.config import load_settings
from arbiter.errors import ArbiterError


async def test_what_somebody_changed_meanwhile_is_not_written_over(tmp_path: Path) -> None:
    settings = load_settings(
        environment={}, overrides={"data_dir": str(tmp_path / "data"), "door.port": 0}
    )
    async with (
        open_house(settings) as house,
        house.door() as address,
        aiohttp.ClientSession() as session,
    ):
        client = Client(session=session, url=address.url, own=False)

        async def put(threshold: float, still: str | None = None) -> object:
            told = client.lines("PUT", "/tasks/sums", {"threshold": threshold}, still=still)
            return [line async for line in told][-1]["result"]

        read = await put(0.5)
        assert isinstance(read, dict)
        await put(0.6)
        with pytest.raises(ArbiterError, match="changed"):
            await put(0.7, still=read["etag"])
        assert (await client.call("GET", "/tasks/sums"))["threshold"] == 0.6
