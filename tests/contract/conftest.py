"""Fixtures of the contracts: a real file, a quiet machine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.contract.knowledge_room import Room, opened

from arbiter.studies.check_energy import quiet_machine


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "arbiter.db"


@pytest.fixture
async def room(path: Path) -> AsyncIterator[Room]:
    async with opened(path) as found:
        yield found


@pytest.fixture(name="proc")
def fixture_proc() -> Iterator[Path]:
    """The /proc of a machine on which nothing runs."""
    with quiet_machine() as proc:
        yield proc
