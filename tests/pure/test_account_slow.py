"""A counter that changes seldom, is torn, wraps or rests: who gets what of it."""

from __future__ import annotations

import pytest

from arbiter.hardware.reading import About, Part, Reading, absent
from arbiter.metering.account import FINE, REST_KEPT_S, Account, Share, Slice


def account(*, update_s: float = 1.0, wraps_at: int | None = None) -> Account[str]:
    about = About(name="x", source="rapl", part=Part.CPU, update_s=update_s, wraps_at=wraps_at)
    one: Account[str] = Account(about)
    one.advance(Reading(value=0), used(), at=0.0)
    return one


def used(seconds: float = 1.0, total_s: float | None = None, **claims: float) -> Slice[str]:
    return Slice(seconds=seconds, claims=claims, in_flight=bool(claims), total_s=total_s)


def joules(one: Account[str], level_j: float, slice_: Slice[str], at: float) -> dict[str, float]:
    shares = one.advance(Reading(value=int(level_j * 1e6)), slice_, at=at)
    return {who: share.joules for who, share in shares.items() if share.joules is not None}


def test_half_of_what_was_used_just_before_a_change_has_part_in_the_next_one() -> None:
    one = account(update_s=1.0)
    assert joules(one, 5.0, used(a=1.0), 1.0) == {"a": 5.0}
    assert one.holds("a")
    assert joules(one, 11.0, used(b=1.0), 2.0) == {"a": 2.0, "b": 4.0}
    assert not one.holds("a")
    assert one.holds("b")
    # what comes at rest after it is the last one's, and only after that nobody's
    assert joules(one, 14.0, used(), 3.0) == {"b": 3.0}
    assert joules(one, 16.0, used(), 4.0) == {}
    assert one.sums.resting == 2.0


def test_who_goes_on_has_its_old_part_and_the_new_one() -> None:
    one = account(update_s=1.0)
    joules(one, 5.0, used(a=1.0, b=0.5), 1.0)
    # of a half a second and one more, of b a quarter; others used as much again
    assert joules(one, 5.0 + 4.5, used(a=1.0, total_s=1.5), 2.0) == {"a": 3.0, "b": 0.5}


@pytest.mark.parametrize(
    ("update_s", "seconds", "part"),
    [
        (FINE, 1.0, FINE / 2),
        (FINE * 0.99, 1.0, 0.0),
        (FINE * 2.0, 2.0, FINE / 2),
        (1.5, 2.0, 0.375),
        (4.0, 1.0, 1.0),
        (1.0, 0.0, 1.0),
    ],
)
def test_the_part_that_is_not_shown_yet_is_half_the_time_between_two_changes(
    update_s: float, seconds: float, part: float
) -> None:
    one = account(update_s=update_s)
    joules(one, 5.0, used(seconds=seconds, a=0.5), 1.0)
    found = joules(one, 6.0, used(b=0.5), 2.0)
    assert found.get("a", 0.0) == pytest.approx(part / (1.0 + part))


def test_a_gap_costs_also_those_whose_part_was_not_shown_yet() -> None:
    one = account(update_s=1.0)
    joules(one, 5.0, used(a=1.0), 1.0)
    torn = one.advance(absent("gone"), used(b=1.0), at=2.0)
    assert torn == dict.fromkeys("ab", Share(joules=None, idle_known=False, reason="gone"))
    assert (one.holds("a"), one.holds("b")) == (False, False)
    one.advance(absent("gone"), used(), at=3.0)
    told = [one.trouble]
    one.advance(Reading(value=9_000_000), used(), at=4.0)
    assert [*told, one.trouble] == ["gone", None]
    assert one.sums.gaps == 2


def test_the_first_reading_is_no_gap() -> None:
    assert account().sums.gaps == 0


def test_whoever_is_in_flight_at_the_first_reading_is_told_why_nothing_is_known() -> None:
    one: Account[str] = Account(About(name="x", source="rapl", part=Part.CPU, update_s=1.0))
    assert one.trouble is None
    (share,) = one.advance(Reading(value=0), used(a=1.0), at=0.0).values()
    assert (share.joules, share.reason) == (None, "nothing to compare with yet")


def test_a_counter_that_wraps_goes_on() -> None:
    one = account(wraps_at=100_000_000, update_s=0.001)
    joules(one, 90.0, used(), 1.0)
    assert joules(one, 5.0, used(a=1.0), 100.0) == {"a": 15.0 - 15.0}  # it is all idle power
    assert one.sums.grown == 105.0
    assert one.sums.idle == 15.0


def test_the_power_at_rest_is_a_mean_over_the_latest_minute() -> None:
    one = account(update_s=0.001)
    assert one.idle_w is None
    joules(one, 100.0, used(), 10.0)
    joules(one, 500.0, used(), 30.0)
    assert one.idle_w == pytest.approx(500.0 / 30.0)
    joules(one, 600.0, used(), REST_KEPT_S)
    assert one.idle_w == pytest.approx(10.0)
    joules(one, 600.0 + 1200.0, used(), 2 * REST_KEPT_S)
    assert one.idle_w == pytest.approx(15.0)
    joules(one, 1800.0 + 1500.0, used(), 3 * REST_KEPT_S)
    assert one.idle_w == pytest.approx(20.0)


def test_idle_power_is_taken_off_for_as_long_as_the_counter_did_not_change() -> None:
    one = account(update_s=0.001)
    joules(one, 10.0, used(), 1.0)
    assert joules(one, 10.0, used(a=1.0), 2.0) == {}
    assert joules(one, 50.0, used(a=1.0), 3.0) == {"a": 40.0 - 2 * 10.0}


def test_one_in_flight_that_used_nothing_is_given_nothing_and_it_is_no_rest() -> None:
    one = account(update_s=0.001)
    waiting: Slice[str] = Slice(seconds=1.0, claims={"a": 0.0}, in_flight=True)
    assert joules(one, 6.0, waiting, 1.0) == {"a": 0.0}
    assert (one.sums.unattributed, one.sums.resting, one.idle_w) == (6.0, 0.0, None)
    joules(one, 7.0, used(), 2.0)
    assert one.idle_w == 1.0


def test_shares_that_come_too_late_add_up() -> None:
    one = account(update_s=0.001)
    joules(one, 6.0, used(a=1.0), 1.0)
    one.disown(2.0)
    one.disown(1.0)
    assert (one.sums.attributed, one.sums.unattributed) == (3.0, 3.0)
