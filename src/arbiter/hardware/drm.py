"""AMD's and Intel's graphics devices, as Linux's DRM drivers tell of them, without a library.

A card's folder has its memory and how busy it is (``amdgpu``), and its ``hwmon`` an energy counter
where the driver has one. What each process uses stands in its own ``fdinfo``
(`arbiter.hardware.fdinfo`). AMD's own library counts the same and needs ROCm installed.

Source: the kernel's Documentation/gpu/drm-usage-stats.rst and gpu/amdgpu/thermal.rst.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from arbiter.hardware.devices import energy_of
from arbiter.hardware.fdinfo import Clients
from arbiter.hardware.reading import (
    About,
    Accelerator,
    EnergyCounter,
    ProcessUse,
    Reading,
    Use,
    absent,
    number_in,
    text_in,
)

SYS: Final = Path("/sys")
PROC: Final = Path("/proc")
_DRIVERS: Final = frozenset({"amdgpu", "i915", "xe"})
_POWERS: Final = frozenset({"power1_average", "power1_input"})


@dataclass(frozen=True, slots=True, kw_only=True)
class CardEnergy:
    """The energy counter of one card."""

    path: Path
    about: About

    def read(self) -> Reading:
        """Microjoules since the driver was loaded, or why not."""
        found = number_in(self.path)
        return found if found.reason is None else absent(f"{self.about.name}: {found.reason}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Card:
    """A card: its folder, its address on the bus, and its driver."""

    folder: Path
    address: str
    driver: str


class Cards:
    """Every card of a DRM driver that counts. An `AcceleratorReader`.

    told: addresses of those that another reader tells of. counted: whose energy it reads too.
    """

    def __init__(
        self,
        *,
        sys: Path = SYS,
        proc: Path = PROC,
        told: frozenset[str] = frozenset(),
        counted: frozenset[str] = frozenset(),
    ) -> None:
        self._clients = Clients(proc)
        self._every = tuple(_cards(sys))
        self._cards = tuple(card for card in self._every if card.address not in told)
        self._counted = counted

    def missing(self) -> str | None:
        """Why no card is seen."""
        if self._cards:
            return None
        if self._every:
            return "AMD SMI tells of every card that is here"
        return "no card of amdgpu, i915 or xe is in /sys/class/drm"

    def look(self) -> tuple[Accelerator, ...]:
        """The cards."""
        return tuple(_accelerator(card) for card in self._cards)

    def counters(self) -> tuple[EnergyCounter, ...]:
        """An energy counter for each card that has one."""
        return tuple(
            CardEnergy(
                path=path,
                about=energy_of(card.address, source="drm", name=f"{card.driver} {card.address}"),
            )
            for card in self._every
            if card.address not in self._counted
            for path in _energy(card)
        )

    def use(self, mine: Collection[int] | None = None) -> tuple[Use, ...]:
        """What each card is busy with."""
        if not self._cards:
            return ()
        told = self._clients.everybody() if mine is None else self._clients.used(mine)
        found: dict[str, dict[int, ProcessUse]] = {card.address: {} for card in self._cards}
        for pid, by_card in told.items():
            for address, used in by_card.items():
                if address in found:
                    found[address][pid] = used
        return tuple(
            Use(key=card.address, busy=_busy(card), processes=found[card.address])
            for card in self._cards
        )

    def power_w(self, key: str, /) -> float | None:
        """What a card takes now, where its driver tells microwatts. It is a `PowerReader`."""
        for card in self._every:
            for path in sorted(card.folder.glob("hwmon/hwmon*/power1_*")):
                if card.address == key and path.name in _POWERS:
                    found = number_in(path).value
                    return None if found is None else found / 1e6
        return None


def _cards(sys: Path) -> Iterator[_Card]:
    try:
        folders = sorted((sys / "class" / "drm").iterdir())
    except OSError:
        return
    for folder in folders:
        said = text_in(folder / "device" / "uevent")
        if not folder.name.removeprefix("card").isdigit() or said is None:
            continue
        facts = dict(line.partition("=")[::2] for line in said.splitlines())
        driver, address = facts.get("DRIVER", ""), facts.get("PCI_SLOT_NAME", folder.name)
        if driver in _DRIVERS:
            yield _Card(folder=folder / "device", address=address, driver=driver)


def _energy(card: _Card) -> list[Path]:
    return sorted(card.folder.glob("hwmon/hwmon*/energy1_input"))[:1]


def _busy(card: _Card) -> float | None:
    share = number_in(card.folder / "gpu_busy_percent").value
    return None if share is None else share / 100


def _accelerator(card: _Card) -> Accelerator:
    total = number_in(card.folder / "mem_info_vram_total")
    used = number_in(card.folder / "mem_info_vram_used")
    name = text_in(card.folder / "product_name")
    readings = {"memory": total, "busy": number_in(card.folder / "gpu_busy_percent")}
    unknown = {what: one.reason for what, one in readings.items() if one.reason is not None}
    if name is None:
        unknown["name"] = "product_name: it has none"
    if not _energy(card):
        unknown["energy"] = f"{card.driver} gives this card no energy1_input"
    return Accelerator(
        key=card.address,
        name=name,
        source="drm",
        memory_bytes=total.value,
        memory_used_bytes=used.value,
        busy=_busy(card),
        driver=card.driver,
        unknown=unknown,
    )
