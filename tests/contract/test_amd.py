"""AMD's devices, on a stand-in of AMD SMI with the shapes of the real package."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from tests.standins.amd_smi import NO_DRIVER, NOT_SUPPORTED, ScriptedSmi, SmiDevice, process

from arbiter.hardware.amd import MIXED, NOT_VERIFIED, Amd, Library
from arbiter.hardware.amd import installed as installed_smi
from arbiter.hardware.found import find_hardware
from arbiter.hardware.reading import ProcessUse, Use
from arbiter.studies.standins import write_card

BROKEN = dict.fromkeys(
    (
        "amdsmi_get_gpu_asic_info",
        "amdsmi_get_gpu_driver_info",
        "amdsmi_get_energy_count",
        "amdsmi_get_gpu_activity",
        "amdsmi_get_gpu_memory_total",
        "amdsmi_get_gpu_memory_usage",
        "amdsmi_get_gpu_process_list",
    ),
    NOT_SUPPORTED,
)


def used(*processes: ProcessUse | object, device: SmiDevice) -> Use:
    """How the device is used."""
    del processes
    (use,) = Amd(ScriptedSmi(device)).use()
    return use


def of(device: SmiDevice) -> dict[int, ProcessUse]:
    """What its processes use."""
    use = used(device=device)
    assert use.processes is not None
    return dict(use.processes)


def test_a_device_tells_its_memory_energy_and_how_busy_it_is() -> None:
    reader = Amd(ScriptedSmi(SmiDevice()))
    (seen,), (counter,) = reader.look(), reader.counters()
    assert (seen.key, seen.name, seen.driver) == ("0000:03:00.0", "Scripted Radeon", "6.10.5")
    assert (seen.memory_bytes, seen.memory_used_bytes, seen.busy) == (16 << 30, 2 << 30, 0.4)
    assert dict(seen.unknown) == {"verified": NOT_VERIFIED}
    assert counter.read().value == 15_300  # a thousand counts of 15.3 microjoules
    assert counter.about.device == seen.key


def test_a_process_that_draws_is_known_by_its_nanoseconds() -> None:
    device = SmiDevice(processes=(process(7, gfx=500, vram=9), process(8, gfx=300, vram=5)))
    assert of(device) == {
        7: ProcessUse(engine_ns=500, memory_bytes=9),
        8: ProcessUse(engine_ns=300, memory_bytes=5),
    }


def test_who_is_alone_there_uses_all_that_is_used() -> None:
    device = SmiDevice(gfx_activity=70, processes=(process(7, vram=9), process(8)))
    assert of(device) == {
        7: ProcessUse(busy=0.7, memory_bytes=9),
        8: ProcessUse(busy=0.0, memory_bytes=0),
    }


def test_of_several_that_compute_each_has_its_compute_units() -> None:
    device = SmiDevice(processes=(process(7, vram=9, units=16), process(8, vram=5, units=99)))
    assert [one.busy for one in of(device).values()] == [0.25, 1.0]


@pytest.mark.parametrize(("units", "occupied"), [("N/A", 16), (64, "N/A")])
def test_what_is_not_told_of_a_process_is_unknown(units: int | str, occupied: int | str) -> None:
    both = (process(7, vram=9, units=occupied), process(8, vram=5, units=occupied))
    use = used(device=SmiDevice(units=units, processes=both))
    assert use.processes is not None
    assert [one.busy for one in use.processes.values()] == [None, None]
    assert use.reason == MIXED


def test_a_guest_that_may_read_nothing_says_so_in_amds_words() -> None:
    reader = Amd(ScriptedSmi(SmiDevice(fails=BROKEN)))
    (seen,), (use,) = reader.look(), reader.use()
    assert (seen.memory_bytes, seen.busy, seen.name, seen.driver) == (None, None, None, None)
    said = "AMD SMI: Error code: 2 | AMDSMI_STATUS_NOT_SUPPORTED - Feature not supported"
    assert seen.unknown["energy"] == seen.unknown["memory"] == said
    assert reader.counters() == ()
    assert (use.processes, use.reason) == (None, said)


def test_a_device_that_does_not_tell_how_busy_it_is_leaves_that_unknown() -> None:
    (seen,) = Amd(ScriptedSmi(SmiDevice(gfx_activity="N/A"))).look()
    assert seen.busy is None
    assert "busy" in seen.unknown


def test_a_counter_that_fails_later_says_why() -> None:
    device = SmiDevice()
    (counter,) = Amd(ScriptedSmi(device)).counters()
    device.fails = BROKEN
    assert counter.read().value is None
    assert "NOT_SUPPORTED" in str(counter.read().reason)


@pytest.mark.parametrize(
    ("library", "why"),
    [
        (
            ScriptedSmi(fails={"amdsmi_init": NO_DRIVER}),
            "AMD SMI: Error code: 34 | AMDSMI_STATUS_DRIVER_NOT_LOADED - Driver not loaded",
        ),
        (ScriptedSmi(), "AMD SMI sees no device"),
        ("it is not installed", "it is not installed"),
    ],
)
def test_without_a_device_the_reason_is_said(library: Library | str, why: str) -> None:
    reader = Amd(library)
    assert (reader.missing(), reader.look(), reader.counters(), reader.use()) == (why, (), (), ())


def test_without_the_package_or_its_library_it_is_said_what_to_install() -> None:
    found = installed_smi()
    if importlib.util.find_spec("amdsmi") is None:
        assert "arbiter-house[amd]" in str(found)
    elif isinstance(found, str):
        assert "libamd_smi.so" in found


@pytest.mark.parametrize("fails", [{}, {"amdsmi_get_energy_count": NOT_SUPPORTED}])
def test_a_card_is_told_of_once_and_its_energy_once(
    tmp_path: Path, fails: dict[str, object]
) -> None:
    write_card(tmp_path, address="0000:03:00.0", microjoules=77)
    device = SmiDevice(fails=fails)  # type: ignore[arg-type]  # its errors, by name
    found = find_hardware(
        sys=tmp_path, proc=tmp_path, nvml="none", monitor="none", smi=ScriptedSmi(device)
    )
    seen = [one for reader in found.accelerators.values() for one in reader.look()]
    assert [one.source for one in seen] == ["amdsmi"]
    assert [one.about.source for one in found.counters] == ["drm" if fails else "amdsmi"]
    assert "every card" in str(found.accelerators["drm"].missing())
