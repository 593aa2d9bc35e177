"""How long a worker takes to load a shipped model, and what it then holds."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from bench.figures import Figure, median
from bench.programs import LLAMA, SPARROW, worker

from arbiter.metering.process import ProcessReader

AREA = "worker"


async def measure(rounds: int) -> list[Figure]:
    """The figures of a load, medians of so many after one that warms the file cache."""
    took: list[float] = []
    held: list[float] = []
    for _ in range(rounds + 1):
        with tempfile.TemporaryDirectory(prefix="arbiter-bench-") as folder:
            begun = time.perf_counter()
            async with worker(LLAMA, Path(folder) / "w", slots=4) as program:
                took.append(time.perf_counter() - begun)
                total = ProcessReader().footprint(program.pid).total_bytes
                if total is not None:
                    held.append(total / 1e6)
    how = (
        f"{SPARROW.name}, {SPARROW.stat().st_size / 1e6:.1f} MB, 4 slots of 64 tokens, "
        f"median of {rounds} after one unmeasured"
    )
    return [
        Figure(area=AREA, name="spawn to loaded", value=median(took[1:]), unit="s",
               method=f"{how}; wall clock, Python's start included"),
        Figure(area=AREA, name="memory then", value=median(held[1:]), unit="MB",
               method=f"{how}; RssAnon + swap + RssFile"),
    ]  # fmt: skip
