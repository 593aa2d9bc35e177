"""A counter is shared out among those in flight, and nothing is lost or counted twice."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbiter.cost import Method
from arbiter.metering.sharing import NEVER_BEGUN, UNREADABLE, WENT_BACK, EqualShare

STEPS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 10**12)), min_size=1, max_size=60)
"""Each step: one of six requests begins or, if it is in flight, ends; the counter has grown."""


@settings(deadline=None)  # a busy machine is no bug
@given(steps=STEPS, first=st.integers(0, 10**15))
def test_shares_and_idle_time_add_up_to_the_counters_growth(
    steps: list[tuple[int, int]], first: int
) -> None:
    meter = EqualShare()
    meter.begin("first", first)
    shares = [meter.end("first", first).value or 0.0]
    counter = first
    inside: set[int] = set()
    for who, growth in steps:
        counter += growth
        if who in inside:
            inside.remove(who)
            shares.append(meter.end(who, counter).value or 0.0)
        else:
            inside.add(who)
            meter.begin(who, counter)
    for who in sorted(inside):
        counter += 7
        shares.append(meter.end(who, counter).value or 0.0)
    assert math.isclose(sum(shares) + meter.idle, counter - first, rel_tol=1e-9, abs_tol=1e-6)
    assert meter.in_flight == 0


@settings(deadline=None)  # a busy machine is no bug
@given(steps=STEPS)
def test_no_share_is_ever_negative(steps: list[tuple[int, int]]) -> None:
    meter = EqualShare()
    counter, inside = 0, set[int]()
    for who, growth in steps:
        counter += growth
        if who in inside:
            inside.remove(who)
            value = meter.end(who, counter).value
            assert value is not None
            assert value >= 0
        else:
            inside.add(who)
            meter.begin(who, counter)


def test_a_request_that_was_alone_is_measured() -> None:
    meter = EqualShare()
    meter.begin("a", 10)
    figure = meter.end("a", 25)
    assert (figure.value, figure.method) == (15.0, Method.MEASURED)


def test_a_request_that_met_another_is_shared_even_if_it_ends_alone() -> None:
    meter = EqualShare()
    meter.begin("a", 0)
    meter.begin("b", 10)
    first, second = meter.end("b", 20), meter.end("a", 30)
    assert (first.value, first.method) == (5.0, Method.SHARED)
    assert (second.value, second.method) == (25.0, Method.SHARED)


def test_what_grows_between_requests_is_idle() -> None:
    meter = EqualShare()
    meter.begin("a", 0)
    meter.end("a", 5)
    meter.begin("b", 105)
    assert meter.idle == 100
    assert meter.end("b", 106).value == 1.0


def test_a_counter_that_went_back_leaves_the_share_unknown() -> None:
    meter = EqualShare()
    meter.begin("a", 100)
    figure = meter.end("a", 3)
    assert (figure.value, figure.note) == (None, WENT_BACK)


@pytest.mark.parametrize(("start", "end"), [(None, 5), (5, None), (None, None)])
def test_a_counter_that_cannot_be_read_leaves_the_share_unknown(
    start: int | None, end: int | None
) -> None:
    meter = EqualShare()
    meter.begin("a", start)
    figure = meter.end("a", end)
    assert (figure.value, figure.method, figure.note) == (None, Method.UNKNOWN, UNREADABLE)


def test_after_a_gap_the_next_request_is_measured_again() -> None:
    meter = EqualShare()
    meter.begin("a", 100)
    meter.end("a", None)
    meter.begin("b", 200)
    assert meter.end("b", 210).value == 10.0


def test_a_gap_costs_only_those_who_were_in_flight() -> None:
    meter = EqualShare()
    meter.begin("a", 0)
    meter.begin("b", None)
    meter.begin("c", 50)
    assert meter.end("c", 60).value is not None
    assert meter.end("a", 70).value is None
    assert meter.end("b", 80).value is None


def test_the_end_of_something_never_begun_is_unknown() -> None:
    assert EqualShare().end("ghost", 5).note == NEVER_BEGUN


def test_one_token_cannot_begin_twice() -> None:
    meter = EqualShare()
    meter.begin("a", 0)
    with pytest.raises(ValueError, match="in flight already"):
        meter.begin("a", 1)
