"""How much memory models may have at this moment: a pure sum with its parts.

Two bounds hold at once. One is what a person, or the first look at the machine, gave to models.
The other follows the machine: what is available now, and what our models hold for themselves, less
the head-room that is left to others. So when other programs take memory, models have less.

The system counts a mapped file as available, because it can be read again. Our weights are mapped
files, and to lose them would be slow; so of what our models hold only private memory is added.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from arbiter.cost import Level
from arbiter.pool.residency import Bytes


class MemoryReader(Protocol):
    """Whoever can say how full the memories of this host are."""

    async def refresh(self) -> None:
        """Read what takes long, so that the others tell of this moment. Bounded in time."""
        ...

    def levels(self) -> Mapping[str, Level]:
        """Every memory that can be read: the host's, and each accelerator's."""
        ...

    def held(self, pid: int) -> Bytes:
        """What a process holds of each accelerator, as far as that can be read."""
        ...


HEADROOM_SHARE = 0.05
"""Of a memory's total, when nobody said how much to leave to others."""


def headroom(level: Level, given_bytes: int | None) -> int:
    """What is left to others of a memory.

    >>> headroom(Level(total=1000, available=1000), None)
    50
    """
    return int(level.total * HEADROOM_SHARE) if given_bytes is None else given_bytes


def budget_now(
    given: Bytes, levels: Mapping[str, Level], private: Bytes, headroom_bytes: Bytes
) -> dict[str, int]:
    """What all models together may take now of each memory; one without any bound is left out.

    given: the budgets that were set. private: what our models hold of each for themselves.

    >>> budget_now({"host": 900}, {"host": Level(total=1000, available=500)}, {"host": 100}, {})
    {'host': 600}
    """
    found = dict(given)
    for memory, level in levels.items():
        most = level.available + private.get(memory, 0) - headroom_bytes.get(memory, 0)
        most = max(0, min(most, level.total - headroom_bytes.get(memory, 0)))
        found[memory] = min(found.get(memory, most), most)
    return found
