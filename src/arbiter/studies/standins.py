"""Machines that are not there: counters of known energy, for checks and for tests.

A `Course` knows what a device has used at any moment. A stand-in shows it as the real thing would:
in steps, wrapping, or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from arbiter.hardware.reading import About, Part, Reading

RAPL_WRAPS_AT = 262_143_328_850
"""Where most processors' counters begin again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """Power over time, piece by piece: from each moment on so many watts, in the order of time.

    >>> course = Course(pieces=((0.0, 50.0), (2.0, 300.0)))
    >>> course.joules(2.0), course.joules(3.0)
    (100.0, 400.0)
    """

    pieces: tuple[tuple[float, float], ...]

    def joules(self, at: float) -> float:
        """The energy from the start to this moment."""
        total = 0.0
        ends = [start for start, _ in self.pieces[1:]] + [at]
        for (start, watts), end in zip(self.pieces, ends, strict=True):
            total += watts * max(0.0, min(end, at) - start)
        return total


@dataclass(slots=True, kw_only=True)
class SteppedCounter:
    """A counter that shows what a course has used, changing every so many seconds.

    It is an `EnergyCounter`. clock: seconds since the start of the course. offset_s: when its
    first change comes.
    """

    course: Course
    clock: Callable[[], float]
    update_s: float
    part: Part = Part.CPU
    wraps_at: int | None = None
    offset_s: float = 0.0
    device: str | None = None
    base_uj: int = 0

    @property
    def about(self) -> About:
        """What it counts."""
        return About(
            name="stepped",
            source="scripted",
            part=self.part,
            update_s=self.update_s,
            wraps_at=self.wraps_at,
            device=self.device,
        )

    def read(self) -> Reading:
        """Microjoules as of its latest change."""
        now = self.clock() - self.offset_s
        seen = (now // self.update_s) * self.update_s + self.offset_s
        shown = self.base_uj + round(self.course.joules(max(0.0, seen)) * 1e6)
        return Reading(value=shown if self.wraps_at is None else shown % self.wraps_at)


def write_zone(
    root: Path,
    folder: str,
    name: str,
    *,
    microjoules: int = 0,
    wraps_at: int | None = 262_143_328_850,
) -> Path:
    """A zone of a powercap tree as the kernel shows it; the folder of the zone."""
    zone = root / "class" / "powercap" / folder
    zone.mkdir(parents=True, exist_ok=True)
    (zone / "name").write_text(f"{name}\n", encoding="ascii")
    (zone / "energy_uj").write_text(f"{microjoules}\n", encoding="ascii")
    if wraps_at is not None:
        (zone / "max_energy_range_uj").write_text(f"{wraps_at}\n", encoding="ascii")
    return zone


class NvmlError(Exception):
    """As NVML's: its words are its code."""


@dataclass(slots=True, kw_only=True)
class NvmlMemory:
    """Bytes of a device."""

    total: int
    used: int


@dataclass(slots=True, kw_only=True)
class NvmlRates:
    """Per cent."""

    gpu: int


@dataclass(slots=True, kw_only=True)
class NvmlProcess:
    """A process on a device."""

    pid: int
    usedGpuMemory: int | None  # noqa: N815  # NVML's name


@dataclass(slots=True, kw_only=True)
class NvmlSample:
    """What a process used, in per cent, and when."""

    pid: int
    smUtil: int  # noqa: N815  # NVML's name
    timeStamp: int  # noqa: N815  # NVML's name


@dataclass(slots=True, kw_only=True)
class NvmlDevice:
    """One device. fails: what it cannot do, by the function's name, with NVML's words."""

    uuid: str = "GPU-0"
    name: str = "Scripted GPU"
    millijoules: Callable[[], int] = lambda: 0
    milliwatts: Callable[[], int] = lambda: 0
    memory: NvmlMemory = field(default_factory=lambda: NvmlMemory(total=80 << 30, used=1 << 30))
    busy: int | Callable[[], int] = 0
    running: Sequence[NvmlProcess] = ()
    drawing: Sequence[NvmlProcess] = ()
    samples: Sequence[NvmlSample] = ()
    fails: Mapping[str, str] = field(default_factory=dict)


