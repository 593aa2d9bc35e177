"""AMD's devices through AMD SMI, with the package amdsmi (the extra ``amd``).

Energy is the device's accumulator times its resolution, in microjoules since some start; a guest of
a virtual machine has none. Use of processes is nanoseconds of the graphics engine since they began.
Work that ROCm queues by itself is not in those: of a process without them its part of the compute
units counts, or all of the device's use where it is alone there.

This was written against the functions of amdsmi 7.0.2 and AMD's documentation of them
(https://rocm.docs.amd.com/projects/amdsmi: Power Queries, Process information), and a stand-in. It
has not run on an AMD device. Without the package, `arbiter.hardware.drm` tells of the same cards.

The library is handed in; its functions are those of the package, by their names there.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from functools import partial
from io import StringIO
from typing import Any, Final, Protocol, cast

from arbiter.hardware.devices import DeviceEnergy, Devices, energy_of
from arbiter.hardware.reading import Accelerator, EnergyCounter, ProcessUse, Use

NOT_VERIFIED: Final = "not verified: this reader has not run on an AMD device"
NO_LIBRARY: Final = "amdsmi finds no libamd_smi.so: install ROCm's package amd-smi-lib"
MIXED: Final = "AMD SMI does not tell which process used it"

_Told = Mapping[str, Any]


class MemoryTypes(Protocol):
    """AMD SMI's kinds of memory."""

    @property
    def VRAM(self) -> object:  # noqa: N802  # AMD's name
        """The device's own."""
        ...


class Library(Protocol):
    """What is called of the package ``amdsmi``."""

    @property
    def AmdSmiException(self) -> type[Exception]: ...  # noqa: D102, N802  # AMD's name
    @property
    def AmdSmiMemoryType(self) -> MemoryTypes: ...  # noqa: D102, N802  # AMD's name
    def amdsmi_init(self) -> None: ...  # noqa: D102  # AMD's name
    def amdsmi_get_processor_handles(self) -> Sequence[object]: ...  # noqa: D102
    def amdsmi_get_gpu_device_bdf(self, handle: object, /) -> str: ...  # noqa: D102
    def amdsmi_get_gpu_asic_info(self, handle: object, /) -> _Told: ...  # noqa: D102
    def amdsmi_get_gpu_driver_info(self, handle: object, /) -> _Told: ...  # noqa: D102
    def amdsmi_get_energy_count(self, handle: object, /) -> _Told: ...  # noqa: D102
    def amdsmi_get_gpu_activity(self, handle: object, /) -> _Told: ...  # noqa: D102
    def amdsmi_get_gpu_memory_total(self, handle: object, kind: object, /) -> int: ...  # noqa: D102
    def amdsmi_get_gpu_memory_usage(self, handle: object, kind: object, /) -> int: ...  # noqa: D102
    def amdsmi_get_gpu_process_list(self, handle: object, /) -> Sequence[_Told]: ...  # noqa: D102


def installed() -> Library | str:
    """The library, or why it is not there. Its driver is not called yet."""
    try:
        with redirect_stdout(StringIO()):  # it prints where ROCm is missing, before it fails
            return cast("Library", importlib.import_module("amdsmi"))
    except ImportError:
        return 'amdsmi is not installed. Run: pip install "arbiter-house[amd]"'
    except (KeyError, OSError, AttributeError):
        return NO_LIBRARY


