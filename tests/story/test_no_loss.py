"""The proof that ships, a short one: `make bench-noloss` runs the whole of it."""

from __future__ import annotations

import pytest

from arbiter.clock import SystemClock
from arbiter.demo.no_loss import prove
from arbiter.demo.streams import End

pytest.importorskip("xllamacpp", reason="llama.cpp is not installed")


async def test_no_stream_is_lost_over_swaps_evictions_unloads_and_kills() -> None:
    said: list[str] = []
    found = await prove(streams=400, clock=SystemClock(), say=said.append)
    assert found.faults == ()
    assert found.is_proved
    assert found.streams >= 400
    assert found.ends[End.WHOLE] >= 350
    assert found.done["promoted"] == found.done["undone"] >= 1
    assert found.done["killed"] >= 2
    assert found.done["one of two killed"] == found.done["one of two unloaded"] >= 1
    assert found.done["loaded again"] >= 2
    assert any("promoted" in line for line in said)
