"""V4 and V5: memory against a staircase of known height, and files that several processes map."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, Process
from itertools import pairwise
from pathlib import Path
from typing import Final

from arbiter.clock import Clock
from arbiter.hardware.found import Hardware
from arbiter.metering.memory import mapped
from arbiter.metering.meter import Meter
from arbiter.metering.process import ProcessReader
from arbiter.studies.checks import Check, judged, not_verified, off_pct

_STAIRS: Final = """
import json, sys, time
MB, size, stay = 1 << 20, int(sys.argv[1]), float(sys.argv[2])
def held():
    found = {}
    for line in open("/proc/self/status"):
        key, _, rest = line.partition(":")
        if key in ("RssAnon", "RssFile", "VmHWM", "VmSwap"):
            found[key] = int(rest.split()[0]) * 1024
    return found
print("ready", flush=True); sys.stdin.readline()
steps, blocks = [], []
def note():
    now = held()
    steps.append((time.monotonic(), now["RssAnon"] + now.get("VmSwap", 0) + now["RssFile"]))
def step(change):
    note()
    if change > 0:
        blocks.append(bytearray(size * MB))
        for at in range(0, size * MB, 4096): blocks[-1][at] = 1
    elif change < 0: blocks.pop()
    note()
    time.sleep(stay)
step(0)
for change in (1, 1, 1, 1, -1, -1, 1, -1, -1, -1): step(change)
note()
print(json.dumps({"steps": steps, "most": held()["VmHWM"]}), flush=True)
sys.stdin.readline()
"""

_MAPS: Final = """
import mmap, sys
with open(sys.argv[1], "rb") as file:
    view = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
sum(view[at] for at in range(0, len(view), 4096))
print("ready", flush=True); sys.stdin.readline()
"""

_HAS_SMAPS: Final = Path("/proc/self/smaps").exists()


async def _start(code: str, *words: str) -> Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-S", "-c", code, *words, stdin=PIPE, stdout=PIPE, stderr=DEVNULL
    )
    if process.stdout is not None:
        await process.stdout.readline()
    return process


async def check_v4(clock: Clock, *, size_mb: int = 64, stay_s: float = 0.3) -> Check:
    """Average and peak of a staircase, by the meter's own samples."""
    title = "Memory on average and at its peak"
    if not _HAS_SMAPS:
        return not_verified("V4", title, limit_pct=5.0, why="it needs /proc")
    process = await _start(_STAIRS, str(size_mb), str(stay_s))
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("a child without pipes")
    meter = Meter(Hardware(), clock=clock, reader=ProcessReader())
    meter.open()
    crowd = await meter.attend(process.pid)
    ticket = crowd.begin()
    process.stdin.write(b"go\n")
    told = json.loads(await process.stdout.readline())
    crowd.end(ticket)
    await meter.close()
    await process.communicate(b"\n")
    cost = ticket.cost
    if cost is None or cost.mean_bytes.value is None or cost.peak_bytes.value is None:
        why = "no memory could be read" if cost is None else cost.mean_bytes.note or ""
        return not_verified("V4", title, limit_pct=5.0, why=why)
    mean = _mean(told["steps"])
    errors = {
        "mean": off_pct(cost.mean_bytes.value, mean),
        "peak": off_pct(cost.peak_bytes.value, told["most"]),
    }
    return judged(
        "V4",
        title,
        error_pct=max(errors.values()),
        limit_pct=5.0,
        why=f"mean off by {errors['mean']:.2f} %, peak by {errors['peak']:.2f} % of VmHWM; what "
        "lasts less than a sample of 100 ms may be missed",
    )


def _mean(steps: list[tuple[float, int]]) -> float:
    """Of what was noted before and after each step: on a line from one to the next."""
    whole = steps[-1][0] - steps[0][0]
    area = sum((a + b) / 2 * (later - at) for (at, a), (later, b) in pairwise(steps))
    return area / whole


async def check_v5(*, processes: int = 3, size_mb: int = 32) -> Check:
    """One file that several processes map, then another one in its place."""
    title = "Mapped weights, counted once a file"
    if not _HAS_SMAPS:
        return not_verified("V5", title, limit_pct=1.0, why="it needs /proc/PID/smaps")
    size = size_mb << 20
    with tempfile.TemporaryDirectory(prefix="arbiter-check-") as folder:
        path = Path(folder) / "weights"
        path.write_bytes(b"w" * size)
        started = [await _start(_MAPS, str(path)) for _ in range(processes)]
        once = _seen(started, str(path))
        # replaced under its name: another file, which counts beside the one that is still mapped
        other = Path(folder) / "other"
        other.write_bytes(b"v" * size)
        other.replace(path)
        started.append(await _start(_MAPS, str(path)))
        both = _seen(started, str(path))
        for process in started:
            await process.communicate(b"\n")
    errors = (off_pct(once, size), off_pct(both, 2 * size))
    return judged(
        "V5",
        title,
        error_pct=max(errors),
        limit_pct=1.0,
        why=f"{processes} processes and one file: off by {errors[0]:.3f} %; another file in its "
        f"place: {errors[1]:.3f} %",
    )


def _seen(started: list[Process], path: str) -> int:
    found = mapped(process.pid for process in started)
    return sum(one.once_bytes for one in found.values() if one.path.startswith(path))
