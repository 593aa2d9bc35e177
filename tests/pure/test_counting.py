"""How long ago a counter changed, and the edges of what is believed of it."""

from __future__ import annotations

import pytest

from arbiter.hardware.reading import Reading, absent
from arbiter.metering.counting import (
    FIRST,
    MOST_W,
    MOST_W_OVER_A_WRAP,
    RESET,
    SPIKE,
    Cumulative,
    Growth,
)

WRAPS = 10**10


def after(first: int, then: int, *, at: float, wraps_at: int | None = WRAPS) -> Growth:
    """The growth of a counter that was seen first after one second, and then at this one."""
    counter = Cumulative(wraps_at=wraps_at)
    counter.advance(Reading(value=first), at=1.0)
    return counter.advance(Reading(value=then), at=at)


def test_growth_is_over_the_time_since_it_changed_and_not_since_it_was_read() -> None:
    counter = Cumulative()
    told = [
        counter.advance(Reading(value=value), at=at)
        for at, value in ((5.0, 10), (6.0, 10), (8.0, 30), (9.0, 31))
    ]
    assert told == [
        Growth(microjoules=None, reason=FIRST),
        Growth(microjoules=0, since_s=1.0),
        Growth(microjoules=20, since_s=3.0),
        Growth(microjoules=1, since_s=1.0),
    ]


def test_a_reading_that_is_not_there_says_why() -> None:
    assert Cumulative().advance(absent("no driver"), at=1.0) == Growth(
        microjoules=None, reason="no driver"
    )


def test_the_most_that_a_device_can_take_is_believed_and_more_is_not() -> None:
    most = int(MOST_W * 1e6 * 2.0)
    assert after(0, most, at=3.0) == Growth(microjoules=most, since_s=2.0)
    assert after(0, most + 1, at=3.0) == Growth(microjoules=None, since_s=2.0, reason=SPIKE)


def test_two_readings_at_the_same_moment_may_differ_by_what_a_millisecond_brings() -> None:
    most = int(MOST_W * 1e6 * 0.001)
    assert after(0, most, at=1.0).microjoules == most
    assert after(0, most + 1, at=1.0).reason == SPIKE


def test_a_wrap_is_believed_from_the_upper_half_only() -> None:
    half = WRAPS // 2
    assert after(half + 1, 0, at=100.0) == Growth(microjoules=half - 1, since_s=99.0)
    for first in (half, half - 1, WRAPS * 2 // 5):
        assert after(first, 0, at=100.0).reason == RESET


def test_a_wrap_is_believed_from_where_it_happens_and_not_from_beyond() -> None:
    assert after(WRAPS, 5, at=100.0).microjoules == 5
    assert after(WRAPS + 1, 5, at=100.0).reason == RESET


def test_a_wrap_is_believed_as_far_as_it_is_plausible() -> None:
    most = int(MOST_W_OVER_A_WRAP * 1e6 * 2.0)
    assert after(WRAPS - 5, most - 5, at=3.0) == Growth(microjoules=most, since_s=2.0)
    assert after(WRAPS - 5, most - 4, at=3.0) == Growth(microjoules=None, since_s=2.0, reason=RESET)


@pytest.mark.parametrize("wraps_at", [None, WRAPS])
def test_a_fall_by_the_least_is_a_fall(wraps_at: int | None) -> None:
    assert after(1_000, 999, at=3.0, wraps_at=wraps_at) == Growth(
        microjoules=None, since_s=2.0, reason=RESET
    )
    assert after(1_000, 1_001, at=3.0, wraps_at=wraps_at).microjoules == 1