class ScriptedNvml:
    """Stands for the module ``pynvml``: the same functions by the same names.

    fails: what goes wrong in functions of the library itself, such as ``nvmlInit``.
    """

    NVMLError: type[Exception] = NvmlError

    def __init__(
        self, devices: Sequence[NvmlDevice] = (), *, fails: Mapping[str, str] | None = None
    ) -> None:
        self.devices = list(devices)
        self.fails = dict(fails or {})

    def nvmlInit(self) -> None:  # noqa: N802
        """Begin."""
        self._fail("nvmlInit", self.fails)

    def nvmlSystemGetDriverVersion(self) -> str:  # noqa: N802
        """The driver."""
        self._fail("nvmlSystemGetDriverVersion", self.fails)
        return "999.99"

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        """How many."""
        return len(self.devices)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> object:  # noqa: N802
        """One of them."""
        return self.devices[index]

    def nvmlDeviceGetUUID(self, handle: object) -> str:  # noqa: N802
        """Its identity."""
        return self._device("nvmlDeviceGetUUID", handle).uuid

    def nvmlDeviceGetName(self, handle: object) -> str:  # noqa: N802
        """What it is called."""
        return self._device("nvmlDeviceGetName", handle).name

    def nvmlDeviceGetMemoryInfo(self, handle: object) -> NvmlMemory:  # noqa: N802
        """Its memory."""
        return self._device("nvmlDeviceGetMemoryInfo", handle).memory

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: object) -> int:  # noqa: N802
        """Millijoules."""
        return self._device("nvmlDeviceGetTotalEnergyConsumption", handle).millijoules()

    def nvmlDeviceGetPowerUsage(self, handle: object) -> int:  # noqa: N802
        """Milliwatts."""
        return self._device("nvmlDeviceGetPowerUsage", handle).milliwatts()

    def nvmlDeviceGetUtilizationRates(self, handle: object) -> NvmlRates:  # noqa: N802
        """How busy it is."""
        busy = self._device("nvmlDeviceGetUtilizationRates", handle).busy
        return NvmlRates(gpu=busy if isinstance(busy, int) else busy())

    def nvmlDeviceGetComputeRunningProcesses(  # noqa: N802
        self, handle: object
    ) -> Sequence[NvmlProcess]:
        """Who runs there."""
        return self._device("nvmlDeviceGetComputeRunningProcesses", handle).running

    def nvmlDeviceGetGraphicsRunningProcesses(  # noqa: N802
        self, handle: object
    ) -> Sequence[NvmlProcess]:
        """Who draws there."""
        return self._device("nvmlDeviceGetGraphicsRunningProcesses", handle).drawing

    def nvmlDeviceGetProcessUtilization(  # noqa: N802
        self, handle: object, since: int
    ) -> Sequence[NvmlSample]:
        """What each used, since then."""
        device = self._device("nvmlDeviceGetProcessUtilization", handle)
        later = [one for one in device.samples if one.timeStamp > since]
        if not later:
            raise NvmlError("Not Found")
        return later

    def _device(self, what: str, handle: object) -> NvmlDevice:
        if not isinstance(handle, NvmlDevice):
            raise TypeError(f"{handle!r} is no device")
        self._fail(what, handle.fails)
        return handle

    @staticmethod
    def _fail(what: str, fails: Mapping[str, str]) -> None:
        if what in fails:
            raise NvmlError(fails[what])


@dataclass(slots=True, kw_only=True)
class ChipEnergy:
    """Millijoules by part, as zeus-apple-silicon tells them; None: not told on this chip."""

    cpu_total_mj: int | None = 0
    dram_mj: int | None = 0
    gpu_mj: int | None = 0
    ane_mj: int | None = 0


@dataclass(slots=True, kw_only=True)
class ScriptedChip:
    """Stands for ``zeus_apple_silicon.AppleEnergyMonitor``."""

    energy: ChipEnergy = field(default_factory=ChipEnergy)
    fails: str | None = None

    def get_cumulative_energy(self) -> ChipEnergy:
        """What it has used so far."""
        if self.fails is not None:
            raise RuntimeError(self.fails)
        return self.energy


def write_card(
    root: Path, *, address: str, driver: str = "amdgpu", microjoules: int | None = None
) -> Path:
    """A card of a DRM driver as /sys shows it; its device's folder."""
    device = root / "class" / "drm" / "card0" / "device"
    (device / "hwmon" / "hwmon3").mkdir(parents=True, exist_ok=True)
    (device / "uevent").write_text(f"DRIVER={driver}\nPCI_SLOT_NAME={address}\n", encoding="ascii")
    (device / "gpu_busy_percent").write_text("37\n", encoding="ascii")
    (device / "mem_info_vram_total").write_text(f"{16 << 30}\n", encoding="ascii")
    (device / "mem_info_vram_used").write_text(f"{2 << 30}\n", encoding="ascii")
    if microjoules is not None:
        (device / "hwmon" / "hwmon3" / "energy1_input").write_text(f"{microjoules}\n", "ascii")
    return device
