"""What a counter of the machine says, or why it says nothing: the seam of every reader.

A reader never raises for what a machine does not have: it gives None with the reason. Readers take
the root of the files they read, or the library they call, as an argument.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol, runtime_checkable

import msgspec


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """A whole number that was read, or the reason why there is none.

    >>> Reading(value=None, reason="permission denied").value is None
    True
    """

    value: int | None
    reason: str | None = None

    def __post_init__(self) -> None:
        """Refuse a missing value without a reason."""
        if self.value is None and not self.reason:
            raise ValueError("what could not be read needs a reason")


def absent(reason: str) -> Reading:
    """What could not be read, and why."""
    return Reading(value=None, reason=reason)


class Part(StrEnum):
    """The part of the machine whose energy a counter counts."""

    CPU = "cpu"
    """Processor packages, or the whole board where only that is counted."""
    DRAM = "dram"
    GPU = "gpu"
    ANE = "ane"
    """Apple's neural engine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a counter counts and how well.

    name: which one, such as ``package-0``. source: who says so: ``rapl``, ``nvml``, ``drm``,
    ``ioreport``. update_s: the longest time between two of its changes while there is anything to
    count. wraps_at: the count at which it begins again at 0, where that is known. device: the
    accelerator that it belongs to.
    """

    name: str
    source: str
    part: Part
    update_s: float
    wraps_at: int | None = None
    device: str | None = None


class EnergyCounter(Protocol):
    """A cumulative counter of energy."""

    @property
    def about(self) -> About:
        """What it counts."""
        ...

    def read(self) -> Reading:
        """Microjoules since some start. Never raises."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """A device beside the processor. None: not known, and `unknown` says why.

    key: what its use is told under. unified: it works in the machine's own memory.
    """

    key: str
    name: str | None
    source: str
    memory_bytes: int | None = None
    memory_used_bytes: int | None = None
    busy: float | None = None
    unified: bool = False
    driver: str | None = None
    unknown: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessUse:
    """What one process uses of an accelerator.

    busy: its share of the device's time just now, 0 to 1. engine_ns: what it used since it began.
    """

    busy: float | None = None
    engine_ns: int | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """How an accelerator is used now. processes: None when it does not tell them apart.

    hides: it is used, and who does so cannot be seen from here: perhaps we do, perhaps others.
    """

    key: str
    busy: float | None
    processes: Mapping[int, ProcessUse] | None
    reason: str | None = None
    hides: bool = False


class AcceleratorReader(Protocol):
    """Everything of one kind: NVIDIA's devices, those of the kernel's DRM, Apple's."""

    def look(self) -> tuple[Accelerator, ...]:
        """The devices that are there."""
        ...

    def counters(self) -> tuple[EnergyCounter, ...]:
        """Their energy counters."""
        ...

    def use(self, mine: Collection[int] | None = None) -> tuple[Use, ...]:
        """How they are used now, in the order of `look`.

        mine: the processes that matter, for whoever asks ten times a second: others that have just
        come may be missing. None: all is looked for anew.
        """
        ...

    def missing(self) -> str | None:
        """Why there is none of this kind to be seen; None when there is one."""
        ...


@runtime_checkable
class PowerReader(Protocol):
    """Devices that tell their power at a moment too, which is another meter than their counter."""

    def counters(self) -> tuple[EnergyCounter, ...]:
        """Their energy counters."""
        ...

    def power_w(self, key: str, /) -> float | None:
        """The power of a device in watts; None when it does not tell it."""
        ...


def number_in(path: Path) -> Reading:
    """The whole number that a file of the kernel holds."""
    try:
        text = path.read_text(encoding="ascii", errors="replace").strip()
    except OSError as error:
        return absent(f"{path.name}: {error.strerror or error}")
    if not text.isdigit():
        return absent(f"{path.name}: {text[:40]!r} is no number")
    return Reading(value=int(text))


def text_in(path: Path) -> str | None:
    """The text that a file of the kernel holds; None when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip() or None
    except OSError:
        return None
