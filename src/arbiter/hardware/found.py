"""Every reader of this machine, built once. What is not there is remembered with its reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from arbiter.hardware import amd, apple, nvidia, powercap
from arbiter.hardware.amd import Amd
from arbiter.hardware.apple import Apple
from arbiter.hardware.drm import Cards
from arbiter.hardware.machine import PROC, SYS, Snapshot, snapshot
from arbiter.hardware.nvidia import Nvidia
from arbiter.hardware.powercap import Domain
from arbiter.hardware.reading import AcceleratorReader, EnergyCounter


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """The readers of a machine.

    missing: sources of energy that cannot be read, and why.
    """

    counters: tuple[EnergyCounter, ...] = ()
    accelerators: Mapping[str, AcceleratorReader] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    proc: Path = PROC
    sys: Path = SYS

    def snapshot(self, on_battery: Callable[[], bool | None]) -> Snapshot:
        """The machine as it is now."""
        return snapshot(
            accelerators=self.accelerators,
            counters=self.counters,
            missing=self.missing,
            on_battery=on_battery,
            proc=self.proc,
            sys=self.sys,
        )


def find_hardware(
    *,
    domain: Domain = "package",
    proc: Path = PROC,
    sys: Path = SYS,
    nvml: nvidia.Library | str | None = None,
    smi: amd.Library | str | None = None,
    monitor: apple.Monitor | str | None = None,
) -> Hardware:
    """Look for everything that can be read. It may load makers' libraries: some milliseconds.

    domain: which of RAPL's overlapping counts to take. nvml, smi, monitor: the libraries, or why
    there are none; by default those that are installed. A card that AMD's library tells of is not
    told of a second time by its driver; its energy is, where the library has none.
    """
    amds = Amd(amd.installed() if smi is None else smi)
    counted = frozenset(one.about.device or "" for one in amds.counters())
    accelerators: dict[str, AcceleratorReader] = {
        "nvidia": Nvidia(nvidia.installed() if nvml is None else nvml),
        "amd": amds,
        "drm": Cards(sys=sys, proc=proc, told=amds.addresses, counted=counted),
        "apple": Apple(apple.installed() if monitor is None else monitor),
    }
    root = sys / "class" / "powercap"
    # a counter that is there and may not be read would only say so ten times a second
    zones = tuple(
        one for one in powercap.zones(root, domain=domain) if one.read().value is not None
    )
    why = powercap.missing(root)
    return Hardware(
        counters=(*zones, *(c for reader in accelerators.values() for c in reader.counters())),
        accelerators=accelerators,
        missing={} if why is None else {"rapl": why},
        proc=proc,
        sys=sys,
    )
