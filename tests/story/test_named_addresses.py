"""An address that a person names to a running house: understood, or refused before it is kept."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.story.houses import Running, running


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path / "data") as house:
        yield house


async def _refused(house: Running, path: str, body: dict[str, str]) -> str:
    async with house.session.post(f"{house.url}/control/v1{path}", json=body) as got:
        assert got.status == 400, await got.text()
        return await got.text()


async def test_an_address_with_a_password_is_neither_kept_nor_repeated(house: Running) -> None:
    # H7 of the review: it went into the ledger, and nothing is ever taken out of that
    url = "http://me:hunter2@127.0.0.1:9"
    told = await _refused(house, "/models", {"path": f"{url}#owl", "name": "owl"})
    told += await _refused(house, "/pull", {"model": "owl", "url": url})
    assert "no password" in told
    assert "hunter2" not in told
    assert (await house.control("GET", "/ledger"))["entries"] == []


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("ftp://box#owl", "begins with http"),
        ("http://#owl", "names no host"),
        ("HTTP://127.0.0.1:9", "names a server, not a model"),
    ],
)
async def test_what_is_no_address_of_a_model_is_not_taken_for_a_file(
    house: Running, path: str, why: str
) -> None:
    assert why in await _refused(house, "/models", {"path": path, "name": "owl"})
