"""Accelerators: whose their time, memory and energy are, by what each kind can tell."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.contract.metered import joules, meter_of, watts_of

from arbiter.clock import ManualClock
from arbiter.cost import (
    Method,
)
from arbiter.hardware.apple import Apple
from arbiter.hardware.drm import Cards
from arbiter.hardware.nvidia import HIDDEN, Nvidia
from arbiter.metering.meter import SAMPLE_S
from arbiter.studies.check_energy import PID, ScriptedTree, samples
from arbiter.studies.standins import (
    ChipEnergy,
    NvmlDevice,
    NvmlProcess,
    NvmlSample,
    ScriptedChip,
    ScriptedNvml,
    write_card,
)


async def test_two_models_on_one_device_have_what_each_used_of_it(
    clock: ManualClock, proc: Path
) -> None:
    device = NvmlDevice(
        busy=100,
        millijoules=lambda: round(clock.monotonic() * 300_000),
        running=(
            NvmlProcess(pid=1, usedGpuMemory=10),
            NvmlProcess(pid=2, usedGpuMemory=20),
            NvmlProcess(pid=99, usedGpuMemory=5),
        ),
        fails={"nvmlDeviceGetProcessUtilization": "Not Supported"},
    )
    reader = Nvidia(ScriptedNvml([device]))
    meter = meter_of(clock, proc, *reader.counters(), nvidia=reader)
    crowds = [
        meter.crowd_of(ScriptedTree(used_s=clock.monotonic, pid=pid, pids=(pid,))) for pid in (1, 2)
    ]
    await meter.sample(at_rest=True)
    tickets = [crowd.begin() for crowd in crowds]
    await samples(meter, clock, 1.0, at_rest=False)
    for crowd, ticket in zip(crowds, tickets, strict=True):
        crowd.end(ticket)
    await samples(meter, clock, 1.0, at_rest=False)
    for ticket, held in zip(tickets, (10.0, 20.0), strict=True):
        assert ticket.cost is not None
        assert ticket.cost.device_bytes.value == held
        # the device does not tell who used it, and then nobody's share is made up
        assert ticket.cost.gpu_ms.value is None
        assert ticket.cost.energy_mwh.value is None


async def test_a_device_that_tells_who_used_it_is_shared_by_that(
    clock: ManualClock, proc: Path
) -> None:
    def samples_now() -> list[NvmlSample]:
        now = round(clock.monotonic() * 1e6) + 1
        told = ((1, 60), (2, 20), (9, 20))
        return [NvmlSample(pid=pid, smUtil=used, timeStamp=now) for pid, used in told]

    device = NvmlDevice(
        busy=100,
        millijoules=lambda: round(clock.monotonic() * 300_000),
        running=tuple(NvmlProcess(pid=pid, usedGpuMemory=10) for pid in (1, 2, 9)),
    )
    reader = Nvidia(ScriptedNvml([device]))
    meter = meter_of(clock, proc, *reader.counters(), nvidia=reader)
    crowds = [
        meter.crowd_of(ScriptedTree(used_s=clock.monotonic, pid=pid, pids=(pid,))) for pid in (1, 2)
    ]
    await meter.sample(at_rest=True)
    tickets = [crowd.begin() for crowd in crowds]
    for _ in range(10):
        device.samples = samples_now()
        await samples(meter, clock, SAMPLE_S, at_rest=False)
    for crowd, ticket in zip(crowds, tickets, strict=True):
        crowd.end(ticket)
    device.samples = ()
    await samples(meter, clock, 1.0, at_rest=False)
    first, second = (joules(ticket.cost) for ticket in tickets)
    assert first == pytest.approx(3 * second)
    (sums,) = meter.sums().values()
    assert first + second == pytest.approx(sums.attributed)
    assert sums.unattributed > 0  # what the third process used is nobody's here
    assert tickets[0].cost is not None
    assert tickets[0].cost.gpu_ms.value == pytest.approx(600, rel=0.02)


async def test_a_share_that_is_told_once_a_second_is_no_tenth_of_it(
    clock: ManualClock, proc: Path
) -> None:
    device = NvmlDevice(
        busy=100,
        running=tuple(NvmlProcess(pid=pid, usedGpuMemory=10) for pid in (PID, 9)),
        samples=[NvmlSample(pid=PID, smUtil=60, timeStamp=1)],
    )
    reader = Nvidia(ScriptedNvml([device]))
    meter = meter_of(clock, proc, nvidia=reader)
    crowd = meter.crowd_of(ScriptedTree(used_s=clock.monotonic))
    await meter.sample(at_rest=True)
    ticket = crowd.begin()
    for second in range(3):
        device.samples = [NvmlSample(pid=PID, smUtil=60, timeStamp=2 + second)]
        await samples(meter, clock, 1.0, at_rest=False)
    crowd.end(ticket)
    await samples(meter, clock, 1.0, at_rest=False)
    assert ticket.cost is not None
    assert ticket.cost.gpu_ms.value == pytest.approx(1800, rel=0.05)


async def test_where_a_container_hides_who_uses_a_device_nothing_is_said_to_be_zero(
    clock: ManualClock, proc: Path
) -> None:
    device = NvmlDevice(millijoules=lambda: round(clock.monotonic() * 300_000))
    reader = Nvidia(ScriptedNvml([device]))
    meter = meter_of(clock, proc, watts_of(clock, 100.0), *reader.counters(), nvidia=reader)
    crowd = meter.crowd_of(ScriptedTree(used_s=clock.monotonic))
    await samples(meter, clock, 1.0, at_rest=True)
    ticket = crowd.begin()
    for busy in (0, 90, 0):
        device.busy = busy
        await samples(meter, clock, 1.0, at_rest=False)
    crowd.end(ticket)
    await samples(meter, clock, 1.0, at_rest=False)
    assert ticket.cost is not None
    assert (ticket.cost.gpu_ms.value, ticket.cost.device_bytes.value) == (None, None)
    assert ticket.cost.gpu_ms.note == HIDDEN
    assert ticket.cost.energy_by.keys() == {"cpu"}
    assert f"without gpu: {HIDDEN}" in (ticket.cost.energy_mwh.note or "")


async def test_engine_time_that_a_driver_counts_is_taken_by_its_growth(
    clock: ManualClock, proc: Path, tmp_path: Path
) -> None:
    write_card(tmp_path, address="0000:03:00.0")
    info = proc / str(PID) / "fdinfo"
    info.mkdir(parents=True)

    def used(milliseconds: int) -> None:
        text = "drm-driver:\tamdgpu\ndrm-client-id:\t1\ndrm-pdev:\t0000:03:00.0\n"
        (info / "7").write_text(f"{text}drm-engine-gfx:\t{milliseconds}000000 ns\n", "ascii")

    used(5_000)
    meter = meter_of(clock, proc, drm=Cards(sys=tmp_path, proc=proc))
    crowd = meter.crowd_of(ScriptedTree(used_s=clock.monotonic))
    await meter.sample(at_rest=True)
    ticket = crowd.begin()
    for step in range(1, 11):
        used(5_000 + 50 * step)
        await samples(meter, clock, SAMPLE_S, at_rest=False)
    crowd.end(ticket)
    await samples(meter, clock, 0.5, at_rest=False)
    assert ticket.cost is not None
    assert ticket.cost.gpu_ms.value == pytest.approx(500.0)


async def test_a_chip_that_does_not_tell_who_used_it_is_taken_for_ours_and_says_so(
    clock: ManualClock, proc: Path
) -> None:
    chip = ScriptedChip(energy=ChipEnergy(cpu_total_mj=None, dram_mj=None, ane_mj=None))
    reader = Apple(chip)
    meter = meter_of(clock, proc, *reader.counters(), apple=reader)
    crowd = meter.crowd_of(ScriptedTree(used_s=clock.monotonic))
    await meter.sample(at_rest=True)
    ticket = crowd.begin()
    for step in range(10):
        chip.energy.gpu_mj = step * 1000
        await samples(meter, clock, SAMPLE_S, at_rest=False)
    crowd.end(ticket)
    await samples(meter, clock, 1.0, at_rest=False)
    assert ticket.cost is not None
    assert joules(ticket.cost) == pytest.approx(9.0, rel=0.02)
    assert ticket.cost.energy_mwh.method is Method.ESTIMATED
    assert "nobody else" in (ticket.cost.energy_mwh.note or "")
