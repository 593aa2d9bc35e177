"""Whether this machine runs on its battery, as the system says.

It reads and decides nothing: what must not run on a battery asks before it begins.
"""

from __future__ import annotations

import psutil


def on_battery() -> bool | None:
    """True on a battery, False on mains or without a battery; None when the system cannot say."""
    read = getattr(psutil, "sensors_battery", None)
    if read is None:
        return False  # a system for which psutil knows no battery at all: servers and the like
    try:
        battery = read()
    except (OSError, RuntimeError):
        return None
    if battery is None:
        return False
    plugged = battery.power_plugged
    return None if plugged is None else not plugged
