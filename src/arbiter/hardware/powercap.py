"""Energy of processors and memory as RAPL counts it, through Linux's powercap files.

Zones overlap: ``psys`` holds the packages, a package holds its ``core`` and ``uncore``, and the
same package may be there twice, by MSR and by MMIO. So zones are picked and never all added: the
packages, each once, and ``dram`` beside them; or ``psys`` alone, where that is asked for. AMD's
processors are there under the same names.

The counter wraps: at 262 kJ every 44 minutes at 100 W. Since Linux 5.10 only root may read it
(CVE-2020-8694), and in a virtual machine or a container it is mostly not there at all.

Source: the kernel's Documentation/power/powercap/powercap.rst.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from arbiter.hardware.reading import About, Part, Reading, absent, number_in, text_in

ROOT: Final = Path("/sys/class/powercap")
UPDATE_S: Final = 0.001
"""RAPL's counters change about every millisecond."""

Domain = Literal["package", "psys"]

_DENIED: Final = (
    "only root may read it (Linux does so since CVE-2020-8694); "
    "let a group of yours read energy_uj with a udev rule"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """One zone: a folder with the counter ``energy_uj``. It is an `EnergyCounter`."""

    folder: Path
    about: About

    def read(self) -> Reading:
        """Microjoules, or why not."""
        return explained(self.about.name, number_in(self.folder / "energy_uj"))


def explained(name: str, found: Reading) -> Reading:
    """A reading of a zone, with what to do where it may not be read.

    >>> explained("package-0", absent("energy_uj: Permission denied")).reason[:34]
    'package-0: only root may read it ('
    """
    if found.reason is None:
        return found
    return absent(f"{name}: {_DENIED if 'Permission denied' in found.reason else found.reason}")


def zones(root: Path = ROOT, *, domain: Domain = "package") -> tuple[Zone, ...]:
    """The zones to read: none of them counts what another one counts too."""
    found = _named(root)
    boards = [folder for name, folder in found if name == "psys"]
    if domain == "psys" and boards:
        return (_zone(boards[0], "psys", Part.CPU),)
    packages: dict[str, Path] = {}
    for name, folder in found:
        if name.startswith("package"):
            packages.setdefault(name, folder)  # by MSR, before the same one by MMIO
    chosen = [_zone(folder, name, Part.CPU) for name, folder in sorted(packages.items())]
    inside = {folder.name: name for name, folder in packages.items()}
    for name, folder in found:
        package = inside.get(folder.name.rpartition(":")[0])
        if name == "dram" and package is not None:
            chosen.append(_zone(folder, f"{package} dram", Part.DRAM))
    return tuple(chosen)


def missing(root: Path = ROOT) -> str | None:
    """Why there is no energy to read here; None when there is."""
    if not root.is_dir():
        return f"{root} is not there: no RAPL, or a virtual machine that hides it"
    found = zones(root)
    if not found:
        return f"{root} has no package: no RAPL, or a container that hides it"
    return found[0].read().reason


def _named(root: Path) -> list[tuple[str, Path]]:
    """Every zone with its name, those by MSR first."""
    try:
        folders = sorted(root.iterdir(), key=lambda one: ("mmio" in one.name, one.name))
    except OSError:
        return []
    found = [(text_in(folder / "name"), folder) for folder in folders]
    return [(name, folder) for name, folder in found if name is not None]


def _zone(folder: Path, name: str, part: Part) -> Zone:
    most = number_in(folder / "max_energy_range_uj").value
    return Zone(
        folder=folder,
        about=About(name=name, source="rapl", part=part, update_s=UPDATE_S, wraps_at=most),
    )
