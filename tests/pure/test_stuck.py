"""Which queue stands still: one that waits in two looks while nothing is in its way."""

from __future__ import annotations

from dataclasses import replace

from arbiter.pool.stuck import Sight, stuck
from arbiter.refs import VersionId

SIGHT = Sight(
    version=VersionId("v"),
    waiting=2,
    free=0,
    leases=1,
    slots=1,
    served=7,
    is_ready=True,
    has_room=False,
)


def test_a_queue_that_has_fewer_slots_than_are_out_is_not_stuck() -> None:
    # it had two slots, both are out, and the settings now say one
    seen = [replace(SIGHT, free=-1, leases=2)]
    assert stuck(seen, seen) == ()


def test_each_instance_of_a_version_has_a_queue_of_its_own() -> None:
    stands = replace(SIGHT, number=2, free=1)
    moves = replace(SIGHT, number=1)
    (found,) = stuck([moves, stands], [replace(moves, served=9), stands])
    assert (found.number, found.reason) == (2, "2 requests wait although 1 slots are free")
