"""macOS's account of a process, on a stand-in that fills the real structure."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping

import pytest

from arbiter.cost import Method
from arbiter.hardware.rusage import FLAVOR, Rusage, RusageReader, Timebase, installed
from arbiter.metering.process import ProcessReader, system_rusage

PID = 42


class ScriptedLibrary:
    """Stands for libSystem: it fills what it is given, and gives 0 when it did."""

    def __init__(self, counts: Mapping[str, int], *, numer: int = 125, denom: int = 3) -> None:
        self.counts = dict(counts)
        self.base = (numer, denom)

    def proc_pid_rusage(self, pid: int, flavor: int, into: object) -> int:
        """As of a process of another user where it is not the one that it knows."""
        if pid != PID:
            return -1
        assert flavor == FLAVOR
        found = ctypes.cast(into, ctypes.POINTER(Rusage)).contents  # type: ignore[arg-type]  # a byref
        for name, value in self.counts.items():
            setattr(found, f"ri_{name}", value)
        return 0

    def mach_timebase_info(self, into: object) -> int:
        """Of Apple's chips by default: a unit is 41.7 ns."""
        base = ctypes.cast(into, ctypes.POINTER(Timebase)).contents  # type: ignore[arg-type]  # a byref
        base.numer, base.denom = self.base
        return 0


LIBRARY = ScriptedLibrary(
    {
        "user_time": 24_000_000,
        "system_time": 48_000_000,
        "phys_footprint": 300,
        "resident_size": 1_000,
        "neural_footprint": 5,
        "energy_nj": 7_000_000_000,
    }
)


def test_the_structure_is_laid_out_as_in_apples_header() -> None:
    # bsd/sys/resource.h: an id, 42 counts up to ri_penergy_nj, and 14 that older headers reserve
    assert ctypes.sizeof(Rusage) == 16 + 8 * (42 + 14)
    assert Rusage.ri_energy_nj.offset == 336
    assert Rusage.ri_phys_footprint.offset == 16 + 8 * 7


def test_times_are_in_units_of_machs_clock_and_energy_in_nanojoules() -> None:
    told = RusageReader(LIBRARY).read(PID)
    assert told.cpu_ns == 3_000_000_000
    assert told.energy_nj == 7_000_000_000
    assert (told.footprint_bytes, told.mapped_bytes, told.neural_bytes) == (300, 700, 5)


@pytest.mark.parametrize("pid", [-1, 0, 43])
def test_a_process_that_may_not_be_read_says_so(pid: int) -> None:
    with pytest.raises(OSError, match="proc_pid_rusage tells nothing"):
        RusageReader(LIBRARY).read(pid)


def test_without_a_clocks_unit_nothing_is_read() -> None:
    with pytest.raises(OSError, match="mach_timebase_info"):
        RusageReader(ScriptedLibrary({}, denom=0))


def test_a_process_reader_takes_time_and_memory_from_it() -> None:
    reader = ProcessReader(rusage=RusageReader(LIBRARY))
    assert reader.cpu_ns(PID) == 3_000_000_000
    assert reader.cpu_ns(43) is None
    found = reader.memory(PID)
    assert (found.footprint.anonymous_bytes, found.footprint.weights_bytes) == (300, 700)
    assert found.footprint.method is Method.ESTIMATED
    lost = reader.memory(43)
    assert lost.footprint.total_bytes is None
    assert "process 43" in str(lost.reason)


def test_more_of_its_own_than_is_resident_leaves_no_mapped_files() -> None:
    compressed = RusageReader(ScriptedLibrary({"phys_footprint": 900, "resident_size": 400}))
    assert compressed.read(PID).mapped_bytes == 0


def test_what_is_no_mac_is_said_to_be_none() -> None:
    assert installed("Linux") == "this is no Mac"
    assert isinstance(installed("Darwin"), str) or hasattr(installed("Darwin"), "proc_pid_rusage")
    assert isinstance(system_rusage(), str | RusageReader)
