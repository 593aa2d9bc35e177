"""V13 on machines that are not there: counters that are right, wrong, silent or alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from arbiter.clock import ManualClock
from arbiter.hardware.drm import Cards
from arbiter.hardware.found import Hardware
from arbiter.hardware.nvidia import Nvidia
from arbiter.hardware.reading import EnergyCounter, PowerReader
from arbiter.studies.check_counters import by_perf, check_v13
from arbiter.studies.checks import Check, CheckState
from arbiter.studies.standins import Course, NvmlDevice, ScriptedNvml, SteppedCounter, write_card

COURSE = Course(pieces=((0.0, 100.0), (20.0, 300.0), (40.0, 150.0)))
"""Watts over a minute."""


@asynccontextmanager
async def nobody(_: int) -> AsyncIterator[None]:
    yield


def device(clock: ManualClock, *, counts: float = 1.0) -> NvmlDevice:
    """A device whose counter, changing every 100 ms, shows so much of what it takes."""

    def millijoules() -> int:
        return round(COURSE.joules(clock.monotonic() // 0.1 * 0.1) * 1000 * counts)

    def milliwatts() -> int:
        at = clock.monotonic()
        return round(1000 * next(w for since, w in reversed(COURSE.pieces) if at >= since))

    return NvmlDevice(millijoules=millijoules, milliwatts=milliwatts)


async def checked(clock: ManualClock, hardware: Hardware, **how: Callable[..., None]) -> Check:
    checking = asyncio.create_task(check_v13(hardware, clock, perf=None, load=nobody, **how))  # type: ignore[arg-type]  # a test's shorthand
    while not checking.done():
        clock.jump(0.05)
        await asyncio.sleep(0)  # noqa: TID251  # lets both meters read
    return await checking


def with_devices(*devices: NvmlDevice) -> Hardware:
    reader = Nvidia(ScriptedNvml(devices))
    return Hardware(counters=reader.counters(), accelerators={"nvidia": reader})


@pytest.mark.parametrize(
    ("counts", "state"), [(1.0, CheckState.PASS), (0.9, CheckState.FAIL), (1.1, CheckState.FAIL)]
)
async def test_a_counter_passes_when_its_devices_power_adds_up_to_the_same(
    clock: ManualClock, counts: float, state: CheckState
) -> None:
    found = await checked(clock, with_devices(device(clock, counts=counts)))
    assert found.state is state, found
    assert found.error_pct == pytest.approx(abs(1 - counts) * 100, abs=0.6)
    assert "J, power" in found.why


async def test_the_worst_of_several_is_what_is_told(clock: ManualClock) -> None:
    off, right = device(clock, counts=0.8), device(clock)
    off.uuid = "GPU-1"
    found = await checked(clock, with_devices(right, off))
    assert found.state is CheckState.FAIL
    assert found.why.startswith("GPU-0: ")
    assert "GPU-1: " in found.why


async def test_a_counter_that_falls_silent_is_not_verified(clock: ManualClock) -> None:
    lost = device(clock)
    hardware = with_devices(lost)

    def milliwatts() -> int:
        lost.fails = {"nvmlDeviceGetTotalEnergyConsumption": "GPU is lost"}
        return 100_000

    lost.milliwatts = milliwatts
    found = await checked(clock, hardware)
    assert (found.state, found.why) == (
        CheckState.NOT_VERIFIED, "GPU-0: its counter did not tell",
    )  # fmt: skip


def alone(clock: ManualClock) -> tuple[EnergyCounter, ...]:
    return (SteppedCounter(course=COURSE, clock=clock.monotonic, update_s=0.1),)


@pytest.mark.parametrize(
    ("counters", "words"),
    [
        (alone, "nothing else here measures what stepped count"),
        (lambda _: (), "no energy counter is here"),
    ],
)
async def test_it_is_never_passed_without_another_meter(
    clock: ManualClock, counters: Callable[[ManualClock], tuple[EnergyCounter, ...]], words: str
) -> None:
    found = await checked(clock, Hardware(counters=counters(clock)))
    assert found.state is CheckState.NOT_VERIFIED
    assert words in found.why


def test_a_cards_driver_may_tell_its_power(tmp_path: Path) -> None:
    write_card(tmp_path, address="0000:03:00.0")
    (folder,) = tmp_path.glob("class/drm/card*/device")
    (folder / "hwmon" / "hwmon3").mkdir(parents=True, exist_ok=True)
    (folder / "hwmon" / "hwmon3" / "power1_average").write_text("21500000", encoding="ascii")
    reader = Cards(sys=tmp_path, proc=tmp_path)
    assert isinstance(reader, PowerReader)
    assert reader.power_w("0000:03:00.0") == 21.5
    assert reader.power_w("0000:04:00.0") is None


@pytest.mark.parametrize(
    ("said", "joules"), [("843.5", 843.5), ("<not supported>", None), ("", None)]
)
async def test_perf_is_asked_for_the_energy_of_the_packages(
    tmp_path: Path, said: str, joules: float | None
) -> None:
    perf = tmp_path / "perf"
    line = f"{said},Joules,power/energy-pkg/,1,100.00,," if said else "perf: no permission"
    perf.write_text(f'#!/bin/sh\ntest "$5" = power/energy-pkg/ && echo "{line}" >&2\n', "utf-8")
    perf.chmod(0o755)
    assert await by_perf(str(perf), 0.0) == joules
