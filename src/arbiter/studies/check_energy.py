"""V6 to V8: energy against counters of known joules, by the production meter, with no time passing.

The clock is a manual one and the counters are stand-ins, so these checks say that what a counter
says is shared out rightly. They say nothing of how right a real counter is.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

from arbiter.clock import ManualClock
from arbiter.cost import JOULES_IN_A_MWH, Cost
from arbiter.hardware import powercap
from arbiter.hardware.apple import Apple
from arbiter.hardware.found import Hardware
from arbiter.hardware.nvidia import Nvidia
from arbiter.hardware.reading import EnergyCounter, absent
from arbiter.metering.counting import Cumulative
from arbiter.metering.crowd import Crowd
from arbiter.metering.meter import Meter
from arbiter.metering.process import ProcessReader
from arbiter.metering.tree import Table
from arbiter.studies.checks import Check, judged, off_pct
from arbiter.studies.standins import (
    RAPL_WRAPS_AT,
    Course,
    NvmlDevice,
    NvmlProcess,
    ScriptedChip,
    ScriptedNvml,
    SteppedCounter,
    write_zone,
)

IDLE_W: Final = 50.0
ACTIVE_W: Final = 300.0
SAMPLE_S: Final = 0.1
PID: Final = 4242


@dataclass(slots=True, kw_only=True)
class ScriptedTree:
    """A process whose CPU time is told by a function. It is a `Tree`."""

    used_s: Callable[[], float]
    pid: int = PID
    pids: tuple[int, ...] = field(default=(PID,))

    def cpu_ns(self) -> int:
        """Nanoseconds so far."""
        return round(self.used_s() * 1e9)

    def look(self, table: Table) -> None:
        """It has no children."""


@contextmanager
def quiet_machine() -> Iterator[Path]:
    """A process file system where nobody but the scripted process computes anything."""
    with tempfile.TemporaryDirectory(prefix="arbiter-check-") as folder:
        (Path(folder) / "stat").write_text("cpu 0 0 0 0 0 0 0 0 0 0\n", encoding="ascii")
        yield Path(folder)


async def samples(meter: Meter, clock: ManualClock, seconds: float, *, at_rest: bool) -> None:
    """Let time pass, sampled as the meter does it."""
    left = seconds
    while left > 1e-9:
        step = min(SAMPLE_S, left)
        clock.jump(step)
        left -= step
        await meter.sample(at_rest=at_rest)


async def one_request(
    meter: Meter, crowd: Crowd, clock: ManualClock, *, before_s: float, lasts_s: float
) -> Cost:
    """A request after some time at rest, alone; its cost once it is settled."""
    await meter.sample(at_rest=True)
    await samples(meter, clock, before_s, at_rest=True)
    ticket = crowd.begin()
    await samples(meter, clock, lasts_s, at_rest=False)
    crowd.end(ticket)
    await samples(meter, clock, meter.patience_s + SAMPLE_S, at_rest=False)
    if ticket.cost is None:
        raise RuntimeError("the request was not settled")
    return ticket.cost


def active(kind: str, *, begin: float, end: float) -> Course:
    """Rest, then a request of this kind of power, then rest."""
    pieces: list[tuple[float, float]] = [(0.0, IDLE_W)]
    if kind == "constant":
        pieces.append((begin, ACTIVE_W))
    else:
        step = 0.35 if kind == "square" else 0.05
        count = math.ceil((end - begin) / step)
        for number in range(count):
            share = number % 2 if kind == "square" else (number + 0.5) / count
            pieces.append((begin + number * step, IDLE_W + share * (ACTIVE_W - IDLE_W)))
    return Course(pieces=(*pieces, (end, IDLE_W)))


async def _measured(
    proc: Path, *, course: Course, update_s: float, offset_s: float, begin: float, lasts_s: float
) -> tuple[float, float | None]:
    """Joules of one request, and how far they may be off as they say."""
    clock = ManualClock()
    start = clock.monotonic()
    counter = SteppedCounter(
        course=course,
        clock=lambda: clock.monotonic() - start,
        update_s=update_s,
        offset_s=offset_s,
    )
    meter = Meter(
        Hardware(counters=(counter,), proc=proc), clock=clock, reader=ProcessReader(proc=proc)
    )
    crowd = meter.crowd_of(ScriptedTree(used_s=clock.monotonic))
    cost = await one_request(meter, crowd, clock, before_s=begin, lasts_s=lasts_s)
    figure = cost.energy_mwh
    return (figure.value or 0.0) * JOULES_IN_A_MWH, figure.error_pct


async def check_v6(*, runs: int = 500, seed: int = 6) -> Check:
    """Windows of 20 updates at least are right; shorter ones say how far they may be off."""
    dice = Random(seed)  # noqa: S311  # a simulation
    worst, where, kept = 0.0, "", 0
    with quiet_machine() as proc:
        for update_s in (0.001, 0.1, 1.0):
            for kind in ("constant", "square", "ramp"):
                lasts_s, begin = max(7.0, 20 * update_s), 10.0
                course = active(kind, begin=begin, end=begin + lasts_s)
                seen, _ = await _measured(
                    proc, course=course, update_s=update_s, offset_s=0.37 * update_s,
                    begin=begin, lasts_s=lasts_s,
                )  # fmt: skip
                truth = course.joules(begin + lasts_s) - course.joules(begin) - IDLE_W * lasts_s
                if off_pct(seen, truth) >= worst:
                    worst = off_pct(seen, truth)
                    where = f"{kind}, every {update_s:g} s: {seen:.2f} J for {truth:.2f} J"
        for _ in range(runs):
            update_s, lasts_s = dice.choice((0.001, 0.1)), dice.uniform(0.05, 1.5)
            begin = 1.0 + dice.random()
            course = active("constant", begin=begin, end=begin + lasts_s)
            seen, bound = await _measured(
                proc, course=course, update_s=update_s, offset_s=dice.random() * update_s,
                begin=begin, lasts_s=lasts_s,
            )  # fmt: skip
            truth = (ACTIVE_W - IDLE_W) * lasts_s
            kept += bound is not None and off_pct(seen, truth) <= bound + 1e-6
    share = kept / runs if runs else 1.0
    return judged(
        "V6",
        "Energy against a counter of known joules",
        error_pct=worst if share >= 0.95 else 100.0,
        limit_pct=1.0,
        why=f"worst: {where}; {kept} of {runs} short requests kept to the bound that they told",
    )


def check_v7() -> Check:
    """A powercap tree that overlaps, wraps, is reset, and goes away: exact joules or none."""
    wrong: list[str] = []
    with tempfile.TemporaryDirectory(prefix="arbiter-check-") as folder:
        sys = Path(folder)
        zone = write_zone(sys, "intel-rapl:0", "package-0")
        for other, name in (
            ("intel-rapl:0:0", "core"),
            ("intel-rapl:0:1", "dram"),
            ("intel-rapl:1", "psys"),
            ("intel-rapl:2", "package-1"),
            ("intel-rapl-mmio:0", "package-0"),
        ):
            write_zone(sys, other, name)
        root = sys / "class" / "powercap"
        names = [one.about.name for one in powercap.zones(root)]
        if names != ["package-0", "package-1", "package-0 dram"]:
            wrong.append(f"took {names}")
        counter = powercap.zones(root)[0]
        wrong += _wrapping(counter, zone / "energy_uj")
        (zone / "energy_uj").unlink()
        if counter.read().value is not None:
            wrong.append("read a counter that is gone")
        denied = absent("energy_uj: Permission denied")
        if "root" not in (powercap.explained("x", denied).reason or ""):
            wrong.append("did not say that only root may read it")
    return judged(
        "V7",
        "RAPL: overlaps, wraps, resets, missing",
        error_pct=100.0 if wrong else 0.0,
        limit_pct=0.0,
        why="; ".join(wrong) or "each joule once; wraps go on, resets leave gaps, nothing negative",
    )


def _wrapping(counter: EnergyCounter, path: Path) -> list[str]:
    """A kilojoule every ten seconds over two wraps, then a reset, then ten joules more."""
    seen, truth, gaps = 0, 0, 0
    level, one = 0, Cumulative(wraps_at=counter.about.wraps_at)
    path.write_text("0\n", encoding="ascii")
    one.advance(counter.read(), at=0.0)
    step, count = 1_000_000_000, 2 * RAPL_WRAPS_AT // 1_000_000_000 + 5
    for number in range(1, count):
        level = (level + step) % RAPL_WRAPS_AT
        truth += step
        path.write_text(f"{level}\n", encoding="ascii")
        growth = one.advance(counter.read(), at=10.0 * number)
        gaps += growth.microjoules is None
        seen += growth.microjoules or 0
    path.write_text("5\n", encoding="ascii")
    reset = one.advance(counter.read(), at=10.0 * count).microjoules
    path.write_text("10000005\n", encoding="ascii")
    after = one.advance(counter.read(), at=10.0 * (count + 1)).microjoules
    said: list[str] = []
    if (seen, gaps) != (truth, 0):
        said.append(f"{seen} of {truth} microjoules over two wraps, {gaps} gaps")
    if reset is not None or after != 10_000_000:
        said.append(f"after a reset: {reset}, then {after}")
    return said


async def check_v8() -> Check:
    """A GPU in steps of 100 ms beside another process, one that is lost, and a Mac's chip."""
    wrong: list[str] = []
    begin, lasts_s = 10.0, 4.0
    course = active("constant", begin=begin, end=begin + lasts_s)
    truth = (ACTIVE_W - IDLE_W) * lasts_s
    with quiet_machine() as proc:
        clock = ManualClock()
        stepped = SteppedCounter(course=course, clock=clock.monotonic, update_s=0.1, offset_s=0.03)
        device = NvmlDevice(
            busy=lambda: 90 if begin < clock.monotonic() <= begin + lasts_s + 0.01 else 0,
            running=(NvmlProcess(pid=PID, usedGpuMemory=3 << 30),),
            millijoules=lambda: (stepped.read().value or 0) // 1000,
        )
        reader = Nvidia(ScriptedNvml([device]))
        cost = await _on_device(proc, clock, reader, begin=begin, lasts_s=lasts_s)
        error = off_pct((cost.energy_mwh.value or 0.0) * JOULES_IN_A_MWH, truth)
        if cost.device_bytes.value != 3 << 30:
            wrong.append(f"device memory {cost.device_bytes.value}")
        busy_ms = cost.gpu_ms.value or 0.0
        if off_pct(busy_ms, 900 * lasts_s) > 5:
            wrong.append(f"accelerator time {busy_ms} ms")
        lost = Nvidia(
            ScriptedNvml([NvmlDevice(fails={"nvmlDeviceGetTotalEnergyConsumption": "GPU is lost"})])
        )
        gone = await _on_device(proc, ManualClock(), lost, begin=begin, lasts_s=lasts_s)
        if gone.energy_mwh.value is not None or "lost" not in (gone.energy_mwh.note or ""):
            wrong.append(f"a lost device: {gone.energy_mwh}")
        if Apple(ScriptedChip(fails="gone")).counters()[0].read().value is not None:
            wrong.append("a chip that fails was read")
    return judged(
        "V8",
        "Accelerators: steps, lost devices, other processes",
        error_pct=100.0 if wrong else error,
        limit_pct=1.0,
        why="; ".join(wrong) or "a counter that changes every 100 ms, by the production meter",
    )


async def _on_device(
    proc: Path, clock: ManualClock, reader: Nvidia, *, begin: float, lasts_s: float
) -> Cost:
    hardware = Hardware(counters=reader.counters(), accelerators={"nvidia": reader}, proc=proc)
    meter = Meter(hardware, clock=clock, reader=ProcessReader(proc=proc))
    crowd = meter.crowd_of(ScriptedTree(used_s=clock.monotonic))
    return await one_request(meter, crowd, clock, before_s=begin, lasts_s=lasts_s)
