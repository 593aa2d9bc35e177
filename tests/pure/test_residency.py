"""Who leaves memory for whom: a plan, and nothing that is in use in it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbiter.cost import HOST
from arbiter.pool.residency import (
    MOST_WEIGHED,
    NEVER,
    Bytes,
    Resident,
    Room,
    Wish,
    free_room,
    make_room,
    promised,
    surplus,
    total,
    unused,
)
from arbiter.refs import VersionId

GPU = "gpu0"


def host(size: int) -> Bytes:
    return {HOST: size * 1_000_000}


def resident(name: str, need: int, worth: float = 1.0, **more: object) -> Resident:
    one = Resident(version=VersionId(name), need=host(need), last_used=0.0, busy=False, worth=worth)
    return replace(one, **more)  # type: ignore[arg-type]  # fields by name


OLD, MIDDLE, NEW = resident("old", 30, 1.0), resident("mid", 30, 2.0), resident("new", 30, 3.0)


def leaving(room: Room) -> list[str]:
    return [str(version) for version in room.evict]


def test_without_a_budget_everything_fits() -> None:
    assert make_room(host(10**9), [OLD], {}) == Room(fits=True, evict=(), reason="no memory budget")


def test_nobody_leaves_when_there_is_room() -> None:
    assert make_room(host(10), [OLD, MIDDLE, NEW], host(100)) == Room(
        fits=True, evict=(), reason="10.0 MB needed, 10.0 MB free"
    )


def test_those_that_are_worth_least_leave_and_no_more_than_needed() -> None:
    assert make_room(host(60), [NEW, OLD, MIDDLE], host(100)) == Room(
        fits=True,
        evict=(VersionId("old"), VersionId("mid")),
        reason="2 idle instances make room for 60.0 MB",
    )


def test_one_that_is_worth_more_leaves_alone_where_several_are_worth_more_together() -> None:
    here = [resident("a", 30, 2.0), resident("b", 30, 2.0), resident("large", 60, 3.0)]
    assert leaving(make_room(host(60), here, host(120))) == ["large"]


def test_what_loads_slowly_and_is_asked_for_often_stays() -> None:
    here = [resident("slow", 50, 20.0 * 0.9), resident("quick", 50, 1.0 * 0.9)]
    assert leaving(make_room(host(50), here, host(100))) == ["quick"]


def test_what_is_worth_the_same_leaves_in_the_order_of_last_use_and_of_versions() -> None:
    twins = [resident("b", 50), resident("a", 50)]
    assert leaving(make_room(host(50), twins, host(100))) == ["a"]
    assert leaving(
        make_room(host(50), [twins[0], replace(twins[1], last_used=1.0)], host(100))
    ) == ["b"]


def test_the_busy_stay_and_the_kept_leave_last() -> None:
    here = [resident("busy", 30, 0.0, busy=True), resident("kept", 30, 0.0, kept=True), NEW]
    assert leaving(make_room(host(40), here, host(100))) == ["new"]


def test_what_has_a_higher_priority_leaves_after_what_has_a_lower_one() -> None:
    here = [resident("high", 50, 0.0, priority=2), resident("low", 50, 99.0)]
    assert leaving(make_room(host(50), here, host(100))) == ["low"]
    assert leaving(make_room(host(100), here, host(100))) == ["low", "high"]


def test_the_kept_leave_when_nothing_else_is_enough_and_the_reason_says_so() -> None:
    here = [resident("kept", 30, 1.0, kept=True), MIDDLE, NEW]
    assert make_room(host(90), here, host(100)) == Room(
        fits=True,
        evict=(VersionId("mid"), VersionId("new"), VersionId("kept")),
        reason="3 idle instances make room for 90.0 MB; 1 of them kept, for nothing else could",
    )


def test_what_is_pinned_never_leaves_and_a_load_that_it_makes_impossible_is_told() -> None:
    here = [resident("pinned", 60, 0.0, pinned=True), OLD]
    assert leaving(make_room(host(40), here, host(100))) == ["old"]
    assert make_room(host(50), here, host(100)) == Room(
        fits=False,
        evict=(),
        reason="50.0 MB needed, 40.0 MB free beside what is pinned",
        is_never=True,
    )


def test_one_more_of_a_version_puts_out_others_and_none_of_its_own() -> None:
    here = [resident("own", 60, 0.0, is_beside=True, is_turn_over=True), OLD]
    assert leaving(make_room(host(40), here, host(100))) == ["old"]
    assert make_room(host(50), here, host(100)) == Room(
        fits=False,
        evict=(),
        reason="50.0 MB needed, 40.0 MB free beside its other instances",
        is_never=True,
    )


def test_of_several_that_nobody_misses_the_last_instance_of_a_version_leaves_first() -> None:
    here = [
        resident("v", 30, 0.0),
        resident("v/2", 30, 0.0, number=2),
        resident("v/10", 30, 0.0, number=10),
    ]
    assert leaving(make_room(host(30), here, host(100))) == ["v/10"]
    assert leaving(make_room(host(60), here, host(100))) == ["v/10", "v/2"]


def test_who_was_busy_for_a_whole_turn_makes_way_when_nothing_idle_is_enough() -> None:
    busy = resident("busy", 60, 0.0, busy=True, is_turn_over=True)
    assert leaving(make_room(host(30), [busy, OLD], host(100))) == ["old"]
    assert make_room(host(60), [busy, OLD], host(100)) == Room(
        fits=True,
        evict=(VersionId("busy"),),
        reason="1 instances make room for 60.0 MB, 1 after its turn",
    )


@pytest.mark.parametrize(
    ("need", "budget", "fits", "reason"),
    [
        (40, 100, True, "40.0 MB needed, 40.0 MB free"),
        (41, 100, False, "41.0 MB needed, 40.0 MB free"),
        (1, 50, False, "1.0 MB needed, 0.0 MB free"),
    ],
)
def test_free_room_is_what_nobody_has_to_leave_for(
    need: int, budget: int, fits: bool, reason: str
) -> None:
    found = free_room(host(need), [OLD, NEW], host(budget))
    assert found == Room(fits=fits, evict=(), reason=reason)


def test_what_is_larger_than_the_budget_has_no_free_room_even_alone() -> None:
    assert not free_room(host(101), [], host(100)).fits


def test_no_plan_is_made_that_would_not_be_enough() -> None:
    here = [resident("busy", 80, busy=True), resident("idle", 10)]
    assert make_room(host(30), here, host(100)) == Room(
        fits=False,
        evict=(),
        reason="30.0 MB needed, 20.0 MB free once everything idle has left",
    )


@pytest.mark.parametrize(("here", "evict"), [([], []), ([OLD, NEW], ["old", "new"])])
def test_what_is_larger_than_the_budget_is_loaded_alone(
    here: list[Resident], evict: list[str]
) -> None:
    room = make_room(host(101), here, host(100))
    assert (room.fits, room.is_alone, leaving(room)) == (True, True, evict)
    assert room.reason == "101.0 MB are more than the budget of 100.0 MB: loaded alone"


def test_what_is_larger_than_the_budget_waits_for_whoever_is_busy() -> None:
    assert not make_room(host(101), [resident("busy", 1, busy=True)], host(100)).fits


def test_each_memory_has_a_budget_of_its_own() -> None:
    here = [
        replace(resident("on-gpu", 0, 5.0), need={HOST: 1, GPU: 60}),
        replace(resident("on-host", 0, 1.0), need={HOST: 60}),
    ]
    budget = {HOST: 100, GPU: 100}
    assert leaving(make_room({HOST: 10, GPU: 60}, here, budget)) == ["on-gpu"]
    assert leaving(make_room({HOST: 60}, here, budget)) == ["on-host"]
    assert leaving(make_room({HOST: 60, GPU: 60}, here, budget)) == ["on-host", "on-gpu"]


def test_what_is_promised_to_whoever_waited_a_turn_is_no_room_for_others() -> None:
    here = [resident("busy", 50, busy=True)]
    assert make_room(host(40), here, host(100)).fits
    assert not make_room(host(40), here, host(100), reserved=host(50)).fits


def test_for_whom_nobody_asked_only_what_nobody_uses_may_leave() -> None:
    here = [
        resident("busy", 30, busy=True, is_turn_over=True),
        resident("kept", 30, kept=True),
        replace(OLD, last_used=1.0),
        replace(NEW, last_used=3.0),
    ]
    seen = unused(here, since=2.0)
    assert [one.version for one in seen if not one.busy] == ["old"]
    assert leaving(make_room(host(30), seen, host(130))) == ["old"]
    assert not make_room(host(50), seen, host(130)).fits


def test_what_nobody_ever_asked_for_leaves_first() -> None:
    spare = resident("spare", 30, 0.0, last_used=NEVER)
    assert leaving(make_room(host(30), [OLD, spare], host(60))) == ["spare"]


def test_of_very_many_idle_ones_those_that_are_worth_least_for_their_size_leave() -> None:
    here = [resident(f"m{n:02}", 10, float(n)) for n in range(3 * MOST_WEIGHED)]
    room = make_room(host(300), here, host(360))
    assert leaving(room) == [f"m{n:02}" for n in range(30)]


RESIDENTS = st.lists(
    st.builds(
        Resident,
        version=st.sampled_from([VersionId(letter) for letter in "abcdefgh"]),
        need=st.builds(lambda a, b: {HOST: a, GPU: b}, st.integers(1, 50), st.integers(0, 50)),
        last_used=st.integers(0, 4).map(float),
        busy=st.booleans(),
        worth=st.integers(0, 6).map(float),
        kept=st.booleans(),
        pinned=st.booleans(),
        is_turn_over=st.booleans(),
        priority=st.integers(0, 2),
    ),
    max_size=6,
    unique_by=lambda one: one.version,
)
NEED = st.builds(lambda a, b: {HOST: a, GPU: b}, st.integers(1, 120), st.integers(0, 120))
BUDGET = st.builds(lambda a, b: {HOST: a, GPU: b}, st.integers(1, 150), st.integers(1, 150))


def after(need: Bytes, residents: list[Resident], room: Room) -> dict[str, int]:
    rest = [one.need for one in residents if one.version not in room.evict]
    return total([need, *rest])


def within(taken: Bytes, budget: Bytes, need: Bytes) -> bool:
    return all(taken.get(m, 0) <= most for m, most in budget.items() if need.get(m, 0))


def lost(residents: list[Resident], room: Room) -> list[tuple[object, float]]:
    """What a plan costs, by rank, the most precious first; of ranks that lose nothing, nothing."""
    gone = [one for one in residents if one.version in room.evict]
    ranks = sorted({one.rank for one in gone}, reverse=True)
    return [(r, sum(max(one.worth, 1e-9) for one in gone if one.rank == r)) for r in ranks]


@settings(deadline=None)
@given(need=NEED, residents=RESIDENTS, budget=BUDGET)
def test_a_plan_never_holds_what_is_busy_within_its_turn_or_pinned(
    need: Bytes, residents: list[Resident], budget: Bytes
) -> None:
    stays = {one.version for one in residents if one.pinned or (one.busy and not one.is_turn_over)}
    assert not stays & set(make_room(need, residents, budget).evict)


@settings(deadline=None)
@given(need=NEED, residents=RESIDENTS, budget=BUDGET)
def test_a_plan_that_fits_fits_and_one_that_does_not_leaves_everybody_and_says_why(
    need: Bytes, residents: list[Resident], budget: Bytes
) -> None:
    room = make_room(need, residents, budget)
    assert room.reason
    assert room.fits or room.evict == ()
    if room.fits and not room.is_alone:
        assert within(after(need, residents, room), budget, need)
    if room.is_alone:
        assert set(room.evict) == {one.version for one in residents}


@settings(deadline=None)
@given(need=NEED, residents=RESIDENTS, budget=BUDGET)
def test_nobody_in_a_plan_could_have_stayed(
    need: Bytes, residents: list[Resident], budget: Bytes
) -> None:
    room = make_room(need, residents, budget)
    for spared in room.evict if not room.is_alone else ():
        rest = replace(room, evict=tuple(v for v in room.evict if v != spared))
        assert not within(after(need, residents, rest), budget, need)


@settings(deadline=None)
@given(need=NEED, residents=RESIDENTS, budget=BUDGET, more=st.integers(0, 60))
def test_a_larger_budget_fits_whatever_a_smaller_one_does_and_never_loses_more(
    need: Bytes, residents: list[Resident], budget: Bytes, more: int
) -> None:
    small = make_room(need, residents, budget)
    large = make_room(need, residents, {m: most + more for m, most in budget.items()})
    if small.fits and not small.is_alone:
        assert large.fits
        assert lost(residents, large) <= lost(residents, small)


@settings(deadline=None)
@given(need=NEED, residents=RESIDENTS, budget=BUDGET)
def test_keeping_and_priorities_never_make_anybody_wait(
    need: Bytes, residents: list[Resident], budget: Bytes
) -> None:
    equal = [replace(one, kept=False, priority=0) for one in residents]
    assert make_room(need, residents, budget).fits == make_room(need, equal, budget).fits


@settings(deadline=None)
@given(need=NEED, residents=RESIDENTS, budget=BUDGET)
def test_there_is_free_room_exactly_when_nobody_has_to_leave_for_what_the_budget_holds(
    need: Bytes, residents: list[Resident], budget: Bytes
) -> None:
    room = make_room(need, residents, budget)
    nobody_leaves = room.fits and room.evict == () and not room.is_alone
    assert free_room(need, residents, budget).fits == nobody_leaves


@settings(deadline=None)
@given(need=NEED, residents=RESIDENTS, budget=BUDGET, data=st.data())
def test_the_order_of_residents_changes_no_plan(
    need: Bytes, residents: list[Resident], budget: Bytes, data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(residents))
    assert make_room(need, shuffled, budget) == make_room(need, residents, budget)


@settings(deadline=None)
@given(
    wishes=st.dictionaries(
        st.sampled_from([VersionId(letter) for letter in "abcd"]),
        st.builds(Wish, since=st.integers(0, 40).map(float), need=st.just({HOST: 1})),
        min_size=1,
    ),
    now=st.integers(0, 100).map(float),
)
def test_nothing_is_promised_before_the_one_that_has_waited_longest(
    wishes: dict[str, Wish], now: float
) -> None:
    first = min(wishes, key=lambda version: (wishes[version].since, version))
    assert promised(first, wishes, now=now, turn_s=30.0) == {}
    held = [v for v in wishes if promised(v, wishes, now=now, turn_s=30.0)]
    assert bool(held) == (len(wishes) > 1 and now - wishes[first].since >= 30.0)


def test_what_others_leave_for_belongs_to_whom_they_leave_for() -> None:
    wishes: dict[str, Wish] = {
        VersionId("a"): Wish(since=0.0, need=host(3)),
        VersionId("b"): Wish(since=9.0, need=host(5), is_claimed=True),
    }
    assert promised(VersionId("a"), wishes, now=9.0, turn_s=30.0) == host(5)


def test_when_the_budget_shrinks_the_idle_leave_and_no_more_than_needed() -> None:
    busy, pinned = resident("busy", 30, busy=True), resident("pinned", 30, pinned=True)
    here = [busy, pinned, OLD, NEW]
    assert leaving(surplus(here, host(120))) == []
    assert leaving(surplus(here, host(100))) == ["old"]
    assert surplus(here, host(20)) == Room(
        fits=False,
        evict=(VersionId("old"), VersionId("new")),
        reason="models hold 100.0 MB more than there is for them now",
    )
