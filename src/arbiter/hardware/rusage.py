"""What macOS tells of a process by ``proc_pid_rusage``: CPU time, memory, energy of its CPU time.

It needs no rights for processes of the same user. Its times are in units of Mach's clock, which are
not nanoseconds on Apple's chips, so they are converted. Its energy is the processor's part alone,
by Apple's model of it. What macOS before 13 does not tell is None with the reason.

Sources: ``struct rusage_info_v6`` in bsd/sys/resource.h of apple-oss-distributions/xnu (the fields
after ``ri_penergy_nj`` are reserved in older headers: the neural footprint is 0 there), and
``proc_pid_rusage`` of libproc.h. It was written against these and a stand-in. It has not run on a
Mac.
"""

from __future__ import annotations

import ctypes
import platform
from dataclasses import dataclass
from typing import Final, Protocol, cast

FLAVOR: Final = 6
"""``RUSAGE_INFO_V6``: the first with energy; macOS 13."""

_COUNTS: Final = (
    "user_time", "system_time", "pkg_idle_wkups", "interrupt_wkups", "pageins", "wired_size",
    "resident_size", "phys_footprint", "proc_start_abstime", "proc_exit_abstime",
    "child_user_time", "child_system_time", "child_pkg_idle_wkups", "child_interrupt_wkups",
    "child_pageins", "child_elapsed_abstime", "diskio_bytesread", "diskio_byteswritten",
    "cpu_time_qos_default", "cpu_time_qos_maintenance", "cpu_time_qos_background",
    "cpu_time_qos_utility", "cpu_time_qos_legacy", "cpu_time_qos_user_initiated",
    "cpu_time_qos_user_interactive", "billed_system_time", "serviced_system_time",
    "logical_writes", "lifetime_max_phys_footprint", "instructions", "cycles", "billed_energy",
    "serviced_energy", "interval_max_phys_footprint", "runnable_time", "flags", "user_ptime",
    "system_ptime", "pinstructions", "pcycles", "energy_nj", "penergy_nj",
    "secure_time_in_system", "secure_ptime_in_system", "neural_footprint",
    "lifetime_max_neural_footprint", "interval_max_neural_footprint",
)  # fmt: skip


class Rusage(ctypes.Structure):
    """``struct rusage_info_v6``: an id of 16 bytes, 47 counts of 64 bits, 9 reserved."""

    _fields_ = (
        ("ri_uuid", ctypes.c_uint8 * 16),
        *((f"ri_{name}", ctypes.c_uint64) for name in _COUNTS),
        ("ri_reserved", ctypes.c_uint64 * 9),
    )


class Timebase(ctypes.Structure):
    """``struct mach_timebase_info``: nanoseconds of a unit of Mach's clock, as a fraction."""

    _fields_ = (("numer", ctypes.c_uint32), ("denom", ctypes.c_uint32))


class Library(Protocol):
    """What is called of macOS's system library. Each gives 0 when it did it."""

    def proc_pid_rusage(self, pid: int, flavor: int, into: object, /) -> int:
        """Fill a `Rusage`."""
        ...

    def mach_timebase_info(self, into: object, /) -> int:
        """Fill a `Timebase`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessTold:
    """What a process has used since it began, and holds now.

    footprint_bytes: what is its own, compressed memory too; clean pages of mapped files are not in
    it. resident_bytes: everything of it that is in memory. neural_bytes: of it for the neural
    engine. energy_nj: of its CPU time, in nanojoules.
    """

    cpu_ns: int
    footprint_bytes: int
    resident_bytes: int
    neural_bytes: int
    energy_nj: int

    @property
    def mapped_bytes(self) -> int:
        """Pages of mapped files, at least: what is in memory and not its own."""
        return max(0, self.resident_bytes - self.footprint_bytes)


def installed(system: str = platform.system()) -> Library | str:
    """The system library, or why there is none."""
    if system != "Darwin":
        return "this is no Mac"
    try:
        library = ctypes.CDLL("/usr/lib/libSystem.B.dylib", use_errno=True)
    except OSError as error:
        return f"libSystem: {error}"
    for name in ("proc_pid_rusage", "mach_timebase_info"):
        if not hasattr(library, name):
            return f"libSystem has no {name}"
    return cast("Library", library)


class RusageReader:
    """Reads processes of this user. Raises `OSError` for what cannot be read."""

    def __init__(self, library: Library) -> None:
        self._library = library
        base = Timebase()
        if library.mach_timebase_info(ctypes.byref(base)) or not base.denom:
            raise OSError("mach_timebase_info tells nothing")
        self._numer, self._denom = int(base.numer), int(base.denom)

    def read(self, pid: int) -> ProcessTold:
        """What macOS tells of a process now."""
        found = Rusage()
        if pid <= 0 or self._library.proc_pid_rusage(pid, FLAVOR, ctypes.byref(found)):
            raise OSError(f"process {pid}: proc_pid_rusage tells nothing of it")
        ticks = int(found.ri_user_time) + int(found.ri_system_time)
        return ProcessTold(
            cpu_ns=ticks * self._numer // self._denom,
            footprint_bytes=int(found.ri_phys_footprint),
            resident_bytes=int(found.ri_resident_size),
            neural_bytes=int(found.ri_neural_footprint),
            energy_nj=int(found.ri_energy_nj),
        )

    def cpu_ns(self, pid: int) -> int:
        """Its CPU time, for who asks for nothing else."""
        return self.read(pid).cpu_ns
