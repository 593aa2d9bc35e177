"""What machines say of themselves, on trees and libraries that stand for them, and on this one."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from arbiter.hardware import powercap
from arbiter.hardware.apple import Apple
from arbiter.hardware.drm import Cards
from arbiter.hardware.found import Hardware, find_hardware
from arbiter.hardware.machine import Snapshot, memory_limit, processor
from arbiter.hardware.nvidia import HIDDEN, Library, Nvidia
from arbiter.hardware.nvidia import installed as installed_nvml
from arbiter.hardware.reading import Part, Reading, absent, number_in
from arbiter.hardware.uses import EngineUse, could_use
from arbiter.studies.standins import (
    ChipEnergy,
    NvmlDevice,
    NvmlProcess,
    NvmlSample,
    ScriptedChip,
    ScriptedNvml,
    write_card,
    write_zone,
)

LOST = dict.fromkeys(
    (
        "nvmlDeviceGetMemoryInfo",
        "nvmlDeviceGetName",
        "nvmlDeviceGetTotalEnergyConsumption",
        "nvmlDeviceGetUtilizationRates",
        "nvmlDeviceGetComputeRunningProcesses",
    ),
    "GPU is lost",
)


def test_a_reading_without_a_value_needs_a_reason() -> None:
    with pytest.raises(ValueError, match="reason"):
        Reading(value=None)


@pytest.mark.parametrize(("text", "value"), [("12\n", 12), ("-3", None), ("many", None)])
def test_only_a_whole_number_is_a_number(tmp_path: Path, text: str, value: int | None) -> None:
    (tmp_path / "n").write_text(text, encoding="ascii")
    assert number_in(tmp_path / "n").value == value


# -- powercap


def test_of_overlapping_zones_each_joule_is_read_once(tmp_path: Path) -> None:
    for folder, name in (
        ("intel-rapl:0", "package-0"),
        ("intel-rapl:0:0", "core"),
        ("intel-rapl:0:1", "uncore"),
        ("intel-rapl:0:2", "dram"),
        ("intel-rapl:1", "package-1"),
        ("intel-rapl:1:0", "dram"),
        ("intel-rapl:2", "psys"),
        ("intel-rapl-mmio:0", "package-0"),
    ):
        write_zone(tmp_path, folder, name)
    root = tmp_path / "class" / "powercap"
    assert [(zone.folder.name, zone.about.part) for zone in powercap.zones(root)] == [
        ("intel-rapl:0", Part.CPU),
        ("intel-rapl:1", Part.CPU),
        ("intel-rapl:0:2", Part.DRAM),
        ("intel-rapl:1:0", Part.DRAM),
    ]
    assert [z.folder.name for z in powercap.zones(root, domain="psys")] == ["intel-rapl:2"]


def test_the_board_is_asked_for_where_there_is_none(tmp_path: Path) -> None:
    write_zone(tmp_path, "intel-rapl:0", "package-0")
    found = powercap.zones(tmp_path / "class" / "powercap", domain="psys")
    assert [zone.about.name for zone in found] == ["package-0"]


def test_a_package_by_mmio_alone_is_read(tmp_path: Path) -> None:
    write_zone(tmp_path, "intel-rapl-mmio:0", "package-0")
    assert len(powercap.zones(tmp_path / "class" / "powercap")) == 1


def test_a_zone_without_a_range_does_not_wrap_as_far_as_is_known(tmp_path: Path) -> None:
    write_zone(tmp_path, "intel-rapl:0", "package-0", wraps_at=None)
    (zone,) = powercap.zones(tmp_path / "class" / "powercap")
    assert zone.about.wraps_at is None


def test_a_counter_that_only_root_may_read_says_so() -> None:
    found = powercap.explained("package-0", absent("energy_uj: Permission denied"))
    assert found.value is None
    assert "udev" in (found.reason or "")


def test_a_counter_that_is_a_folder_or_gone_is_unknown_with_a_reason(tmp_path: Path) -> None:
    zone = write_zone(tmp_path, "intel-rapl:0", "package-0")
    (zone / "energy_uj").unlink()
    why = powercap.missing(tmp_path / "class" / "powercap")
    assert why == "package-0: energy_uj: No such file or directory"
    assert find_hardware(sys=tmp_path, proc=tmp_path).counters == ()


@pytest.mark.parametrize("make", [False, True])
def test_no_rapl_is_said_with_why(tmp_path: Path, make: bool) -> None:
    if make:
        (tmp_path / "class" / "powercap").mkdir(parents=True)
    found = find_hardware(sys=tmp_path, proc=tmp_path, nvml="none", monitor="none")
    assert found.counters == ()
    assert "RAPL" in found.missing["rapl"]


# -- NVML


def test_a_device_tells_its_memory_energy_and_who_uses_it() -> None:
    device = NvmlDevice(
        uuid="GPU-7",
        millijoules=lambda: 1234,
        busy=60,
        running=(NvmlProcess(pid=10, usedGpuMemory=5), NvmlProcess(pid=11, usedGpuMemory=None)),
        samples=(
            NvmlSample(pid=10, smUtil=20, timeStamp=100),
            NvmlSample(pid=10, smUtil=40, timeStamp=200),
        ),
    )
    reader = Nvidia(ScriptedNvml([device]))
    (seen,), (counter,), (use,) = reader.look(), reader.counters(), reader.use()
    assert (seen.name, seen.memory_bytes, seen.busy, dict(seen.unknown)) == (
        "Scripted GPU", 80 << 30, 0.6, {},
    )  # fmt: skip
    assert counter.read().value == 1_234_000
    assert counter.about.device == use.key == "GPU-7"
    assert use.processes is not None
    assert (use.processes[10].busy, use.processes[10].memory_bytes) == (0.4, 5)
    assert (use.processes[11].busy, use.processes[11].memory_bytes) == (0.0, None)


def test_between_two_samples_of_its_processes_the_last_holds_while_a_device_is_busy() -> None:
    # NVML takes one in 1/6 s to 1 s, is asked ten times a second, and says "not found" between
    device = NvmlDevice(
        busy=60,
        running=(NvmlProcess(pid=10, usedGpuMemory=5), NvmlProcess(pid=11, usedGpuMemory=5)),
        samples=(NvmlSample(pid=10, smUtil=40, timeStamp=200),),
    )
    reader = Nvidia(ScriptedNvml([device]))
    found = []
    for busy in (60, 60, 0):
        device.busy = busy
        (use,) = reader.use()
        assert use.processes is not None
        found.append(use.processes[10].busy)
    assert found == [0.4, 0.4, 0.0]


def test_who_draws_on_a_device_is_there_too_so_nobody_else_is_alone() -> None:
    device = NvmlDevice(
        busy=80,
        running=(NvmlProcess(pid=10, usedGpuMemory=5),),
        drawing=(NvmlProcess(pid=10, usedGpuMemory=5), NvmlProcess(pid=4, usedGpuMemory=9)),
        samples=(NvmlSample(pid=4, smUtil=70, timeStamp=1),),
    )
    (use,) = Nvidia(ScriptedNvml([device])).use()
    assert use.processes is not None
    assert {pid: one.busy for pid, one in use.processes.items()} == {10: 0.0, 4: 0.7}


@pytest.mark.parametrize(
    "device",
    [NvmlDevice(busy=80), NvmlDevice(fails={"nvmlDeviceGetUtilizationRates": "Not Supported"})],
    ids=["busy", "it does not say"],
)
def test_a_device_that_may_be_busy_and_names_nobody_hides_who_it_is(device: NvmlDevice) -> None:
    reader = Nvidia(ScriptedNvml([device]))
    (use,) = reader.use()
    assert (use.hides, use.reason) == (True, HIDDEN)


def test_a_device_at_rest_that_names_nobody_is_used_by_nobody() -> None:
    (use,) = Nvidia(ScriptedNvml([NvmlDevice(busy=0)])).use()
    assert (use.hides, use.processes) == (False, {})


def test_a_process_that_is_alone_on_a_device_uses_all_that_is_used() -> None:
    device = NvmlDevice(busy=80, running=(NvmlProcess(pid=10, usedGpuMemory=5),))
    (use,) = Nvidia(ScriptedNvml([device])).use()
    assert use.processes is not None
    assert use.processes[10].busy == 0.8


def test_a_lost_device_is_unknown_in_nvmls_own_words() -> None:
    reader = Nvidia(ScriptedNvml([NvmlDevice(fails=LOST)]))
    (seen,), (counter,), (use,) = reader.look(), reader.counters(), reader.use()
    assert (seen.memory_bytes, seen.busy, seen.name) == (None, None, None)
    assert seen.unknown["energy"] == "NVML: GPU is lost"
    assert counter.read().value is None
    assert (use.processes, use.reason) == (None, "NVML: GPU is lost")


def test_a_device_cut_into_instances_does_not_tell_who_uses_it() -> None:
    fails = {"nvmlDeviceGetProcessUtilization": "Not Supported"}
    running = (NvmlProcess(pid=1, usedGpuMemory=2**64 - 1), NvmlProcess(pid=2, usedGpuMemory=3))
    (use,) = Nvidia(ScriptedNvml([NvmlDevice(fails=fails, running=running)])).use()
    assert use.processes is not None
    assert [one.busy for one in use.processes.values()] == [None, None]
    assert use.processes[1].memory_bytes is None


@pytest.mark.parametrize(
    ("library", "why"),
    [
        (ScriptedNvml(fails={"nvmlInit": "Driver Not Loaded"}), "NVML: Driver Not Loaded"),
        (ScriptedNvml(), "NVML sees no device"),
        ("it is not installed", "it is not installed"),
    ],
)
def test_without_a_device_the_reason_is_said(library: Library | str, why: str) -> None:
    reader = Nvidia(library)
    assert (reader.missing(), reader.look(), reader.counters(), reader.use()) == (why, (), (), ())


def test_the_stand_in_has_only_functions_that_nvidias_package_has() -> None:
    library = installed_nvml()
    if isinstance(library, str):
        pytest.skip("nvidia-ml-py is not installed")
    for name in vars(ScriptedNvml):
        if name.startswith("nvml"):
            assert callable(getattr(library, name))


def test_without_nvidias_package_it_is_said_what_to_install() -> None:
    if importlib.util.find_spec("pynvml") is not None:
        pytest.skip("nvidia-ml-py is installed")
    assert "arbiter-house[nvidia]" in str(installed_nvml())


# -- DRM


def test_a_card_tells_its_memory_energy_and_what_processes_used(tmp_path: Path) -> None:
    write_card(tmp_path / "sys", address="0000:03:00.0", microjoules=77)
    folder = tmp_path / "proc" / "42" / "fdinfo"
    folder.mkdir(parents=True)
    client = (
        "pos:\t0\ndrm-driver:\tamdgpu\ndrm-client-id:\t9\ndrm-pdev:\t0000:03:00.0\n"
        "drm-memory-vram:\t2048 KiB\ndrm-engine-gfx:\t500 ns\ndrm-engine-compute:\t700 ns\n"
        "drm-engine-capacity-compute:\t4\n"
    )
    (folder / "5").write_text(client, encoding="ascii")
    (folder / "6").write_text(client, encoding="ascii")  # the same client, open twice
    (folder / "7").write_text("pos:\t0\n", encoding="ascii")
    reader = Cards(sys=tmp_path / "sys", proc=tmp_path / "proc")
    (seen,), (counter,), (use,) = reader.look(), reader.counters(), reader.use()
    assert (seen.memory_bytes, seen.memory_used_bytes, seen.busy) == (16 << 30, 2 << 30, 0.37)
    assert counter.read().value == 77
    assert use.processes is not None
    assert (use.processes[42].engine_ns, use.processes[42].memory_bytes) == (1200, 2048 * 1024)


def test_a_card_without_counters_says_which_are_missing(tmp_path: Path) -> None:
    device = write_card(tmp_path, address="0000:03:00.0", driver="i915")
    for name in ("gpu_busy_percent", "mem_info_vram_total"):
        (device / name).unlink()
    reader = Cards(sys=tmp_path, proc=tmp_path)
    (seen,) = reader.look()
    assert set(seen.unknown) == {"memory", "busy", "name", "energy"}
    assert reader.counters() == ()


def test_a_card_of_another_driver_is_no_accelerator(tmp_path: Path) -> None:
    write_card(tmp_path, address="0000:03:00.0", driver="simpledrm")
    assert Cards(sys=tmp_path, proc=tmp_path).missing() is not None


# -- Apple


def test_a_macs_chip_tells_millijoules_by_part() -> None:
    chip = ScriptedChip(energy=ChipEnergy(cpu_total_mj=1, gpu_mj=2, ane_mj=None, dram_mj=3))
    found = {one.about.part: one.read() for one in Apple(chip).counters()}
    assert (found[Part.CPU].value, found[Part.GPU].value) == (1000, 2000)
    assert found[Part.ANE].value is None
    assert all("not verified" in one.unknown["verified"] for one in Apple(chip).look())
    assert all(use.processes is None for use in Apple(chip).use())


def test_a_mac_that_fails_says_so() -> None:
    counter = Apple(ScriptedChip(fails="no channel")).counters()[0]
    assert counter.read().reason == "cpu: IOReport: no channel"
    assert Apple("this is no Mac").missing() == "this is no Mac"


# -- the machine


def test_a_snapshot_of_this_machine_invents_nothing() -> None:
    seen = find_hardware(nvml="not asked", monitor="not asked").snapshot(lambda: None)
    assert seen.memory_bytes > seen.memory_available_bytes > 0
    assert seen.usable_cores is not None
    assert seen.unknown["nvidia"] == "not asked"
    assert seen.unknown["on_battery"] == "the system does not say"


def test_an_empty_machine_has_nothing_but_reasons(tmp_path: Path) -> None:
    found = Hardware(proc=tmp_path, sys=tmp_path)
    seen = found.snapshot(lambda: False)
    assert (seen.accelerators, seen.counters, seen.memory_limit_bytes) == ((), (), None)


def test_the_processor_and_a_limit_on_memory_are_read(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Some CPU\n", "ascii")
    (tmp_path / "fs" / "cgroup").mkdir(parents=True)
    (tmp_path / "fs" / "cgroup" / "memory.max").write_text("4096\n", "ascii")
    assert (processor(tmp_path), memory_limit(tmp_path)) == ("Some CPU", 4096)
    (tmp_path / "fs" / "cgroup" / "memory.max").write_text("max\n", "ascii")
    assert memory_limit(tmp_path) is None


# -- what engines could use


def test_what_an_engine_could_use_is_said_with_why() -> None:
    bare = Hardware().snapshot(lambda: False)
    device = Nvidia(ScriptedNvml([NvmlDevice()]))
    with_gpu = Hardware(accelerators={"nvidia": device}).snapshot(lambda: False)

    def use(machine: Snapshot, **more: bool) -> EngineUse:
        facts = {"available": True, "is_server": False, "computes": True, **more}
        return could_use(machine, engine="one", why="not installed", **facts)

    assert use(bare, available=False).reason == "not installed"
    assert use(bare).accelerators == ()
    assert use(bare, computes=False).processor is True
    assert use(bare, is_server=True).processor is None
    assert use(with_gpu).accelerators is None
    assert "Scripted GPU" in use(with_gpu).reason
