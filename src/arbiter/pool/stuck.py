"""Whether a queue stands still although there is room: a fault of the house, to be told and mended.

Two looks are compared. What waits in both while nothing moved in between, and nothing is in its
way, is stuck. This module knows no queue and no clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from arbiter.refs import VersionId


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What was seen of a version. free: slots that nobody has. served: slots that were ever given.

    is_ready: it is loaded, and may be asked. has_room: it waits for memory, and there is room.
    """

    version: VersionId
    number: int = 1
    waiting: int
    free: int
    leases: int
    slots: int
    served: int
    is_ready: bool
    has_room: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Stuck:
    """A version whose queue stands still, and how that is seen. number: of which instance."""

    version: VersionId
    number: int = 1
    reason: str


def stuck(before: Sequence[Sight], now: Sequence[Sight]) -> tuple[Stuck, ...]:
    """Every queue that stood still between two looks although there was room.

    >>> seen = Sight(version="v", waiting=2, free=1, leases=0, slots=1, served=7, is_ready=True,
    ...              has_room=False)
    >>> [one.reason for one in stuck([seen], [seen])]
    ['2 requests wait although 1 slots are free']
    """
    earlier = {(one.version, one.number): one for one in before}
    found = []
    for one in now:
        was = earlier.get((one.version, one.number))
        if was is not None and was.served == one.served:
            reason = _reason(was, one)
            if reason is not None:
                found.append(Stuck(version=one.version, number=one.number, reason=reason))
    return tuple(found)


def _reason(was: Sight, one: Sight) -> str | None:
    if was.has_room and one.has_room:
        return "it waits for memory although there is room"
    if not (was.waiting and one.waiting):
        return None
    if was.free > 0 and one.free > 0:  # with fewer slots than before it may be less than none
        return f"{one.waiting} requests wait although {one.free} slots are free"
    if one.is_ready and not (was.leases or one.leases):
        return f"{one.waiting} requests wait although nobody has any of the {one.slots} slots"
    return None
