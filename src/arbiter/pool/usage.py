"""How much something is used, and what that says of how soon it will be again.

A use counts less the longer ago it was: by half after `HALF_LIFE_S`. With that count over the time
in which it fades as the rate of a Poisson process, the chance of at least one use within
`HORIZON_S` is ``1 - exp(-rate * HORIZON_S)``. It assumes that what was used lately will be used as
often again, which is all that is known; a model that is asked every hour on the hour is not seen.

This module knows no clock: times are given to it.
"""

from __future__ import annotations

from math import exp, expm1, log
from typing import Final

HALF_LIFE_S: Final = 600.0
HORIZON_S: Final = 600.0
_FADING_S: Final = HALF_LIFE_S / log(2)


class Usage:
    """When something was used, and how often of late."""

    __slots__ = ("_count", "last")

    def __init__(self, now: float) -> None:
        self.last = now
        """When it was used last, or when this began."""
        self._count = 0.0

    def add(self, now: float) -> None:
        """It was used."""
        self._count = self.count(now) + 1.0
        self.last = now

    def count(self, now: float) -> float:
        """How many uses count now.

        >>> usage = Usage(0.0); usage.add(0.0); usage.add(600.0)
        >>> usage.count(600.0)
        1.5
        """
        return self._count * exp((self.last - now) / _FADING_S)

    def chance(self, now: float) -> float:
        """How probable it is to be used within the next ten minutes.

        >>> usage = Usage(0.0); usage.add(0.0)
        >>> round(usage.chance(0.0), 2), round(usage.chance(3600.0), 2)
        (0.5, 0.01)
        """
        return -expm1(-self.count(now) / _FADING_S * HORIZON_S)
