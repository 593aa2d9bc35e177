"""The battery as Linux's power_supply files tell of it: what it holds, and what is drawn from it.

It counts the whole machine, its screen too, and changes seldom: every few seconds to a minute. So
no request's energy is taken from it; it is shown, and says whether background work may run.

Source: the kernel's Documentation/ABI/testing/sysfs-class-power. Some batteries tell charge and
voltage instead of energy; these are multiplied.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from arbiter.hardware.reading import number_in, text_in

SYS: Final = Path("/sys")
_PICO: Final = 1_000_000
"""Microamperes (hours) times microvolts make pico, and micro is what is wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Battery:
    """All batteries of the machine together. None: not told, and `unknown` says why.

    power_mw: what is drawn from it, or flows into it, now. status: in the system's own word.
    """

    status: str | None
    energy_mwh: float | None
    full_mwh: float | None
    power_mw: float | None
    unknown: Mapping[str, str] = field(default_factory=dict)


def look(sys: Path = SYS) -> Battery | None:
    """The battery; None where there is none, or this system has no such files."""
    try:
        folders = sorted((sys / "class" / "power_supply").iterdir())
    except OSError:
        return None
    cells = [one for one in folders if _is_battery(one)]
    if not cells:
        return None
    unknown: dict[str, str] = {}
    return Battery(
        status=text_in(cells[0] / "status"),
        energy_mwh=_all(cells, ("energy_now", "charge_now"), "energy", unknown),
        full_mwh=_all(cells, ("energy_full", "charge_full"), "full", unknown),
        power_mw=_all(cells, ("power_now", "current_now"), "power", unknown),
        unknown=unknown,
    )


def _is_battery(folder: Path) -> bool:
    """Of the machine itself, and not of a mouse that tells of its own."""
    scope = text_in(folder / "scope")
    return text_in(folder / "type") == "Battery" and scope != "Device"


def _all(
    cells: list[Path], names: tuple[str, str], what: str, unknown: dict[str, str]
) -> float | None:
    """The sum over all cells, in thousandths; none where one of them does not tell."""
    total = 0
    for cell in cells:
        micro = _micro(cell, names)
        if micro is None:
            unknown[what] = f"{cell.name} has no {names[0]}, and no {names[1]} with a voltage"
            return None
        total += micro
    return total / 1000


def _micro(cell: Path, names: tuple[str, str]) -> int | None:
    whole, part = names
    told = number_in(cell / whole).value
    if told is not None:
        return told
    charge, volts = number_in(cell / part).value, number_in(cell / "voltage_now").value
    return None if charge is None or volts is None else charge * volts // _PICO
