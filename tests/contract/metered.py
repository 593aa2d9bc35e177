"""A meter on a manual clock, with counters that follow a script."""

from __future__ import annotations

from pathlib import Path

from arbiter.clock import ManualClock
from arbiter.cost import (
    JOULES_IN_A_MWH,
    Cost,
)
from arbiter.hardware.found import Hardware
from arbiter.hardware.reading import AcceleratorReader, EnergyCounter
from arbiter.metering.estimate import Watts
from arbiter.metering.meter import Meter
from arbiter.metering.process import ProcessReader
from arbiter.studies.check_energy import PID
from arbiter.studies.standins import (
    Course,
    SteppedCounter,
)


def meter_of(
    clock: ManualClock,
    proc: Path,
    *counters: EnergyCounter,
    watts: Watts | None = None,
    **accelerators: AcceleratorReader,
) -> Meter:
    hardware = Hardware(counters=counters, accelerators=accelerators, proc=proc)
    return Meter(hardware, clock=clock, reader=ProcessReader(proc=proc), watts=watts)


def watts_of(clock: ManualClock, watts: float, *, update_s: float = 0.001) -> SteppedCounter:
    course = Course(pieces=((0.0, watts),))
    return SteppedCounter(course=course, clock=clock.monotonic, update_s=update_s)


def holds(proc: Path, *, private_kb: int, mapped_kb: int) -> None:
    folder = proc / str(PID)
    folder.mkdir(exist_ok=True)
    text = f"Name:\tx\nRssAnon:\t {private_kb} kB\nRssFile:\t {mapped_kb} kB\nVmSwap:\t 0 kB\n"
    (folder / "status").write_text(text, encoding="ascii")


def joules(cost: Cost | None) -> float:
    assert cost is not None
    assert cost.energy_mwh.value is not None
    return cost.energy_mwh.value * JOULES_IN_A_MWH
