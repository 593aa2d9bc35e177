"""NVIDIA's devices through NVML, with the package nvidia-ml-py (the extra ``nvidia``).

Energy is NVML's total since the driver was loaded, in millijoules, on Volta and later; it changes
about every 100 ms, and is what the device says of itself, not a meter at the wall. What a device
does not tell, such as per-process use where it is cut into instances (MIG), is None with NVML's
own words.

The library is handed in; its functions are those of the package, by their names there.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Final, Protocol, cast

from arbiter.hardware.devices import DeviceEnergy, Devices, energy_of
from arbiter.hardware.reading import Accelerator, EnergyCounter, ProcessUse, Use

HIDDEN: Final = "it may be busy and names no process, as where a container hides them"

_NO_VALUE: Final = 2**64 - 1


class MemoryInfo(Protocol):
    """As NVML tells it."""

    total: int
    used: int


class Rates(Protocol):
    """Use in per cent."""

    gpu: int


class RunningProcess(Protocol):
    """A process on the device."""

    pid: int
    usedGpuMemory: int | None  # noqa: N815  # NVML's name


class UseSample(Protocol):
    """Use of a process in per cent, and when that was, in microseconds."""

    pid: int
    smUtil: int  # noqa: N815  # NVML's name
    timeStamp: int  # noqa: N815  # NVML's name


class Library(Protocol):
    """What is called of nvidia-ml-py's module ``pynvml``."""

    NVMLError: type[Exception]

    def nvmlInit(self) -> None: ...  # noqa: D102, N802  # NVML's name
    def nvmlSystemGetDriverVersion(self) -> str: ...  # noqa: D102, N802  # NVML's name
    def nvmlDeviceGetCount(self) -> int: ...  # noqa: D102, N802  # NVML's name
    def nvmlDeviceGetHandleByIndex(self, index: int) -> object: ...  # noqa: D102, N802  # NVML's
    def nvmlDeviceGetUUID(self, handle: object) -> str: ...  # noqa: D102, N802  # NVML's name
    def nvmlDeviceGetName(self, handle: object) -> str: ...  # noqa: D102, N802  # NVML's name
    def nvmlDeviceGetMemoryInfo(self, handle: object) -> MemoryInfo: ...  # noqa: D102, N802
    def nvmlDeviceGetTotalEnergyConsumption(self, handle: object) -> int: ...  # noqa: D102, N802
    def nvmlDeviceGetPowerUsage(self, handle: object) -> int: ...  # noqa: D102, N802
    def nvmlDeviceGetUtilizationRates(self, handle: object) -> Rates: ...  # noqa: D102, N802
    def nvmlDeviceGetComputeRunningProcesses(  # noqa: D102, N802
        self, handle: object
    ) -> Sequence[RunningProcess]: ...
    def nvmlDeviceGetGraphicsRunningProcesses(  # noqa: D102, N802
        self, handle: object
    ) -> Sequence[RunningProcess]: ...
    def nvmlDeviceGetProcessUtilization(  # noqa: D102, N802
        self, handle: object, since: int, /
    ) -> Sequence[UseSample]: ...


def installed() -> Library | str:
    """The library, or why it is not there. Its driver is not called yet."""
    try:
        return cast("Library", importlib.import_module("pynvml"))
    except ImportError:
        return 'nvidia-ml-py is not installed. Run: pip install "arbiter-house[nvidia]"'


