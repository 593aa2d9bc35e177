"""Values of a receipt: figures that carry how they were come by.

Unknown is `None`, never 0. A figure says its method; whoever prints it prints that too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final

import msgspec

JOULES_IN_A_MWH: Final = 3.6
"""A milliwatt-hour: 0.001 W for 3600 s. Joules are used everywhere but at the edge."""

CPU_ERROR_PCT: Final = 1.0
"""A process's CPU clock against the kernel's own account, from 50 ms on (the checks V1 to V3)."""

MEMORY_ERROR_PCT: Final = 5.0
"""Memory that is sampled ten times a second, against a staircase of known height (V4)."""

TOO_SHORT: Final = "it was over before two samples were taken"
NO_COUNTER: Final = "no energy counter can be read here; `arbiter hardware` says why"
NO_ACCELERATOR: Final = "no accelerator is seen here"


class Method(StrEnum):
    """How a figure was come by."""

    MEASURED = "measured"
    """A counter read for this request alone."""
    SHARED = "shared"
    """A counter of the process, split equally among the requests in flight at each moment."""
    ENGINE = "engine"
    """The engine's own report."""
    ESTIMATED = "estimated"
    """A model of it, not a reading."""
    UNKNOWN = "unknown"
    """It could not be read here; the figure is None."""


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """A number with its method, and why it is missing when it is.

    error_pct: how far it may be off from what its counter would say if it could be read at any
    moment, where that is more than nothing.

    >>> Figure(value=None, method=Method.UNKNOWN, note="no process of its own").note
    'no process of its own'
    """

    value: float | None
    method: Method
    note: str | None = None
    error_pct: float | None = None

    def __post_init__(self) -> None:
        """A missing value must say that it is unknown, and a value must not."""
        if (self.value is None) != (self.method is Method.UNKNOWN):
            raise ValueError(f"a figure of {self.value!r} cannot be {self.method.value}")


@lru_cache(maxsize=256)
def unknown(note: str) -> Figure:
    """A figure that could not be had, and why. The same for the same reason: most have few."""
    return Figure(value=None, method=Method.UNKNOWN, note=note)


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What a request cost its machine, from the slot that served it to its end.

    gpu_ms: the time of accelerators that fell to it. energy_mwh: above what the machine takes at
    rest, of the parts in `energy_by`. peak_bytes, mean_bytes: what the model's processes held,
    mapped weights counted once; device_bytes: the most that they held of accelerators' own memory.
    concurrency: among how many it ran on average, itself included; 1 when it was alone.
    """

    cpu_ms: Figure
    gpu_ms: Figure
    energy_mwh: Figure
    peak_bytes: Figure
    mean_bytes: Figure
    device_bytes: Figure
    energy_by: Mapping[str, float] = {}
    concurrency: float | None = None

    @property
    def is_exclusive(self) -> bool | None:
        """Whether it had the model to itself; None when nobody knows."""
        if self.cpu_ms.method is Method.UNKNOWN:
            return None
        return self.cpu_ms.method is Method.MEASURED


def unknown_cost(note: str) -> Cost:
    """A cost of which nothing is known, and why."""
    figure = unknown(note)
    return Cost(
        cpu_ms=figure,
        gpu_ms=figure,
        energy_mwh=figure,
        peak_bytes=figure,
        mean_bytes=figure,
        device_bytes=figure,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """Memory that a loaded instance holds.

    anonymous_bytes: private memory (caches, activations), with swap.
    weights_bytes: resident bytes of files mapped by the process, counted once a process.
    reported_bytes: what another program says it holds, parts and devices together.
    """

    anonymous_bytes: int | None
    weights_bytes: int | None
    method: Method
    reported_bytes: int | None = None

    @property
    def total_bytes(self) -> int | None:
        """What was reported, else both parts together, or None when either is unknown."""
        if self.reported_bytes is not None:
            return self.reported_bytes
        if self.anonymous_bytes is None or self.weights_bytes is None:
            return None
        return self.anonymous_bytes + self.weights_bytes


HOST: Final = "host"
"""The memory of the machine itself; an accelerator's has another name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A memory as it is now, in bytes. available: what can be had without hurting anybody."""

    total: int
    available: int
