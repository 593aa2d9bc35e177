"""When the meter samples, and that no reader breaks it or holds it up."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.contract.metered import meter_of

from arbiter.clock import ManualClock
from arbiter.hardware.found import Hardware
from arbiter.hardware.reading import About, Part, Reading
from arbiter.metering.meter import REST_S, SAMPLE_S, Meter
from arbiter.metering.process import ProcessReader
from arbiter.studies.check_energy import ScriptedTree
from arbiter.studies.standins import (
    Course,
    SteppedCounter,
)


async def test_samples_are_taken_only_while_something_is_in_flight(
    clock: ManualClock, proc: Path
) -> None:
    meter = meter_of(clock, proc)
    meter.open()
    crowd = meter.crowd_of(ScriptedTree(used_s=clock.monotonic))
    await asyncio.wait_for(_idle(), 5)
    assert (meter.samples, clock.sleepers) == (0, 0)
    ticket = crowd.begin()
    while meter.samples < 5:
        clock.jump(SAMPLE_S)
        await asyncio.sleep(0)  # noqa: TID251  # lets the sampler's thread answer
    crowd.end(ticket)
    taken = meter.samples
    while clock.sleepers:
        clock.jump(SAMPLE_S)
        for _ in range(200):
            await asyncio.sleep(0)  # noqa: TID251  # as above
    assert meter.samples <= taken + 8
    await meter.close()


async def test_a_reader_that_breaks_ends_no_later_receipt(
    clock: ManualClock, proc: Path, caplog: pytest.LogCaptureFixture
) -> None:
    counter = Breaking(course=Course(pieces=((0.0, 5.0),)), clock=clock.monotonic, update_s=0.001)
    meter = meter_of(clock, proc, counter)
    meter.open()
    while not caplog.messages:
        clock.jump(REST_S)
        await asyncio.sleep(0)  # noqa: TID251  # lets the sampler's thread answer
    counter.is_broken = False
    while not meter.samples:
        clock.jump(REST_S)
        await asyncio.sleep(0)  # noqa: TID251  # as above
    await meter.close()
    assert caplog.messages[0] == "a sample could not be taken"


class Hanging:
    """A counter whose driver answers when it is let."""

    about = About(name="slow", source="scripted", part=Part.CPU, update_s=0.001)

    def __init__(self) -> None:
        self.let = threading.Event()

    def read(self) -> Reading:
        """When it is let."""
        self.let.wait(10.0)
        return Reading(value=1)


async def test_a_driver_that_does_not_answer_holds_no_receipt_up_for_ever(
    clock: ManualClock, proc: Path
) -> None:
    counter = Hanging()
    hardware = Hardware(counters=(counter,), proc=proc)
    meter = Meter(hardware, clock=clock, reader=ProcessReader(proc=proc), limit_s=0.01)
    crowd = meter.crowd_of(ScriptedTree(used_s=clock.monotonic))
    ticket = crowd.begin()
    clock.jump(1.0)
    crowd.end(ticket)
    waiting = [ticket.cost]
    await meter.sample()
    waiting.append(ticket.cost)
    clock.jump(meter.patience_s)
    await meter.sample()
    given_up = ticket.cost
    assert waiting == [None, None]
    assert given_up is not None
    assert given_up.energy_mwh.value is None
    assert meter.samples == 0
    counter.let.set()
    while not meter.samples:
        await meter.sample()
    await meter.close()


@dataclass(slots=True, kw_only=True)
class Breaking(SteppedCounter):
    """A counter that breaks its word never to raise."""

    is_broken: bool = True

    def read(self) -> Reading:
        if self.is_broken:
            raise ValueError("no counter does this")
        return SteppedCounter.read(self)


async def _idle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)  # noqa: TID251  # lets what was started begin