class Nvidia:
    """Every NVIDIA device. An `AcceleratorReader`."""

    def __init__(self, library: Library | str) -> None:
        self._since: dict[str, int] = {}
        self._latest: dict[str, Mapping[int, float]] = {}
        if isinstance(library, str):
            self._devices = Devices.none(library)
            return
        self._library = library
        self._devices = Devices(failure=library.NVMLError, words=_words)
        self._devices.find(partial(_found, library), otherwise="NVML sees no device")
        self._asked = self._devices.asked

    def missing(self) -> str | None:
        """Why no device is seen."""
        return self._devices.missing()

    def look(self) -> tuple[Accelerator, ...]:
        """The devices."""
        return self._devices.each(self._accelerator)

    def counters(self) -> tuple[EnergyCounter, ...]:
        """An energy counter for each."""
        return self._devices.each(self._counter)

    def use(self, mine: Collection[int] | None = None) -> tuple[Use, ...]:  # noqa: ARG002  # it tells of all
        """What each is busy with."""
        return self._devices.each(self._use)

    def power_w(self, key: str, /) -> float | None:
        """What a device takes now: NVML tells milliwatts. It is a `PowerReader`."""
        return self._devices.one(key, self._power_w)

    def _power_w(self, handle: object) -> float | None:
        found = self._asked("power", {}, lambda: self._library.nvmlDeviceGetPowerUsage(handle))
        return None if found is None else found / 1000

    def _counter(self, key: str, handle: object) -> EnergyCounter:
        def microjoules() -> int:
            return int(self._library.nvmlDeviceGetTotalEnergyConsumption(handle)) * 1000

        about = energy_of(key, source="nvml")
        return DeviceEnergy(about=about, devices=self._devices, ask=microjoules)

    def _accelerator(self, key: str, handle: object) -> Accelerator:
        library, unknown = self._library, dict[str, str]()
        memory = self._asked("memory", unknown, lambda: library.nvmlDeviceGetMemoryInfo(handle))
        rates = self._asked("busy", unknown, lambda: library.nvmlDeviceGetUtilizationRates(handle))
        self._asked("energy", unknown, lambda: library.nvmlDeviceGetTotalEnergyConsumption(handle))
        return Accelerator(
            key=key,
            name=self._asked("name", unknown, lambda: library.nvmlDeviceGetName(handle)),
            source="nvml",
            memory_bytes=None if memory is None else int(memory.total),
            memory_used_bytes=None if memory is None else int(memory.used),
            busy=None if rates is None else rates.gpu / 100,
            driver=self._asked("driver", unknown, library.nvmlSystemGetDriverVersion),
            unknown=unknown,
        )

    def _use(self, key: str, handle: object) -> Use:
        library, unknown = self._library, dict[str, str]()
        rates = self._asked("busy", unknown, lambda: library.nvmlDeviceGetUtilizationRates(handle))
        running = self._asked(
            "processes", unknown, lambda: library.nvmlDeviceGetComputeRunningProcesses(handle)
        )
        busy = None if rates is None else rates.gpu / 100
        if running is None:
            return Use(key=key, busy=busy, processes=None, reason=unknown["processes"])
        # Vulkan's are among them, and who only draws has its part of the device too
        drawing = self._asked(
            "drawing", {}, lambda: library.nvmlDeviceGetGraphicsRunningProcesses(handle)
        )
        computing = {int(one.pid) for one in running}
        running = [*running, *(one for one in drawing or () if int(one.pid) not in computing)]
        if not running and busy != 0.0:
            # where it does not tell whether it is busy either, as where it is cut into instances
            return Use(key=key, busy=busy, processes={}, reason=HIDDEN, hides=True)
        shares = self._shares(key, handle, is_busy=bool(busy))
        return Use(
            key=key,
            busy=busy,
            processes={
                int(one.pid): ProcessUse(
                    busy=_share(one.pid, running, shares, busy),
                    memory_bytes=_memory(one.usedGpuMemory),
                )
                for one in running
            },
            reason=unknown.get("busy"),
        )

    def _shares(self, key: str, handle: object, *, is_busy: bool) -> Mapping[int, float] | None:
        """The latest share of each process; None when the device does not tell it.

        NVML takes a sample of them once in 1/6 s to 1 s, which is seldomer than it is asked here.
        Until the next one the last holds, as long as the device is busy at all.
        """
        try:
            samples = self._library.nvmlDeviceGetProcessUtilization(handle, self._since.get(key, 0))
        except self._library.NVMLError as error:
            # NVML's word for "no samples since then"
            if "not found" not in str(error).lower():
                return None
            return self._latest.get(key, {}) if is_busy else {}
        latest: dict[int, tuple[int, float]] = {}
        for one in samples:
            if one.timeStamp >= latest.get(one.pid, (0, 0.0))[0]:
                latest[one.pid] = (one.timeStamp, one.smUtil / 100)
        if latest:
            self._since[key] = max(at for at, _ in latest.values())
        self._latest[key] = {pid: share for pid, (_, share) in latest.items()}
        return self._latest[key]


def _found(library: Library) -> Iterator[tuple[str, object]]:
    library.nvmlInit()
    for index in range(library.nvmlDeviceGetCount()):
        handle = library.nvmlDeviceGetHandleByIndex(index)
        yield str(library.nvmlDeviceGetUUID(handle)), handle


def _words(error: Exception) -> str:
    return f"NVML: {error}"


def _share(
    pid: int,
    running: Sequence[RunningProcess],
    shares: Mapping[int, float] | None,
    busy: float | None,
) -> float | None:
    """What falls to a process: all of it when it is alone there."""
    if len(running) == 1:
        return busy
    return None if shares is None else shares.get(pid, 0.0)


def _memory(used: int | None) -> int | None:
    return None if used is None or used == _NO_VALUE else int(used)
