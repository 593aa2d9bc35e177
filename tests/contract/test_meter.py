"""The meter on a manual clock: who is in flight, what is settled when, and that nothing is lost."""

from __future__ import annotations

import asyncio
import math
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from arbiter.clock import ManualClock
from arbiter.cost import (
    JOULES_IN_A_MWH,
    NO_ACCELERATOR,
    NO_COUNTER,
    TOO_SHORT,
    Cost,
    Footprint,
    Method,
)
from arbiter.hardware.apple import Apple
from arbiter.hardware.drm import Cards
from arbiter.hardware.found import Hardware
from arbiter.hardware.nvidia import Nvidia
from arbiter.hardware.reading import About, AcceleratorReader, EnergyCounter, Part, Reading
from arbiter.metering.crowd import NO_PROCESS, OF_ALL, Crowd, Nobody
from arbiter.metering.estimate import Watts
from arbiter.metering.listening import listener_of
from arbiter.metering.meter import REST_S, SAMPLE_S, Meter
from arbiter.metering.process import ProcessReader
from arbiter.metering.tree import PortableTree, Table
from arbiter.studies.check_energy import PID, ScriptedTree, quiet_machine, samples
from arbiter.studies.standins import (
    ChipEnergy,
    Course,
    NvmlDevice,
    NvmlProcess,
    NvmlSample,
    ScriptedChip,
    ScriptedNvml,
    SteppedCounter,
    write_card,
)


@pytest.fixture(name="proc")
def fixture_proc() -> Iterator[Path]:
    with quiet_machine() as proc:
        yield proc


@pytest.fixture(name="clock")
def fixture_clock() -> ManualClock:
    return ManualClock()


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


# -- without counters


def test_without_counters_a_cost_is_known_at_once_and_says_what_is_missing(
    clock: ManualClock, proc: Path
) -> None:
    crowd = meter_of(clock, proc).crowd_of(ScriptedTree(used_s=clock.monotonic))
    ticket = crowd.begin()
    clock.jump(0.05)
    assert crowd.end(ticket).value == 50_000_000
    told: list[Cost] = []
    ticket.then(told.append)
    (cost,) = told
    assert (cost.cpu_ms.value, cost.cpu_ms.method) == (50.0, Method.MEASURED)
    assert (cost.is_exclusive, cost.concurrency) == (True, 1.0)
    assert (cost.energy_mwh.note, cost.peak_bytes.note) == (NO_COUNTER, TOO_SHORT)
    assert (cost.gpu_ms.note, cost.device_bytes.note) == (NO_ACCELERATOR, NO_ACCELERATOR)


def test_watts_that_a_person_gave_make_an_estimate_that_says_so(
    clock: ManualClock, proc: Path
) -> None:
    meter = meter_of(clock, proc, watts=Watts(idle=10, full=74, threads=16))
    crowd = meter.crowd_of(ScriptedTree(used_s=clock.monotonic))
    ticket = crowd.begin()
    clock.jump(9.0)
    crowd.end(ticket)
    assert ticket.cost is not None
    energy = ticket.cost.energy_mwh
    assert joules(ticket.cost) == pytest.approx(36.0)
    assert (energy.method, energy.error_pct) == (Method.ESTIMATED, 50.0)
    assert "as the settings say" in (energy.note or "")


def test_two_beside_one_another_are_shared_and_say_among_how_many(
    clock: ManualClock, proc: Path
) -> None:
    crowd = meter_of(clock, proc).crowd_of(ScriptedTree(used_s=clock.monotonic))
    first = crowd.begin()
    clock.jump(1.0)
    second = crowd.begin()
    clock.jump(1.0)
    crowd.end(first)
    crowd.end(second)
    assert first.cost is not None
    assert second.cost is not None
    assert [first.cost.cpu_ms.value, second.cost.cpu_ms.value] == [1500.0, 500.0]
    assert first.cost.concurrency == pytest.approx(4 / 3)
    assert second.cost.concurrency == 2.0
    assert first.cost.is_exclusive is second.cost.is_exclusive is False


async def test_memory_is_a_mean_over_time_and_a_peak(clock: ManualClock, proc: Path) -> None:
    meter = meter_of(clock, proc)
    crowd = meter.crowd_of(ScriptedTree(used_s=clock.monotonic))
    holds(proc, private_kb=100, mapped_kb=500)
    ticket = crowd.begin()
    await samples(meter, clock, 1.0, at_rest=False)
    holds(proc, private_kb=300, mapped_kb=500)
    await samples(meter, clock, 1.0, at_rest=False)
    crowd.end(ticket)
    assert ticket.cost is not None
    assert ticket.cost.peak_bytes.value == 800 * 1024
    assert ticket.cost.mean_bytes.value == pytest.approx(700 * 1024, rel=0.02)


