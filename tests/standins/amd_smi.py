"""Stands for the package ``amdsmi`` 7.0.2: the same functions, dictionaries of the same keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class AmdSmiError(Exception):
    """As ``AmdSmiLibraryException``: its text has a line and a tab in it."""

    def __init__(self, code: int, info: str) -> None:
        super().__init__(code)
        self.err_code, self.err_info = code, info

    def __str__(self) -> str:
        return f"Error code:\n\t{self.err_code} | {self.err_info}"


NOT_SUPPORTED = AmdSmiError(2, "AMDSMI_STATUS_NOT_SUPPORTED - Feature not supported")
NO_DRIVER = AmdSmiError(34, "AMDSMI_STATUS_DRIVER_NOT_LOADED - Driver not loaded")


def process(
    pid: int, *, gfx: int = 0, vram: int = 0, units: int | str = "N/A"
) -> Mapping[str, object]:
    """As ``amdsmi_get_gpu_process_list`` tells of one."""
    return {
        "name": "N/A",
        "pid": pid,
        "mem": vram,
        "engine_usage": {"gfx": gfx, "enc": 0},
        "memory_usage": {"gtt_mem": 0, "cpu_mem": 0, "vram_mem": vram},
        "cu_occupancy": units,
    }


@dataclass(kw_only=True)
class SmiDevice:
    """One device. fails: what goes wrong, by the function's name."""

    bdf: str = "0000:03:00.0"
    accumulator: int = 1_000
    resolution: float = 15.3
    gfx_activity: int | str = 40
    total: int = 16 << 30
    used: int = 2 << 30
    units: int | str = 64
    processes: Sequence[Mapping[str, object]] = ()
    fails: Mapping[str, AmdSmiError] = field(default_factory=dict)


class ScriptedSmi:
    """The module. fails: what goes wrong in functions without a device."""

    class AmdSmiMemoryType(Enum):
        """Kinds of memory."""

        VRAM = 0
        VIS_VRAM = 1
        GTT = 2

    AmdSmiException = AmdSmiError

    def __init__(self, *devices: SmiDevice, fails: Mapping[str, AmdSmiError] | None = None) -> None:
        self.devices = devices
        self.fails = dict(fails or {})

    def amdsmi_init(self) -> None:
        """Begin."""
        self._fail("amdsmi_init", self.fails)

    def amdsmi_get_processor_handles(self) -> Sequence[object]:
        """Every device."""
        return list(self.devices)

    def amdsmi_get_gpu_device_bdf(self, handle: object) -> str:
        """Its address on the bus."""
        return self._of("amdsmi_get_gpu_device_bdf", handle).bdf

    def amdsmi_get_gpu_asic_info(self, handle: object) -> Mapping[str, Any]:
        """What it is."""
        units = self._of("amdsmi_get_gpu_asic_info", handle).units
        return {"market_name": "Scripted Radeon", "vendor_id": "0x1002", "num_compute_units": units}

    def amdsmi_get_gpu_driver_info(self, handle: object) -> Mapping[str, Any]:
        """Its driver."""
        self._of("amdsmi_get_gpu_driver_info", handle)
        return {"driver_name": "amdgpu", "driver_version": "6.10.5", "driver_date": "N/A"}

    def amdsmi_get_energy_count(self, handle: object) -> Mapping[str, Any]:
        """What it has used: a count, and the microjoules of one."""
        one = self._of("amdsmi_get_energy_count", handle)
        return {
            "energy_accumulator": one.accumulator,
            "counter_resolution": one.resolution,
            "timestamp": 1,
        }

    def amdsmi_get_gpu_activity(self, handle: object) -> Mapping[str, Any]:
        """How busy it is, in per cent."""
        one = self._of("amdsmi_get_gpu_activity", handle)
        return {"gfx_activity": one.gfx_activity, "umc_activity": 1, "mm_activity": "N/A"}

    def amdsmi_get_gpu_memory_total(self, handle: object, kind: object) -> int:
        """Bytes of a kind of memory."""
        one = self._of("amdsmi_get_gpu_memory_total", handle)
        return one.total if kind is self.AmdSmiMemoryType.VRAM else 0

    def amdsmi_get_gpu_memory_usage(self, handle: object, kind: object) -> int:
        """Bytes of it in use."""
        one = self._of("amdsmi_get_gpu_memory_usage", handle)
        return one.used if kind is self.AmdSmiMemoryType.VRAM else 0

    def amdsmi_get_gpu_process_list(self, handle: object) -> Sequence[Mapping[str, Any]]:
        """Who uses it."""
        return self._of("amdsmi_get_gpu_process_list", handle).processes

    def _of(self, function: str, handle: object) -> SmiDevice:
        assert isinstance(handle, SmiDevice)
        self._fail(function, handle.fails)
        return handle

    @staticmethod
    def _fail(function: str, fails: Mapping[str, AmdSmiError]) -> None:
        if function in fails:
            raise fails[function]
