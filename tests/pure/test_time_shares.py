"""Time that is shared by those in flight, beside a counter or without one."""

from __future__ import annotations

import pytest

from arbiter.cost import Method
from arbiter.metering.sharing import UNREADABLE, WENT_BACK, EqualShare


def test_time_is_shared_by_heads_like_the_counter() -> None:
    meter = EqualShare()
    meter.begin("a", 100, at=1.0)
    meter.begin("b", 140, at=3.0)
    assert meter.part("a", 200, at=7.0).seconds == 2.0 + 4.0 / 2
    assert meter.in_flight == 1
    found = meter.part("b", 210, at=8.0)
    assert (found.seconds, found.share.value) == (4.0 / 2 + 1.0, 30.0 + 10.0)


def test_time_without_anybody_in_flight_is_nobodys() -> None:
    meter = EqualShare()
    meter.begin("a", 0, at=1.0)
    meter.part("a", 5, at=2.0)
    meter.begin("b", 9, at=50.0)
    assert meter.part("b", 9, at=51.0).seconds == 1.0


def test_a_clock_that_goes_back_shares_nothing_twice() -> None:
    meter = EqualShare()
    meter.begin("a", 0, at=10.0)
    meter.touch(0, at=4.0)
    assert meter.so_far("a") == (0.0, 0.0)
    assert meter.part("a", 0, at=12.0).seconds == 2.0


def test_time_is_known_where_the_counter_is_not() -> None:
    meter = EqualShare()
    meter.begin("a", None, at=1.0)
    found = meter.part("a", None, at=3.0)
    assert (found.seconds, found.share.value, found.share.note) == (2.0, None, UNREADABLE)


def test_one_looks_at_a_share_before_it_is_over() -> None:
    meter = EqualShare()
    meter.begin("a", 100, at=0.0)
    meter.begin("b", 100, at=0.0)
    meter.touch(150, at=3.0)
    assert meter.so_far("a") == meter.so_far("b") == (25.0, 1.5)
    meter.touch(120, at=5.0)  # it went back: nothing is known of it any more, but of the time
    assert meter.so_far("a") == (None, 2.5)
    assert meter.part("a", 130, at=5.0).share.note == WENT_BACK


def test_what_was_never_begun_has_no_time() -> None:
    assert EqualShare().part("a", 5, at=9.0).seconds == 0.0


def test_whoever_begins_without_a_reading_is_unknown_even_if_readings_come_back() -> None:
    meter = EqualShare()
    meter.begin("a", None, at=0.0)
    meter.touch(100, at=1.0)
    meter.begin("b", 110, at=2.0)
    assert meter.part("a", 130, at=3.0).share.value is None
    shared = meter.part("b", 150, at=4.0).share
    assert (shared.value, shared.method) == (10.0 + 20.0, Method.SHARED)


def test_one_that_is_told_twice_is_refused_and_nothing_is_counted() -> None:
    meter = EqualShare()
    meter.begin("a", 0)
    with pytest.raises(ValueError, match="'a' is in flight already"):
        meter.begin("a", 7)
    share = meter.end("a", 8)
    assert (share.value, share.method) == (8.0, Method.MEASURED)
