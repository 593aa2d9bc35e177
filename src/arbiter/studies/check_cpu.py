"""V1 to V3: CPU time of process trees against what the kernel tells a parent of its children."""

from __future__ import annotations

import asyncio
import resource
import shutil
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from arbiter.clock import Clock
from arbiter.metering.process import ProcessReader
from arbiter.metering.tree import Member, ProcessTree, Table, read_table
from arbiter.studies.checks import Check, judged, not_verified, off_pct

BURN: Final = """
import os, subprocess, sys, threading, time
seconds, duty, kind = float(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
def burn(seconds, clock):
    began = clock()
    while clock() - began < seconds:
        mark = clock()
        while clock() - mark < 0.01: pass
        if duty < 1: time.sleep(0.01 * (1 - duty) / duty)
if kind == "grandchild":
    code = "import time\\nwhile time.process_time() < %r: pass" % (seconds / 2)
    for _ in range(2): subprocess.run([sys.executable, "-I", "-S", "-c", code])
elif kind == "threads":
    for _ in range(2):
        one = threading.Thread(target=burn, args=(seconds / 2, time.thread_time))
        one.start(); one.join()
else:
    burn(seconds, time.process_time)
print("burnt", flush=True)
sys.stdin.read()
os._exit(0)
"""

_KINDS: Final = (
    ("alone", 1.0),
    ("alone", 0.2),
    ("threads", 0.5),
    ("grandchild", 1.0),
)
_HAS_PROC: Final = Path("/proc/self/stat").exists()
_TICKS_S: Final = 0.02
_TITLE: Final = "CPU time of a process with threads and children that end"


def _children_s() -> float:
    """What the children that ended and were asked after had used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


async def _spawn(seconds: float, duty: float, kind: str) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-S", "-c", BURN, str(seconds), str(duty), kind,
        stdin=PIPE, stdout=PIPE, stderr=DEVNULL,
    )  # fmt: skip


async def burnt(clock: Clock, *, seconds: float, duty: float, kind: str) -> tuple[float, float]:
    """CPU seconds of a child that burns: as the meter saw them, and as the kernel says."""
    before = _children_s()
    process = await _spawn(seconds, duty, kind)
    tree = ProcessTree(process.pid, read_cpu=ProcessReader().cpu_ns)
    seen = 0
    if process.stdout is None or process.stdin is None:
        raise RuntimeError("a child without pipes")
    line = asyncio.ensure_future(process.stdout.readline())
    while not line.done():
        tree.look(read_table())
        seen = tree.cpu_ns() or seen
        tick = asyncio.ensure_future(clock.sleep(0.1))
        await asyncio.wait({line, tick}, return_when=asyncio.FIRST_COMPLETED)
        tick.cancel()
    tree.look(read_table())
    seen = tree.cpu_ns() or seen
    process.stdin.close()
    await process.wait()
    return seen / 1e9, _children_s() - before


@asynccontextmanager
async def neighbours(count: int) -> AsyncIterator[None]:
    """Others that keep the processor busy."""
    busy = [await _spawn(600.0, 1.0, "alone") for _ in range(count)]
    try:
        yield
    finally:
        for one in busy:
            one.kill()
            await one.wait()


async def check_v1(clock: Clock, *, lengths: tuple[float, ...] = (0.05, 0.2, 1.0, 3.0)) -> Check:
    """Against rusage."""
    if not _HAS_PROC:
        return not_verified("V1", _TITLE, limit_pct=5.0, why="it needs /proc")
    worst, where = 0.0, ""
    for seconds in lengths:
        for kind, duty in _KINDS:
            seen, truth = await burnt(clock, seconds=seconds, duty=duty, kind=kind)
            # what children had used that ended is kept in ticks, for user and system apart
            blind = _TICKS_S if kind == "grandchild" else 0.0
            error = 100.0 * max(0.0, abs(seen - truth) - blind) / truth
            if error >= worst:
                worst = error
                where = f"{seconds:g} s, {kind}, duty {duty:.0%}: {seen:.4f} s for {truth:.4f} s"
    why = f"worst: {where}; of children that ended, beyond the kernel's two ticks of 10 ms"
    return judged("V1", _TITLE, error_pct=worst, limit_pct=5.0, why=why)


async def check_v2(*, seconds: float = 1.0) -> Check:
    """Against another program that measures."""
    title = "CPU time against perf stat or time"
    perf, timer = shutil.which("perf"), shutil.which("time")
    if not _HAS_PROC or (perf is None and timer is None):
        why = "it needs /proc, and perf or time installed"
        return not_verified("V2", title, limit_pct=2.0, why=why)
    before = [perf, "stat", "-x,", "-e", "task-clock"] if perf else [str(timer), "-f", "%U %S"]
    process = await asyncio.create_subprocess_exec(
        *before, sys.executable, "-I", "-S", "-c", BURN, str(seconds), "1.0", "alone",
        stdin=PIPE, stdout=PIPE, stderr=PIPE,
    )  # fmt: skip
    if process.stdout is None:
        raise RuntimeError("a child without pipes")
    read_cpu = ProcessReader().cpu_ns
    tree = ProcessTree(process.pid, read_cpu=read_cpu)
    tree.look(Table([_from_the_start(process.pid)]))
    await process.stdout.readline()
    tree.look(_without_time(read_table(), process.pid))
    # the program that measures is the root; what it measures is the rest
    seen = ((tree.cpu_ns() or 0) - (read_cpu(process.pid) or 0)) / 1e9
    _, said = await process.communicate(b"")
    words = said.decode("utf-8", "replace").strip()
    try:
        told = float(words.split(",")[0]) / 1e3 if perf else sum(map(float, words.split()[-2:]))
    except ValueError:
        return not_verified("V2", title, limit_pct=2.0, why=f"it said: {words[:100]}")
    return judged(
        "V2",
        title,
        error_pct=off_pct(seen, told),
        limit_pct=2.0,
        why=f"{seen:.4f} s, {'perf' if perf else 'time'} {told:.4f} s",
    )


def _without_time(table: Table, root: int) -> Table:
    """The table as if the root had started with the machine, as it was noted at first."""
    others = [one for one in table.members.values() if one.pid != root]
    return Table([*others, _from_the_start(root)])


def _from_the_start(pid: int) -> Member:
    return Member(pid=pid, parent=0, started=0, waited_ns=0)


async def check_v3(clock: Clock, *, seconds: float = 1.0) -> Check:
    """Beside two neighbours that keep the cores busy."""
    title = "CPU time beside busy neighbours"
    if not _HAS_PROC:
        return not_verified("V3", title, limit_pct=5.0, why="it needs /proc")
    async with neighbours(2):
        seen, truth = await burnt(clock, seconds=seconds, duty=1.0, kind="threads")
    return judged(
        "V3",
        title,
        error_pct=off_pct(seen, truth),
        limit_pct=5.0,
        why=f"{seen:.4f} s, rusage {truth:.4f} s",
    )
