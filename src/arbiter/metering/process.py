"""Reading another process: the CPU time it has used and the memory it holds.

On Linux the CPU clock of a process is read directly: nanoseconds, threads that have ended
included, half a microsecond a reading, where ``/proc/PID/stat`` counts ticks of 10 ms. Elsewhere
psutil answers, as finely as the system does, and on a Mac ``proc_pid_rusage``
(`arbiter.hardware.rusage`). What cannot be read is None, with the reason.

Memory is read from ``/proc/PID/status``, which costs microseconds; ``smaps`` would hold up the
process for as long as it walks its pages.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from arbiter.cost import Footprint, Method
from arbiter.hardware.rusage import RusageReader
from arbiter.hardware.rusage import installed as installed_rusage

_NEEDED: Final = ("RssAnon", "RssFile")


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuReading:
    """The CPU time a process has used since it started, or why it is not known."""

    nanoseconds: int | None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryReading:
    """The memory a process holds, and why a part of it is not known."""

    footprint: Footprint
    reason: str | None = None


def kernel_cpu_ns(pid: int) -> int:
    """The CPU clock of a process on Linux. Raises `OSError` when there is no such process.

    The clock id is the kernel's own encoding of (process, scheduler clock), as in
    ``clock_getcpuclockid``, which Python offers for its own threads only.
    """
    return time.clock_gettime_ns((~pid << 3) | 2)


def portable_cpu_ns(pid: int) -> int:
    """The CPU time of a process as psutil knows it. Raises `OSError` when it cannot."""
    try:
        used = psutil.Process(pid).cpu_times()
    except psutil.Error as error:
        raise OSError(str(error)) from error
    return round((used.user + used.system) * 1e9)


class ProcessReader:
    """Reads processes by pid.

    proc: where the process file system is, for tests. read_cpu: the CPU clock, by default the
    best that this system has. rusage: macOS's account of processes, or why there is none; by
    default what this system has.
    """

    def __init__(
        self,
        *,
        proc: Path = Path("/proc"),
        read_cpu: Callable[[int], int] | None = None,
        rusage: RusageReader | str | None = None,
    ) -> None:
        self._proc = proc
        self._linux = sys.platform == "linux"
        told = system_rusage() if rusage is None else rusage
        self._rusage = None if isinstance(told, str) else told
        best = kernel_cpu_ns if self._linux else portable_cpu_ns
        self._read_cpu = read_cpu or (best if self._rusage is None else self._rusage.cpu_ns)

    def cpu_ns(self, pid: int) -> int | None:
        """Nanoseconds of CPU time since the process started; None when they cannot be read."""
        try:
            return self._read_cpu(pid) if pid > 0 else None
        except (OSError, OverflowError):
            return None

    def cpu(self, pid: int) -> CpuReading:
        """As `cpu_ns`, with the reason when it is unknown."""
        if pid <= 0:
            # pid 0 would read the clock of this process, and a receipt would be plainly wrong
            return CpuReading(nanoseconds=None, reason=f"{pid} is no process id")
        try:
            return CpuReading(nanoseconds=self._read_cpu(pid))
        except (OSError, OverflowError) as error:
            return CpuReading(nanoseconds=None, reason=f"process {pid}: {error}")

    def footprint(self, pid: int) -> Footprint:
        """The memory that a process holds, as far as it can be read."""
        return self.memory(pid).footprint

    def held(self, pid: int) -> tuple[int, int] | None:
        """Private and mapped bytes, as `memory` has them, a third as dear; None: `memory` says why.

        It is read ten times a second for every process, so nothing is made of the other lines.
        """
        try:
            file = os.open(f"{self._proc}/{pid}/status", os.O_RDONLY)
        except OSError:
            return None
        try:
            text = os.read(file, 8192)
        except OSError:
            return None
        finally:
            os.close(file)
        private, mapped = _line(text, b"\nRssAnon:"), _line(text, b"\nRssFile:")
        if private is None or mapped is None:
            return None
        return private + (_line(text, b"\nVmSwap:") or 0), mapped

    def memory(self, pid: int) -> MemoryReading:
        """As `footprint`, with the reason when something is unknown."""
        if self._rusage is not None:
            return _on_a_mac(self._rusage, pid)
        try:
            text = (self._proc / str(pid) / "status").read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            if not self._linux and not self._proc.exists():
                return _resident(pid)
            return _nothing(f"process {pid}: {error.strerror or error}")
        return _parsed(text, pid)


def _line(text: bytes, key: bytes) -> int | None:
    """The bytes that one line of a status file tells."""
    start = text.find(key)
    if start < 0:
        return None
    words = text[start + len(key) : text.find(b"kB", start)].strip()
    return int(words) * 1024 if words.isdigit() else None


def _nothing(reason: str) -> MemoryReading:
    return MemoryReading(
        footprint=Footprint(anonymous_bytes=None, weights_bytes=None, method=Method.UNKNOWN),
        reason=reason,
    )


def _parsed(text: str, pid: int) -> MemoryReading:
    """The memory lines of a status file; a line that is missing or odd makes its part unknown."""
    found: dict[str, int] = {}
    for line in text.splitlines():
        key, _, rest = line.partition(":")
        words = rest.split()
        if len(words) == 2 and words[1] == "kB" and words[0].isascii() and words[0].isdigit():
            found[key] = int(words[0]) * 1024
    missing = [key for key in _NEEDED if key not in found]
    if missing:
        # a zombie has no memory lines at all, and old kernels do not split the resident set
        reason = f"process {pid}: its status has no {' and no '.join(missing)}"
        return MemoryReading(
            footprint=Footprint(
                anonymous_bytes=None,
                weights_bytes=found.get("RssFile"),
                method=Method.MEASURED if "RssFile" in found else Method.UNKNOWN,
            ),
            reason=reason,
        )
    return MemoryReading(
        footprint=Footprint(
            anonymous_bytes=found["RssAnon"] + found.get("VmSwap", 0),
            weights_bytes=found["RssFile"],
            method=Method.MEASURED,
        )
    )


def _on_a_mac(rusage: RusageReader, pid: int) -> MemoryReading:
    """What is its own, and the rest of what is in memory of it: the mapped files, at least.

    Of a process whose own memory is compressed the rest is larger than that, so it is an estimate.
    """
    try:
        told = rusage.read(pid)
    except OSError as error:
        return _nothing(str(error))
    return MemoryReading(
        footprint=Footprint(
            anonymous_bytes=told.footprint_bytes,
            weights_bytes=told.mapped_bytes,
            method=Method.ESTIMATED,
        )
    )


def system_rusage() -> RusageReader | str:
    """This system's own, or why there is none."""
    library = installed_rusage()
    if isinstance(library, str):
        return library
    try:
        return RusageReader(library)
    except OSError as error:
        return str(error)


def _resident(pid: int) -> MemoryReading:
    """Where the resident set cannot be split, all of it counts as private, and it says so."""
    try:
        resident = psutil.Process(pid).memory_info().rss
    except psutil.Error as error:
        return _nothing(f"process {pid}: {error}")
    return MemoryReading(
        footprint=Footprint(
            anonymous_bytes=int(resident), weights_bytes=0, method=Method.ESTIMATED
        ),
        reason="this system does not tell mapped weights from private memory",
    )
