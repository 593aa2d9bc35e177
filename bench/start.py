"""How long `arbiter up` takes to its first answer on an empty data directory, and what it holds."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import aiohttp
import psutil
from bench.figures import Figure, median
from bench.programs import Program, bare_house, url_of

from arbiter.metering.process import kernel_cpu_ns

AREA = "start"


async def _once() -> tuple[float, float, float]:
    """Seconds to the first answer, CPU seconds until then, and megabytes held."""
    with tempfile.TemporaryDirectory(prefix="arbiter-bench-") as folder:
        begun = time.perf_counter()
        async with bare_house(Path(folder) / "data") as house:
            await _answered(house)
            took = time.perf_counter() - begun
            cpu = kernel_cpu_ns(house.pid) / 1e9
            return took, cpu, psutil.Process(house.pid).memory_info().rss / 1e6


async def _answered(house: Program) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{url_of(house.where)}/healthz") as got,
    ):
        if got.status != 200:
            raise RuntimeError(f"/healthz says {got.status}")


async def measure(rounds: int) -> list[Figure]:
    """The figures of a start, medians of so many after one that warms the file cache."""
    await _once()
    found = [await _once() for _ in range(rounds)]
    how = f"`arbiter up` on an empty data directory, median of {rounds} after one unmeasured"
    return [
        Figure(
            area=AREA,
            name="spawn to the first 200 of /healthz",
            value=median([took for took, _, _ in found]),
            unit="s",
            target=1.5,
            method=f"{how}; wall clock, so a busy machine shows",
        ),
        Figure(
            area=AREA,
            name="CPU until then",
            value=median([cpu for _, cpu, _ in found]),
            unit="s",
            method=f"{how}; the process's own CPU clock",
        ),
        Figure(
            area=AREA,
            name="resident memory then",
            value=median([held for _, _, held in found]),
            unit="MB",
            target=120.0,
            method=f"{how}; VmRSS of the process",
        ),
    ]
