"""What a benchmark reports: a figure with its target, how it was measured, and where."""

from __future__ import annotations

import os
import platform
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import apsw
import psutil

LIBRARIES = ("aiohttp", "apsw", "msgspec", "starlette", "uvicorn", "uvloop", "xllamacpp")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured number.

    target: the largest value that is good (the smallest, when `more_is_better`), or None when the
        number is only told. method: how it was measured, in words that a reader can repeat.
    """

    area: str
    name: str
    value: float
    unit: str
    method: str
    target: float | None = None
    more_is_better: bool = False

    @property
    def is_met(self) -> bool | None:
        """Whether the target is reached; None when there is none."""
        if self.target is None:
            return None
        return self.value >= self.target if self.more_is_better else self.value <= self.target

    def to_plain(self) -> dict[str, object]:
        """As it stands in the JSON document."""
        return {
            "area": self.area,
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "target": self.target,
            "met": self.is_met,
            "method": self.method,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A figure that could not be measured here, and why."""

    area: str
    why: str


def median(values: Sequence[float]) -> float:
    """The middle one: what a busy neighbour disturbs least."""
    return statistics.median(values)


def quantile(values: Sequence[float], share: float) -> float:
    """The value that this share of the values does not exceed.

    >>> quantile([4.0, 1.0, 3.0, 2.0], 0.5)
    2.0
    """
    ordered = sorted(values)
    return ordered[max(0, min(len(ordered) - 1, round(share * len(ordered)) - 1))]


def machine() -> dict[str, object]:
    """Where this was measured."""
    found: dict[str, str] = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except ImportError:
            found[name] = "not installed"
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_mb": round(psutil.virtual_memory().total / 1e6),
        "load_1min": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "sqlite": apsw.sqlite_lib_version(),
        "libraries": found,
    }


def _processor() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
