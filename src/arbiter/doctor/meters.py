"""What can be read here of what answers cost, what cannot, and the command that mends it.

`look_at_meters` looks; `meter_findings` says what it means, from values alone. A machine that has
no counter is not ill: it is told, with what may be done instead.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from arbiter.doctor.finding import Finding, State
from arbiter.hardware.bus import makers
from arbiter.hardware.found import Hardware
from arbiter.hardware.reading import Accelerator
from arbiter.metering.process import ProcessReader

LET_GROUP_READ: Final = (
    "sudo chgrp $(id -gn) /sys/class/powercap/*/energy_uj && "
    "sudo chmod g+r /sys/class/powercap/*/energy_uj (until the next start of the machine; "
    "a udev rule makes it last)"
)
ESTIMATE: Final = "[metering] cpu_idle_w and cpu_full_w in the settings make an estimate instead"

_EXTRAS: Final = {
    "NVIDIA": ("nvidia", "nvidia"),
    "AMD": ("amd", "amd"),
    "Apple": ("apple", "apple"),
}
"""By the maker of a device: which reader tells of it, and the extra that it needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Meters:
    """What was found. None: it can be read.

    no_cpu, no_memory: why a process's own cannot. counters: what is counted, and by whom. missing:
    sources of energy that cannot be read, and why. unseen: readers that see no device, and why.
    makers: of the graphics devices on the bus; None where there is no bus to look at.
    """

    no_cpu: str | None = None
    no_memory: str | None = None
    counters: tuple[str, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)
    unseen: Mapping[str, str] = field(default_factory=dict)
    accelerators: tuple[Accelerator, ...] = ()
    makers: tuple[str, ...] | None = ()


def look_at_meters(hardware: Hardware, reader: ProcessReader) -> Meters:
    """Read everything once, as the meter of a house would; some milliseconds."""
    own = os.getpid()
    memory = reader.memory(own)
    readers = hardware.accelerators
    unseen = {kind: one.missing() for kind, one in readers.items()}
    return Meters(
        no_cpu=reader.cpu(own).reason,
        no_memory=None if memory.footprint.total_bytes is not None else memory.reason or "unknown",
        counters=tuple(f"{one.about.name} ({one.about.source})" for one in hardware.counters),
        missing=hardware.missing,
        unseen={kind: why for kind, why in unseen.items() if why is not None},
        accelerators=tuple(one for reader in readers.values() for one in reader.look()),
        makers=makers(hardware.sys),
    )


def meter_findings(found: Meters) -> Iterator[Finding]:
    """What that means."""
    for about, why in (("CPU time", found.no_cpu), ("memory of processes", found.no_memory)):
        if why is None:
            yield Finding(about=about, state=State.OK, sentence="It can be read.")
        else:
            yield Finding(
                about=about,
                state=State.WARN,
                sentence=f"It cannot be read, so receipts have none: {why}.",
                mend="Mount /proc as usual for this user (without hidepid), or run as its owner.",
            )
    yield from _energy(found)
    yield from _devices(found)
    for one in found.accelerators:
        untold = "; ".join(f"{what}: {why}" for what, why in one.unknown.items())
        yield Finding(
            about=f"accelerator {one.name or one.key}",
            state=State.OK,
            sentence=f"It is read by {one.source}" + (f", but for {untold}." if untold else "."),
        )


def _energy(found: Meters) -> Iterator[Finding]:
    if found.counters:
        counted = ", ".join(found.counters)
        yield Finding(about="energy", state=State.OK, sentence=f"It is counted: {counted}.")
    for source, why in found.missing.items():
        if "only root" in why:
            yield Finding(
                about=f"energy by {source}",
                state=State.WARN,
                sentence=f"It is here and may not be read: {why}.",
                mend=LET_GROUP_READ,
            )
        else:
            hint = "" if found.counters else f" {ESTIMATE[0].upper()}{ESTIMATE[1:]}."
            yield Finding(
                about=f"energy by {source}",
                state=State.OK,
                sentence=f"It is not here: {why}.{hint}",
            )


def _devices(found: Meters) -> Iterator[Finding]:
    """Devices that are in the machine and that nothing here reads."""
    sources = {one.source for one in found.accelerators}
    for maker in found.makers or ():
        kind, extra = _EXTRAS.get(maker, ("drm", ""))
        why = found.unseen.get(kind)
        if why is None or (maker in {"AMD", "Intel"} and "drm" in sources):
            continue
        is_lacking = "is not installed" in why
        yield Finding(
            about=f"accelerator of {maker}",
            state=State.WARN,
            sentence=f"One is in this machine, and nothing reads it: {why}.",
            mend=f'pip install "arbiter-house[{extra}]"'
            if is_lacking and extra
            else f"Install {maker}'s driver, and see that its own tool sees the device.",
        )
