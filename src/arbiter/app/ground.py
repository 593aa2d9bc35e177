"""What a house is built on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from arbiter.clock import Clock
from arbiter.config import Settings
from arbiter.engines.base import Engine
from arbiter.events import Announcer
from arbiter.hardware.found import Hardware
from arbiter.pool.memory import MemoryReader
from arbiter.pool.presence import Presence
from arbiter.storage.database import Database
from arbiter.swap.crashing import Crash

if TYPE_CHECKING:
    # needs the extra otel
    from arbiter.tracing.request import Traces


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What whoever opens a house hands in, and what was opened before anything is built.

    memory: who says how full the machine's memories are. crash: called at the named places of a
    rollout, for tests. reread: where the settings come from when they are read again.
    """

    settings: Settings
    database: Database
    engines: Sequence[Engine]
    clock: Clock
    dice: Random
    hardware: Hardware
    memory: MemoryReader
    on_battery: Callable[[], bool | None]
    announcer: Announcer
    presence: Presence
    traces: Traces | None
    reread: Callable[[], Settings]
    crash: Crash | None

    @property
    def most_in_idle_time(self) -> int:
        """Most cases of a task that are run in idle time."""
        settings = self.settings
        return settings.calibration.most_cases or settings.rollout.calibration_cases