async def test_memory_that_cannot_be_read_says_why(clock: ManualClock, proc: Path) -> None:
    meter = meter_of(clock, proc)
    crowd = meter.crowd_of(ScriptedTree(used_s=clock.monotonic))
    ticket = crowd.begin()
    await samples(meter, clock, 1.0, at_rest=False)
    crowd.end(ticket)
    assert ticket.cost is not None
    assert ticket.cost.peak_bytes.note == f"process {PID}: No such file or directory"


# -- with counters


async def test_energy_is_settled_when_the_counter_has_moved(clock: ManualClock, proc: Path) -> None:
    meter = meter_of(clock, proc, watts_of(clock, 100.0))
    crowd = meter.crowd_of(ScriptedTree(used_s=clock.monotonic))
    await samples(meter, clock, 1.0, at_rest=True)
    ticket = crowd.begin()
    await samples(meter, clock, 2.0, at_rest=False)
    crowd.end(ticket)
    told: list[Cost] = []
    ticket.then(told.append)
    assert told == []
    await samples(meter, clock, SAMPLE_S, at_rest=False)
    (cost,) = told
    assert joules(cost) == pytest.approx(
        0.0, abs=0.5
    )  # all of it is what the machine takes at rest
    assert cost.energy_by.keys() == {"cpu"}
    assert cost.energy_mwh.method is Method.MEASURED


async def test_before_the_idle_power_is_known_the_energy_says_so(
    clock: ManualClock, proc: Path
) -> None:
    meter = meter_of(clock, proc, watts_of(clock, 100.0))
    crowd = meter.crowd_of(ScriptedTree(used_s=clock.monotonic))
    await meter.sample(at_rest=True)
    ticket = crowd.begin()
    await samples(meter, clock, 2.0, at_rest=False)
    crowd.end(ticket)
    await samples(meter, clock, 0.5, at_rest=False)
    assert joules(ticket.cost) == pytest.approx(200.0, rel=0.01)
    assert ticket.cost is not None
    assert "not known yet" in (ticket.cost.energy_mwh.note or "")


async def test_a_short_request_has_its_energy_with_the_word_coarse(
    clock: ManualClock, proc: Path
) -> None:
    meter = meter_of(clock, proc, watts_of(clock, 100.0, update_s=0.1))
    crowd = meter.crowd_of(ScriptedTree(used_s=clock.monotonic))
    await samples(meter, clock, 1.0, at_rest=True)
    ticket = crowd.begin()
    await samples(meter, clock, 0.4, at_rest=False)
    crowd.end(ticket)
    await samples(meter, clock, 1.0, at_rest=False)
    assert ticket.cost is not None
    assert ticket.cost.energy_mwh.error_pct == pytest.approx(50.0)
    assert "coarse" in (ticket.cost.energy_mwh.note or "")


async def test_a_counter_that_stands_still_does_not_hold_a_receipt_up_for_ever(
    clock: ManualClock, proc: Path
) -> None:
    still = SteppedCounter(
        course=Course(pieces=((0.0, 0.0),)), clock=clock.monotonic, update_s=0.001
    )
    meter = meter_of(clock, proc, still)
    crowd = meter.crowd_of(ScriptedTree(used_s=clock.monotonic))
    await meter.sample(at_rest=True)
    ticket = crowd.begin()
    await samples(meter, clock, 1.0, at_rest=False)
    crowd.end(ticket)
    await samples(meter, clock, 0.5, at_rest=False)
    assert ticket.cost is not None
    assert ticket.cost.energy_mwh.note == "the counter did not change in time"


async def test_receipts_and_the_rest_add_up_to_what_the_counter_says(
    clock: ManualClock, proc: Path
) -> None:
    meter = meter_of(clock, proc, watts_of(clock, 80.0, update_s=0.1))
    one = meter.crowd_of(ScriptedTree(used_s=lambda: clock.monotonic() * 0.4, pid=1, pids=(1,)))
    other = meter.crowd_of(ScriptedTree(used_s=lambda: clock.monotonic() * 1.6, pid=2, pids=(2,)))
    await samples(meter, clock, 3.0, at_rest=True)
    tickets = []
    for number in range(6):
        crowd = one if number % 2 else other
        ticket = crowd.begin()
        await samples(meter, clock, 0.35, at_rest=False)
        tickets.append((crowd, ticket))
        if number > 1:
            earlier, before = tickets[number - 2]
            earlier.end(before)
    for crowd, ticket in tickets[-2:]:
        crowd.end(ticket)
    await samples(meter, clock, 1.0, at_rest=False)
    (sums,) = meter.sums().values()
    receipts = sum(joules(ticket.cost) for _, ticket in tickets)
    assert math.isclose(receipts, sums.attributed, abs_tol=1e-9)
    whole = sums.attributed + sums.idle + sums.resting + sums.unattributed
    assert math.isclose(whole, sums.grown, rel_tol=1e-9)
    assert sums.grown > 300


