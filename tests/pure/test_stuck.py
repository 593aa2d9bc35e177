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


def told(before: Sight, now: Sight) -> list[str]:
    return [one.reason for one in stuck([before], [now])]


def test_who_waits_for_memory_although_there_is_room_is_stuck_without_any_slot() -> None:
    waits = replace(SIGHT, waiting=0, has_room=True, is_ready=False)
    assert told(waits, waits) == ["it waits for memory although there is room"]
    assert told(replace(waits, has_room=False), waits) == []
    assert told(waits, replace(waits, has_room=False)) == []


def test_who_waits_although_nobody_has_a_slot_is_stuck() -> None:
    idle = replace(SIGHT, leases=0, slots=3)
    assert told(idle, idle) == ["2 requests wait although nobody has any of the 3 slots"]
    assert told(replace(idle, leases=1), idle) == []
    assert told(idle, replace(idle, leases=1)) == []
    assert told(idle, replace(idle, is_ready=False)) == []


def test_a_slot_that_is_free_in_one_of_the_two_looks_only_is_just_being_taken() -> None:
    free = replace(SIGHT, free=1)
    assert told(SIGHT, free) == told(free, SIGHT) == []


def test_a_queue_that_was_empty_at_either_look_is_not_stuck() -> None:
    free, empty = replace(SIGHT, free=1), replace(SIGHT, free=1, waiting=0)
    assert told(free, empty) == told(empty, free) == []


def test_a_queue_that_was_not_seen_before_is_not_stuck() -> None:
    free = replace(SIGHT, free=1)
    assert stuck([], [free]) == ()
    assert stuck([replace(free, version=VersionId("other"))], [free]) == ()
    assert stuck([replace(free, number=2)], [free]) == ()


def test_every_queue_that_is_stuck_is_told_and_which_it_is() -> None:
    both = [replace(SIGHT, free=1), replace(SIGHT, version=VersionId("w"), number=3, free=2)]
    found = stuck(both, both)
    assert [(one.version, one.number) for one in found] == [("v", 1), ("w", 3)]
    assert found[1].reason == "2 requests wait although 2 slots are free"
