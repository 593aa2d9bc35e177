"""Which instances have to go so that another fits: a pure plan with its reason.

Nothing that is serving, loading or pinned is ever planned away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from arbiter.refs import VersionId


@dataclass(frozen=True, slots=True, kw_only=True)
class Resident:
    """An instance in memory. last_used: seconds of a monotonic clock; busy: serving or loading."""

    version: VersionId
    need_bytes: int
    last_used: float
    busy: bool
    pinned: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Whether there is room, and who must leave first."""

    fits: bool
    evict: tuple[VersionId, ...]
    reason: str


def make_room(need_bytes: int, residents: Sequence[Resident], budget_bytes: int | None) -> Room:
    """Plan room for an instance: evict the least recently used that are idle, and no more.

    budget_bytes None means that nobody set or knows a limit: everything fits. An instance that is
    larger than the whole budget may load alone, because refusing it outright would help nobody:
    the estimate may be wrong, and the engine says so when it is not.
    """
    if budget_bytes is None:
        return Room(fits=True, evict=(), reason="no memory budget")
    free = budget_bytes - sum(resident.need_bytes for resident in residents)
    if need_bytes <= free:
        return Room(fits=True, evict=(), reason=f"{free} bytes free, {need_bytes} needed")
    leaving: list[VersionId] = []
    idle = (resident for resident in residents if not resident.busy and not resident.pinned)
    for resident in sorted(idle, key=lambda one: (one.last_used, one.version)):
        leaving.append(resident.version)
        free += resident.need_bytes
        if need_bytes <= free:
            return Room(
                fits=True,
                evict=tuple(leaving),
                reason=f"{len(leaving)} idle instances make room for {need_bytes} bytes",
            )
    if len(leaving) == len(residents):
        return Room(
            fits=True,
            evict=tuple(leaving),
            reason=f"{need_bytes} bytes are more than the budget of {budget_bytes}: loaded alone",
        )
    return Room(
        fits=False,
        evict=(),
        reason=f"{need_bytes} bytes needed, {max(free, 0)} free once everything idle has left",
    )
