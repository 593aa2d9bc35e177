"""Reading the settings again while the house is open: what changed of the pool counts at once.

Nothing that runs is cut. A version is loaded again only if the way in which it is loaded changed,
and is drained first. What is not valid changes nothing at all. Other settings count at the next
start, and are named.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from arbiter.clock import Clock
from arbiter.config import Settings, differences
from arbiter.events import Announcer, Detail, Event
from arbiter.pool.pool import Pool
from arbiter.refs import VersionId

_AT_ONCE = "pool."


@dataclass(frozen=True, slots=True, kw_only=True)
class Reloaded:
    """What reading the settings again led to.

    applied, at_next_start: settings by their names. loaded_again: drained, and loaded anew when
    they are next asked for. stays: in memory as before; told where anything was applied.
    """

    applied: tuple[str, ...]
    at_next_start: tuple[str, ...]
    loaded_again: tuple[VersionId, ...]
    stays: tuple[VersionId, ...]


class Reloading:
    """Reads the settings again when somebody says so.

    reread: where they come from. budget: the memory for models by some settings, in bytes.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        reread: Callable[[], Settings],
        budget: Callable[[Settings], int | None],
        pool: Pool,
        announcer: Announcer,
        clock: Clock,
    ) -> None:
        self._began_with = settings
        self._in_force = settings.pool
        self._reread = reread
        self._budget = budget
        self._pool = pool
        self._announcer = announcer
        self._clock = clock
        self._one_at_a_time = asyncio.Lock()

    async def reload(self) -> Reloaded:
        """Read them again. Raises `ConfigError`, and then everything stays as it is."""
        async with self._one_at_a_time:
            found = await asyncio.to_thread(self._reread)
            before = self._began_with.model_copy(update={"pool": self._in_force})
            changed = differences(before, found)
            applied = tuple(name for name in changed if name.startswith(_AT_ONCE))
            again: tuple[VersionId, ...] = ()
            stays: tuple[VersionId, ...] = ()
            if applied:
                budget = self._pool.budget_bytes
                if "pool.memory_mb" in applied:
                    budget = self._budget(found)
                # from before: what is loaded again is on its way out afterwards
                ready = self._pool.ready()
                again = self._pool.reconfigure(found.pool, budget)
                stays = tuple(version for version in ready if version not in again)
                self._in_force = found.pool
            reloaded = Reloaded(
                applied=applied,
                at_next_start=tuple(name for name in changed if name not in applied),
                loaded_again=again,
                stays=stays,
            )
            self._tell(reloaded)
            return reloaded

    def _tell(self, reloaded: Reloaded) -> None:
        detail: dict[str, Detail] = {
            "applied": ", ".join(reloaded.applied),
            "at_next_start": ", ".join(reloaded.at_next_start),
            "loaded_again": len(reloaded.loaded_again),
            "stays": len(reloaded.stays),
        }
        self._announcer.announce(
            Event(kind="settings.reloaded", at=self._clock.now(), detail=detail)
        )
