"""Whether this machine runs on its battery, as the system says.

It reads and decides nothing: what must not run on a battery asks before it begins.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import psutil


class Power(Protocol):
    """What psutil says of a battery."""

    @property
    def power_plugged(self) -> bool | None:
        """Whether the machine is on mains; None when that is not known."""
        ...


def _system() -> Power | None:
    # there are systems for which psutil knows no batteries at all
    read: Callable[[], Power | None] = getattr(psutil, "sensors_battery", lambda: None)
    return read()


def on_battery(read: Callable[[], Power | None] = _system) -> bool | None:
    """True on a battery, False on mains or without a battery; None when the system cannot say."""
    try:
        power = read()
    except (OSError, RuntimeError):
        return None
    if power is None:
        return False
    return None if power.power_plugged is None else not power.power_plugged
