"""Who leaves memory for whom: a plan, and nothing that is in use in it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbiter.pool.residency import NEVER, Resident, Room, free_room, make_room, unused
from arbiter.refs import VersionId


def resident(
    name: str, need: int, used: float, *, busy: bool = False, kept: bool = False
) -> Resident:
    return Resident(version=VersionId(name), need_bytes=need, last_used=used, busy=busy, kept=kept)


OLD, MIDDLE, NEW = resident("old", 30, 1.0), resident("mid", 30, 2.0), resident("new", 30, 3.0)


def test_without_a_budget_everything_fits() -> None:
    assert make_room(10**15, [OLD], None) == Room(fits=True, evict=(), reason="no memory budget")


def test_nobody_leaves_when_there_is_room() -> None:
    assert make_room(10, [OLD, MIDDLE, NEW], 100) == Room(
        fits=True, evict=(), reason="10 bytes free, 10 needed"
    )


def test_the_least_recently_used_leave_first_and_no_more_than_needed() -> None:
    assert make_room(60, [NEW, OLD, MIDDLE], 100) == Room(
        fits=True,
        evict=(VersionId("old"), VersionId("mid")),
        reason="2 idle instances make room for 60 bytes",
    )


def test_what_was_used_at_the_same_moment_leaves_in_the_order_of_versions() -> None:
    twins = [resident("b", 50, 1.0), resident("a", 50, 1.0)]
    assert make_room(50, twins, 100).evict == ("a",)


def test_the_busy_stay_and_the_kept_leave_last() -> None:
    here = [resident("busy", 30, 1.0, busy=True), resident("kept", 30, 2.0, kept=True), NEW]
    assert make_room(40, here, 100).evict == ("new",)


def test_the_kept_leave_when_nothing_else_is_enough_and_the_reason_says_so() -> None:
    here = [resident("kept", 30, 1.0, kept=True), MIDDLE, NEW]
    assert make_room(90, here, 100) == Room(
        fits=True,
        evict=(VersionId("mid"), VersionId("new"), VersionId("kept")),
        reason="3 idle instances make room for 90 bytes; 1 of them kept, for nothing else could",
    )


@pytest.mark.parametrize(
    ("need", "budget", "room"),
    [
        (40, 100, Room(fits=True, evict=(), reason="40 bytes free, 40 needed")),
        (41, 100, Room(fits=False, evict=(), reason="40 bytes free, 41 needed")),
        (1, 50, Room(fits=False, evict=(), reason="0 bytes free, 1 needed")),
        (10**15, None, Room(fits=True, evict=(), reason="no memory budget")),
    ],
)
def test_free_room_is_what_nobody_has_to_leave_for(
    need: int, budget: int | None, room: Room
) -> None:
    assert free_room(need, [OLD, NEW], budget) == room


def test_what_is_larger_than_the_budget_has_no_free_room_even_alone() -> None:
    assert not free_room(101, [], 100).fits


def test_no_plan_is_made_that_would_not_be_enough() -> None:
    here = [resident("busy", 80, 1.0, busy=True), resident("idle", 10, 2.0)]
    assert make_room(30, here, 100) == Room(
        fits=False, evict=(), reason="30 bytes needed, 20 free once everything idle has left"
    )


def test_a_house_that_is_over_its_budget_has_nothing_free() -> None:
    here = [resident("busy", 150, 1.0, busy=True)]
    assert make_room(1, here, 100).reason.startswith("1 bytes needed, 0 free")


@pytest.mark.parametrize(("here", "evict"), [([], ()), ([OLD, NEW], ("old", "new"))])
def test_what_is_larger_than_the_budget_is_loaded_alone(
    here: list[Resident], evict: tuple[str, ...]
) -> None:
    assert make_room(101, here, 100) == Room(
        fits=True,
        evict=tuple(VersionId(name) for name in evict),
        reason="101 bytes are more than the budget of 100: loaded alone",
    )


def test_what_is_larger_than_the_budget_waits_for_whoever_is_busy() -> None:
    assert not make_room(101, [resident("busy", 1, 1.0, busy=True)], 100).fits


RESIDENTS = st.lists(
    st.builds(
        Resident,
        version=st.sampled_from([VersionId(letter) for letter in "abcdefgh"]),
        need_bytes=st.integers(1, 50),
        last_used=st.integers(0, 4).map(float),
        busy=st.booleans(),
        kept=st.booleans(),
    ),
    max_size=6,
    unique_by=lambda one: one.version,
)


def left(residents: list[Resident], room: Room) -> int:
    return sum(one.need_bytes for one in residents if one.version not in room.evict)


@settings(deadline=None)
@given(need=st.integers(1, 120), residents=RESIDENTS, budget=st.integers(1, 150))
def test_a_plan_never_holds_what_is_busy(need: int, residents: list[Resident], budget: int) -> None:
    used = {one.version for one in residents if one.busy}
    assert not used & set(make_room(need, residents, budget).evict)


@settings(deadline=None)
@given(need=st.integers(1, 120), residents=RESIDENTS, budget=st.integers(1, 150))
def test_a_plan_that_fits_fits_and_one_that_does_not_leaves_everybody(
    need: int, residents: list[Resident], budget: int
) -> None:
    room = make_room(need, residents, budget)
    rest = left(residents, room)
    assert room.fits or room.evict == ()
    assert not room.fits or rest == 0 or need + rest <= budget


@settings(deadline=None)
@given(need=st.integers(1, 120), residents=RESIDENTS, budget=st.integers(1, 150))
def test_a_plan_takes_the_kept_last_and_the_least_recently_used_first_and_no_more_than_enough(
    need: int, residents: list[Resident], budget: int
) -> None:
    room = make_room(need, residents, budget)
    idle = sorted(
        (one for one in residents if not one.busy),
        key=lambda one: (one.kept, one.last_used, one.version),
    )
    assert room.evict == tuple(one.version for one in idle[: len(room.evict)])
    spared = Room(fits=True, evict=room.evict[:-1], reason="")
    assert not room.evict or need + left(residents, spared) > budget


@settings(deadline=None)
@given(need=st.integers(1, 120), residents=RESIDENTS, budget=st.integers(1, 150))
def test_keeping_never_makes_anybody_wait(
    need: int, residents: list[Resident], budget: int
) -> None:
    nobody_kept = [replace(one, kept=False) for one in residents]
    assert make_room(need, residents, budget).fits == make_room(need, nobody_kept, budget).fits


@settings(deadline=None)
@given(need=st.integers(1, 120), residents=RESIDENTS, budget=st.integers(1, 150))
def test_there_is_free_room_exactly_when_nobody_has_to_leave_for_what_the_budget_holds(
    need: int, residents: list[Resident], budget: int
) -> None:
    room = make_room(need, residents, budget)
    nobody_leaves = room.fits and room.evict == () and need <= budget
    assert free_room(need, residents, budget).fits == nobody_leaves


@settings(deadline=None)
@given(need=st.integers(1, 120), residents=RESIDENTS, budget=st.integers(1, 150), data=st.data())
def test_the_order_of_residents_changes_no_plan(
    need: int, residents: list[Resident], budget: int, data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(residents))
    assert make_room(need, shuffled, budget) == make_room(need, residents, budget)


def test_for_whom_nobody_asked_only_what_nobody_uses_may_leave() -> None:
    here = [resident("busy", 30, 0.0, busy=True), resident("kept", 30, 0.0, kept=True), OLD, NEW]
    seen = unused(here, since=2.0)
    assert [one.version for one in seen if not one.busy] == ["old"]
    assert make_room(30, seen, 130).evict == ("old",)
    assert not make_room(50, seen, 130).fits


def test_what_nobody_ever_asked_for_leaves_first() -> None:
    assert make_room(30, [OLD, resident("spare", 30, NEVER)], 60).evict == ("spare",)
