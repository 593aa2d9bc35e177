"""Fixtures of the contracts over a real file."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.contract.knowledge_room import Room, opened


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "arbiter.db"


@pytest.fixture
async def room(path: Path) -> AsyncIterator[Room]:
    async with opened(path) as found:
        yield found