async def test_closing_settles_whoever_waits(clock: ManualClock, proc: Path) -> None:
    meter = meter_of(clock, proc, watts_of(clock, 80.0))
    crowd = meter.crowd_of(ScriptedTree(used_s=clock.monotonic))
    ticket = crowd.begin()
    crowd.end(ticket)
    assert ticket.cost is None
    await meter.close()
    assert ticket.cost is not None


# -- accelerators


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


# -- whom it attends


async def test_an_engine_without_a_process_costs_nothing_that_is_known(
    clock: ManualClock, proc: Path
) -> None:
    crowd = await meter_of(clock, proc).attend(None)
    ticket = crowd.begin()
    assert crowd.end(ticket).note == NO_PROCESS
    assert ticket.cost is not None
    assert ticket.cost.is_exclusive is None


async def test_another_machines_server_gives_what_it_says_and_nothing_else(
    clock: ManualClock, proc: Path
) -> None:
    said = Footprint(
        anonymous_bytes=None, weights_bytes=None, method=Method.ENGINE, reported_bytes=77
    )
    crowd = await meter_of(clock, proc).attend(None, url="http://10.0.0.7:11434", reported=said)
    assert isinstance(crowd, Nobody)
    ticket = crowd.begin()
    assert crowd.end(ticket).note == "it is another machine's"
    assert ticket.cost is not None
    assert (ticket.cost.peak_bytes.value, ticket.cost.peak_bytes.method) == (77.0, Method.ENGINE)


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs /proc")
async def test_a_server_of_this_machine_is_counted_by_who_listens() -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    meter = Meter(Hardware(), clock=ManualClock(), reader=ProcessReader())
    async with server:
        url = f"http://127.0.0.1:{port}"
        one = await meter.attend(None, url=url)
        other = await meter.attend(None, url=url)
    assert isinstance(one, Crowd)
    assert one is other
    assert one.tree.pid == os.getpid()
    ticket = one.begin()
    share = one.end(ticket)
    assert (share.method, share.note) == (Method.SHARED, OF_ALL)
    assert "nobody" in (listener_of(url).reason or "")


def test_what_forwards_to_a_container_is_not_who_does_the_work(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    row = "0: 0100007F:2CAA 00000000:0000 0A 0:0 0:0 0 0 0 4711 1 0"
    (tmp_path / "net" / "tcp").write_text(f"head\n{row}\n", encoding="ascii")
    folder = tmp_path / "50"
    (folder / "fd").mkdir(parents=True)
    (folder / "comm").write_text("docker-proxy\n", encoding="ascii")
    (folder / "fd" / "3").symlink_to("socket:[4711]")
    found = listener_of("http://localhost:11434", proc=tmp_path)
    assert found.reason == "docker-proxy forwards port 11434 to a container"


def test_a_server_of_another_user_is_not_told(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    row = "0: 0100007F:2CAA 00000000:0000 0A 0:0 0:0 0 0 0 4711 1 0"
    (tmp_path / "net" / "tcp").write_text(f"head\n{row}\n", encoding="ascii")
    assert "another user" in (listener_of("http://[::1]:11434", proc=tmp_path).reason or "")


# -- when it samples


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


def test_a_process_that_nobody_is_served_by_any_more_is_forgotten(
    clock: ManualClock, proc: Path
) -> None:
    meter = meter_of(clock, proc)
    tree = ScriptedTree(used_s=clock.monotonic)
    crowd = meter.crowd_of(tree)
    assert meter.crowd_of(tree) is crowd  # two models at one server
    meter.leave(crowd)
    assert meter.crowd_of(tree) is crowd
    meter.leave(crowd)
    meter.leave(crowd)
    assert meter.crowd_of(tree) is not crowd


def test_where_there_is_no_proc_psutil_tells_who_belongs_to_a_process() -> None:
    reader = ProcessReader()
    tree = PortableTree(os.getpid(), read_cpu=reader.cpu_ns)
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE
    ) as child:
        tree.look(Table(()))
        assert child.pid in tree.pids
        assert (tree.cpu_ns() or 0) > (reader.cpu_ns(child.pid) or 0)
        child.communicate(b"")
    gone = PortableTree(child.pid, read_cpu=reader.cpu_ns)
    gone.look(Table(()))
    assert gone.cpu_ns() is None


async def _idle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)  # noqa: TID251  # lets what was started begin
