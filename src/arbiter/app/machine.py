"""What of the machine is for models, and what its processor takes."""

from __future__ import annotations

import psutil

from arbiter.config import MeteringSettings, Settings
from arbiter.cost import HOST
from arbiter.hardware.machine import usable_cores
from arbiter.metering.estimate import Watts
from arbiter.pool.memory import MemoryReader

SHARE_OF_FREE_MEMORY = 0.7
"""Memory for models when nobody set it: this much of what was free when the house opened."""


def budget(settings: Settings, memory: MemoryReader) -> int | None:
    """Memory for models, in bytes; None where nobody set it and nothing can be read."""
    if settings.pool.memory_mb is not None:
        return int(settings.pool.memory_mb * 1_000_000)
    level = memory.levels().get(HOST)
    return None if level is None else int(level.available * SHARE_OF_FREE_MEMORY)


def watts(settings: MeteringSettings) -> Watts | None:
    """What the processor takes, as far as somebody said so."""
    if settings.cpu_idle_w is None or settings.cpu_full_w is None:
        return None
    threads = psutil.cpu_count() or usable_cores()
    return Watts(idle=settings.cpu_idle_w, full=settings.cpu_full_w, threads=threads)
