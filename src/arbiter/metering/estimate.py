"""The energy of a processor without a counter: an estimate, and only from watts that a person gave.

A processor's power is taken to rise in a straight line from idle to full, so each second of a
hardware thread costs the same above idle:

    energy = CPU seconds * (full - idle) / hardware threads

Nothing is looked up: the published tables differ by a factor of two for the same processor, and
the tools that use them were found to be up to 40 % off (arXiv 2509.22092). An estimate says so,
with `ERROR_PCT`, and is never compared with what a counter said.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

ERROR_PCT: Final = 50.0
"""What is claimed of it until somebody compared it with a meter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watts:
    """What a processor takes at rest and with every hardware thread busy, as a person said.

    >>> Watts(idle=10.0, full=70.0, threads=12).joules(cpu_s=2.0)
    10.0
    """

    idle: float
    full: float
    threads: int

    def __post_init__(self) -> None:
        """Refuse what cannot be a processor."""
        if not (0 <= self.idle <= self.full and self.threads > 0):
            raise ValueError("full is at least idle, and there is a thread")

    def joules(self, cpu_s: float) -> float:
        """The energy above idle of so many seconds of CPU time."""
        return cpu_s * (self.full - self.idle) / self.threads

    @property
    def words(self) -> str:
        """The coefficients, for whoever reads the figure."""
        return (
            f"estimated from {self.idle:g} W idle and {self.full:g} W full over "
            f"{self.threads} threads, as the settings say"
        )