class Amd:
    """Every AMD device. An `AcceleratorReader`."""

    def __init__(self, library: Library | str) -> None:
        self._units: dict[str, int] = {}
        if isinstance(library, str):
            self._devices = Devices.none(library)
            return
        self._library = library
        self._devices = Devices(failure=library.AmdSmiException, words=_words)
        self._devices.find(partial(_found, library), otherwise="AMD SMI sees no device")
        self._asked = self._devices.asked
        for key, units in self._devices.each(self._compute_units):
            if isinstance(units, int) and units > 0:
                self._units[key] = units

    @property
    def addresses(self) -> frozenset[str]:
        """The places on the bus of the devices that it tells of."""
        return frozenset(self._devices.keys)

    def missing(self) -> str | None:
        """Why no device is seen."""
        return self._devices.missing()

    def look(self) -> tuple[Accelerator, ...]:
        """The devices."""
        return self._devices.each(self._accelerator)

    def counters(self) -> tuple[EnergyCounter, ...]:
        """An energy counter for each that has one."""
        every = self._devices.each(self._counter)
        return tuple(one for one in every if one.read().value is not None)

    def use(self, mine: Collection[int] | None = None) -> tuple[Use, ...]:  # noqa: ARG002  # it tells of all
        """What each is busy with."""
        return self._devices.each(self._use)

    def _compute_units(self, key: str, handle: object) -> tuple[str, object]:
        return key, self._asic(handle, {}).get("num_compute_units")

    def _counter(self, key: str, handle: object) -> EnergyCounter:
        def microjoules() -> int:
            told = self._library.amdsmi_get_energy_count(handle)
            counted: float = told["energy_accumulator"] * told["counter_resolution"]
            return round(counted)

        about = energy_of(key, source="amdsmi", name=f"amdgpu {key}")
        return DeviceEnergy(about=about, devices=self._devices, ask=microjoules)

    def _accelerator(self, key: str, handle: object) -> Accelerator:
        library, unknown = self._library, {"verified": NOT_VERIFIED}
        own = library.AmdSmiMemoryType.VRAM
        total = self._asked(
            "memory", unknown, lambda: library.amdsmi_get_gpu_memory_total(handle, own)
        )
        used = self._asked(
            "memory", unknown, lambda: library.amdsmi_get_gpu_memory_usage(handle, own)
        )
        self._asked("energy", unknown, lambda: library.amdsmi_get_energy_count(handle))
        driver = self._asked("driver", unknown, lambda: library.amdsmi_get_gpu_driver_info(handle))
        return Accelerator(
            key=key,
            name=_text(self._asic(handle, unknown).get("market_name")),
            source="amdsmi",
            memory_bytes=total,
            memory_used_bytes=used,
            busy=self._busy(handle, unknown),
            driver=None if driver is None else _text(driver.get("driver_version")),
            unknown=unknown,
        )

    def _asic(self, handle: object, unknown: dict[str, str]) -> _Told:
        library = self._library
        return self._asked("name", unknown, lambda: library.amdsmi_get_gpu_asic_info(handle)) or {}

    def _busy(self, handle: object, unknown: dict[str, str]) -> float | None:
        library = self._library
        told = self._asked("busy", unknown, lambda: library.amdsmi_get_gpu_activity(handle))
        share = None if told is None else told.get("gfx_activity")
        if isinstance(share, int):
            return share / 100
        unknown.setdefault("busy", "AMD SMI does not tell it for this device")
        return None

    def _use(self, key: str, handle: object) -> Use:
        library, unknown = self._library, dict[str, str]()
        busy = self._busy(handle, unknown)
        listed = self._asked(
            "processes", unknown, lambda: library.amdsmi_get_gpu_process_list(handle)
        )
        if listed is None:
            return Use(key=key, busy=busy, processes=None, reason=unknown["processes"])
        there = [one for one in listed if one["memory_usage"]["vram_mem"]]
        units = self._units.get(key)
        processes = {
            int(one["pid"]): _process(one, busy=busy if len(there) == 1 else None, units=units)
            for one in listed
        }
        blind = any(one.busy is None and one.engine_ns is None for one in processes.values())
        return Use(
            key=key,
            busy=busy,
            processes=processes,
            reason=MIXED if blind else unknown.get("busy"),
        )


def _found(library: Library) -> Iterator[tuple[str, object]]:
    library.amdsmi_init()
    for handle in library.amdsmi_get_processor_handles():
        yield str(library.amdsmi_get_gpu_device_bdf(handle)), handle


def _process(one: _Told, *, busy: float | None, units: int | None) -> ProcessUse:
    """What a process uses. busy: of the device, where nobody else holds anything of it."""
    memory = int(one["memory_usage"]["vram_mem"])
    spent = int(one["engine_usage"]["gfx"])
    if spent:
        return ProcessUse(engine_ns=spent, memory_bytes=memory)
    if not memory:
        return ProcessUse(busy=0.0, memory_bytes=0)
    occupied = one.get("cu_occupancy")
    if busy is None and units is not None and isinstance(occupied, int):
        busy = min(1.0, occupied / units)
    return ProcessUse(busy=busy, memory_bytes=memory)


def _text(value: object) -> str | None:
    """A text; AMD SMI writes N/A for what it does not know."""
    return value if isinstance(value, str) and value not in {"", "N/A"} else None


def _words(error: Exception) -> str:
    """AMD SMI's own words, which have a line and a tab in them."""
    return f"AMD SMI: {' '.join(str(error).split())}"
