"""Which instances have to go so that another fits: a pure plan with its reason.

Nothing that is serving or loading is ever planned away. What is kept for the way back to it is
last in line, but in line: nobody's request for another model waits because of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from arbiter.refs import VersionId

NEVER: Final = float("-inf")
"""When something was last used that nobody ever asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resident:
    """An instance in memory.

    last_used: seconds of a monotonic clock. busy: serving or loading for somebody. kept: replaced
    by another version, and held ready in case people want it back.
    """

    version: VersionId
    need_bytes: int
    last_used: float
    busy: bool
    kept: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Whether there is room, and who must leave first."""

    fits: bool
    evict: tuple[VersionId, ...]
    reason: str


def free_room(need_bytes: int, residents: Sequence[Resident], budget_bytes: int | None) -> Room:
    """Whether an instance fits beside those that are there, so that nobody has to leave.

    budget_bytes None means that nobody set or knows a limit: everything fits.
    """
    if budget_bytes is None:
        return Room(fits=True, evict=(), reason="no memory budget")
    free = budget_bytes - sum(resident.need_bytes for resident in residents)
    return Room(
        fits=need_bytes <= free,
        evict=(),
        reason=f"{max(free, 0)} bytes free, {need_bytes} needed",
    )


def unused(residents: Sequence[Resident], *, since: float) -> tuple[Resident, ...]:
    """The residents as who has no claim of its own sees them: what people use may not leave.

    Only what nobody asked for since then, and is not kept, counts as idle.
    """
    return tuple(
        replace(one, busy=one.busy or one.kept or one.last_used > since) for one in residents
    )


def make_room(need_bytes: int, residents: Sequence[Resident], budget_bytes: int | None) -> Room:
    """Plan room for an instance: evict the least recently used that are idle, and no more.

    What is kept leaves only when all the others that are idle are not enough. An instance that is
    larger than the whole budget may load alone, because refusing it outright would help nobody:
    the estimate may be wrong, and the engine says so when it is not.
    """
    room = free_room(need_bytes, residents, budget_bytes)
    if room.fits or budget_bytes is None:
        return room
    free = budget_bytes - sum(resident.need_bytes for resident in residents)
    leaving: list[VersionId] = []
    kept = 0
    idle = (resident for resident in residents if not resident.busy)
    for resident in sorted(idle, key=lambda one: (one.kept, one.last_used, one.version)):
        leaving.append(resident.version)
        kept += resident.kept
        free += resident.need_bytes
        if need_bytes <= free:
            reason = f"{len(leaving)} idle instances make room for {need_bytes} bytes"
            return Room(
                fits=True,
                evict=tuple(leaving),
                reason=f"{reason}; {kept} of them kept, for nothing else could" if kept else reason,
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
