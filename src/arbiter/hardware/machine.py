"""The machine as it is now: processor, memory, accelerators, counters, power. Nothing is invented.

What cannot be read is None, and `Snapshot.unknown` has the reason.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil

from arbiter.hardware.battery import Battery
from arbiter.hardware.battery import look as look_at_battery
from arbiter.hardware.reading import Accelerator, AcceleratorReader, EnergyCounter, text_in

PROC: Final = Path("/proc")
SYS: Final = Path("/sys")


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterView:
    """An energy counter, and whether it can be read here."""

    name: str
    source: str
    part: str
    update_s: float
    readable: bool
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What a machine is, and what of it is in use now.

    usable_cores: those this process may run on. threads: hardware threads of all cores.
    load_1min: processes that ran or waited to run in the last minute, on average.
    memory_limit_bytes: what a control group lets this process have, if less than all.
    on_battery: None when nobody can say. battery: None without one, or where it tells nothing.
    """

    system: str
    processor: str | None
    cores: int | None
    threads: int | None
    usable_cores: int | None
    load_1min: float | None
    memory_bytes: int
    memory_available_bytes: int
    memory_limit_bytes: int | None
    on_battery: bool | None
    battery: Battery | None
    accelerators: tuple[Accelerator, ...]
    counters: tuple[CounterView, ...]
    unknown: Mapping[str, str] = field(default_factory=dict)


def processor(proc: Path = PROC) -> str | None:
    """What the processor calls itself."""
    for line in (text_in(proc / "cpuinfo") or "").splitlines():
        key, _, rest = line.partition(":")
        if key.strip() in {"model name", "Model", "Processor"} and rest.strip():
            return rest.strip()
    return platform.processor() or None


def memory_limit(sys: Path = SYS) -> int | None:
    """What the control group at the root of this process's view allows; None when it is all."""
    said = text_in(sys / "fs" / "cgroup" / "memory.max")
    return int(said) if said is not None and said.isdigit() else None


def snapshot(
    *,
    accelerators: Mapping[str, AcceleratorReader],
    counters: Sequence[EnergyCounter],
    missing: Mapping[str, str],
    on_battery: Callable[[], bool | None],
    proc: Path = PROC,
    sys: Path = SYS,
) -> Snapshot:
    """Look at everything once; takes a few milliseconds.

    accelerators: readers by what they see (``nvidia``, ``drm``, ``apple``). missing: sources of
    energy that are not there, with why.
    """
    memory, name = psutil.virtual_memory(), processor(proc)
    unknown = dict(missing)
    if name is None:
        unknown["processor"] = "nothing here says what it is"
    for kind, reader in accelerators.items():
        why = reader.missing()
        if why is not None:
            unknown[kind] = why
    battery = on_battery()
    if battery is None:
        unknown["on_battery"] = "the system does not say"
    return Snapshot(
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        processor=name,
        cores=psutil.cpu_count(logical=False),
        threads=psutil.cpu_count(),
        usable_cores=usable_cores(),
        load_1min=_load(),
        memory_bytes=int(memory.total),
        memory_available_bytes=int(memory.available),
        memory_limit_bytes=memory_limit(sys),
        on_battery=battery,
        battery=look_at_battery(sys),
        accelerators=tuple(one for reader in accelerators.values() for one in reader.look()),
        counters=tuple(_seen(counter) for counter in counters),
        unknown=unknown,
    )


def usable_cores() -> int:
    """The hardware threads that this process may run on."""
    affinity: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def _load() -> float | None:
    """How many processes ran or waited to run in the last minute, on average."""
    try:
        return os.getloadavg()[0]
    except (OSError, AttributeError):
        return None


def _seen(counter: EnergyCounter) -> CounterView:
    about, reading = counter.about, counter.read()
    return CounterView(
        name=about.name,
        source=about.source,
        part=about.part.value,
        update_s=about.update_s,
        readable=reading.value is not None,
        reason=reading.reason,
    )
