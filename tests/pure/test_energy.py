"""Counters of energy: what they grew by, and that all of it is shared out and nothing twice."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbiter.cost import JOULES_IN_A_MWH
from arbiter.hardware.reading import About, Part, Reading, absent
from arbiter.metering.account import Account, Slice
from arbiter.metering.counting import FIRST, RESET, SPIKE, Cumulative
from arbiter.metering.estimate import Watts

RANGE = 262_143_328_850
REST: Slice[str] = Slice(seconds=1.0, claims={}, in_flight=False)


def account(*, update_s: float = 0.001) -> Account[str]:
    return Account(About(name="x", source="rapl", part=Part.CPU, update_s=update_s))


def busy(*, total_s: float | None = None, **claims: float) -> Slice[str]:
    return Slice(seconds=1.0, claims=claims, in_flight=True, total_s=total_s)


def grown(*readings: tuple[float, int | None], wraps_at: int | None = RANGE) -> list[int | None]:
    counter = Cumulative(wraps_at=wraps_at)
    return [
        counter.advance(absent("no") if value is None else Reading(value=value), at=at).microjoules
        for at, value in readings
    ]


# -- counting


def test_a_counter_counts_from_its_second_reading() -> None:
    assert grown((0, 5), (1, 5), (2, 9)) == [None, 0, 4]


@pytest.mark.parametrize("wraps", [1, 2])
def test_a_counter_that_wraps_goes_on(wraps: int) -> None:
    readings, level = [(0.0, RANGE - 100)], RANGE - 100
    for number in range(1, 3 * wraps):
        level = (level + RANGE // 2 - 1_000) % RANGE
        readings.append((1_000.0 * number, level))
    found = grown(*readings)[1:]
    assert found == [RANGE // 2 - 1_000] * len(found)


def test_a_counter_that_was_reset_leaves_a_gap_and_no_negative_energy() -> None:
    counter = Cumulative(wraps_at=RANGE)
    counter.advance(Reading(value=1_000_000), at=0.0)
    assert counter.advance(Reading(value=10), at=1.0).reason == RESET
    assert counter.advance(Reading(value=30), at=2.0).microjoules == 20


def test_a_fall_from_the_upper_half_is_a_reset_when_a_wrap_would_be_a_spike() -> None:
    assert grown((0.0, RANGE - RANGE // 4), (0.1, 5)) == [None, None]


def test_without_a_range_no_fall_is_a_wrap() -> None:
    assert grown((0.0, 100), (1.0, 5), wraps_at=None) == [None, None]


def test_a_counter_that_seems_to_leap_leaves_a_gap() -> None:
    counter = Cumulative()
    counter.advance(Reading(value=0), at=0.0)
    assert counter.advance(Reading(value=10**12), at=0.1).reason == SPIKE


def test_a_reading_that_fails_is_a_gap_and_the_next_begins_anew() -> None:
    assert grown((0, 5), (1, None), (2, 9), (3, 10)) == [None, None, None, 1]
    assert FIRST


# -- sharing out


@settings(deadline=None)  # a busy machine is no bug
@given(
    steps=st.lists(
        st.tuples(
            st.integers(0, 500_000_000),
            st.dictionaries(st.sampled_from("abcd"), st.floats(0, 2), max_size=4),
            st.one_of(st.none(), st.floats(0, 10)),
        ),
        min_size=1,
        max_size=40,
    )
)
def test_what_a_counter_grew_by_is_all_shared_out(
    steps: list[tuple[int, dict[str, float], float | None]],
) -> None:
    one, level = account(), 0
    one.advance(Reading(value=0), REST, at=0.0)
    given_out = 0.0
    for number, (growth, claims, total) in enumerate(steps, start=1):
        level += growth
        slice_ = Slice(seconds=1.0, claims=claims, in_flight=bool(claims), total_s=total)
        shares = one.advance(Reading(value=level), slice_, at=float(number)).values()
        assert all(share.joules is not None and share.joules >= 0 for share in shares)
        given_out += sum(share.joules or 0.0 for share in shares)
    sums = one.sums
    parts = sums.attributed + sums.idle + sums.resting + sums.unattributed
    assert math.isclose(sums.grown, level / 1e6, rel_tol=1e-9, abs_tol=1e-6)
    assert math.isclose(parts, sums.grown, rel_tol=1e-9, abs_tol=1e-6)
    assert math.isclose(given_out, sums.attributed, rel_tol=1e-9, abs_tol=1e-6)


def test_idle_power_is_taken_off_and_kept_apart() -> None:
    one = account()
    one.advance(Reading(value=0), REST, at=0.0)
    one.advance(Reading(value=20_000_000), REST, at=1.0)
    assert one.idle_w == 20.0
    share = one.advance(Reading(value=50_000_000), busy(a=1.0), at=2.0)["a"]
    assert (share.joules, share.idle_known) == (10.0, True)
    assert (one.sums.idle, one.sums.resting) == (20.0, 20.0)


def test_before_the_idle_power_is_known_the_share_says_so() -> None:
    one = account()
    one.advance(Reading(value=0), REST, at=0.0)
    share = one.advance(Reading(value=5_000_000), busy(a=1.0), at=1.0)["a"]
    assert (share.joules, share.idle_known) == (5.0, False)


def test_what_others_used_falls_to_nobody_here() -> None:
    one = account()
    one.advance(Reading(value=0), REST, at=0.0)
    shares = one.advance(Reading(value=8_000_000), busy(a=1.0, total_s=4.0), at=1.0)
    assert shares["a"].joules == 2.0
    assert one.sums.unattributed == 6.0


def test_a_share_is_given_when_the_counter_has_changed_and_not_before() -> None:
    one = account(update_s=0.1)
    one.advance(Reading(value=0), REST, at=0.0)
    assert one.advance(Reading(value=0), busy(a=0.5), at=1.0) == {}
    assert one.holds("a")
    shares = one.advance(Reading(value=3_000_000), busy(a=0.5, b=0.5), at=2.0)
    assert (shares["a"].joules, shares["b"].joules) == (2.0, 1.0)
    assert not one.holds("a")


def test_a_gap_costs_those_in_flight_their_figure_and_says_why() -> None:
    one = account()
    one.advance(Reading(value=9), REST, at=0.0)
    share = one.advance(absent("gone"), busy(a=1.0), at=1.0)["a"]
    assert (share.joules, share.reason) == (None, "gone")
    assert one.sums.gaps == 1


def test_a_share_that_comes_too_late_is_nobodys() -> None:
    one = account()
    one.advance(Reading(value=0), REST, at=0.0)
    late = one.advance(Reading(value=4_000_000), busy(a=1.0), at=1.0)["a"].joules or 0.0
    one.disown(late)
    assert (one.sums.attributed, one.sums.unattributed) == (0.0, 4.0)


# -- units and estimates


@given(joules=st.floats(0, 1e12))
def test_joules_become_milliwatt_hours_and_joules_again(joules: float) -> None:
    there = joules / JOULES_IN_A_MWH
    assert math.isfinite(there)
    assert math.isclose(there * JOULES_IN_A_MWH, joules, rel_tol=1e-12, abs_tol=1e-300)


def test_an_estimate_is_a_straight_line_through_what_a_person_said() -> None:
    watts = Watts(idle=10.0, full=74.0, threads=16)
    assert watts.joules(0.0) == 0.0
    assert watts.joules(32.0) == 128.0
    assert "as the settings say" in watts.words


@pytest.mark.parametrize(("idle", "full", "threads"), [(-1, 5, 1), (5, 4, 1), (1, 2, 0)])
def test_watts_that_cannot_be_are_refused(idle: float, full: float, threads: int) -> None:
    with pytest.raises(ValueError, match="full"):
        Watts(idle=idle, full=full, threads=threads)
