"""Values of a receipt: figures that carry how they were come by.

Unknown is `None`, never 0. A figure says its method; whoever prints it prints that too.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import msgspec


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

    >>> Figure(value=None, method=Method.UNKNOWN, note="no process of its own")
    Figure(value=None, method=<Method.UNKNOWN: 'unknown'>, note='no process of its own')
    """

    value: float | None
    method: Method
    note: str | None = None

    def __post_init__(self) -> None:
        """A missing value must say that it is unknown, and a value must not."""
        if (self.value is None) != (self.method is Method.UNKNOWN):
            raise ValueError(f"a figure of {self.value!r} cannot be {self.method.value}")


def unknown(note: str) -> Figure:
    """A figure that could not be had, and why."""
    return Figure(value=None, method=Method.UNKNOWN, note=note)


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
