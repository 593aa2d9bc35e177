"""A measure against its own history: how much is remembered, from when on, and what is far off."""

from __future__ import annotations

import pytest

from arbiter.stats.change import worse_step
from arbiter.stats.slowness import ALPHA, FACTOR, LAG, SHARE, WINDOW, Slowness


def remembering(*times: float) -> Slowness:
    slow = Slowness()
    for time in times:
        slow.remember("k", time)
    return slow


def test_the_latest_times_wait_a_while_before_they_are_history() -> None:
    slow = Slowness()
    for _ in range(31 + LAG):
        slow.add("k", 1.0)
    assert slow.ratio is None
    slow.add("k", 1.0)
    assert slow.ratio == 1.0


def test_far_off_is_half_as_long_again_as_the_bound_on_what_was() -> None:
    # of 31 times the longest bounds the quantile
    slow = remembering(*map(float, range(1, 32)))
    slow.add("k", 31.0 * FACTOR)
    assert slow.in_a_row == 1
    slow.add("k", 31.0 * FACTOR + 0.01)
    assert slow.in_a_row == 0
    slow.add("k", 1.0)
    slow.add("k", 1.0)
    assert slow.in_a_row == 2


def test_one_time_far_out_among_two_hundred_does_not_move_the_bound() -> None:
    slow = remembering(*[1.0] * 199, 50.0)
    slow.add("k", FACTOR)
    assert slow.in_a_row == 1
    slow.add("k", FACTOR + 0.01)
    assert slow.in_a_row == 0


def test_what_was_long_ago_is_no_history_any_more() -> None:
    slow = remembering(*[1.0] * WINDOW, *[3.0] * WINDOW)
    slow.add("k", 3.0)
    assert slow.ratio == 1.0
    slow = remembering(*[9.0] * WINDOW, *[1.0] * WINDOW)
    slow.add("k", 9.0)
    assert (slow.in_a_row, slow.ratio) == (0, 9.0)


def test_a_bound_follows_its_history_every_ten_times() -> None:
    slow = remembering(*[1.0] * 31, *[9.0] * 9)
    slow.add("k", 9.0)
    assert slow.in_a_row == 0
    slow.remember("k", 9.0)
    slow.add("k", 9.0)
    assert slow.in_a_row == 1


@pytest.mark.parametrize("alpha", [ALPHA, 0.01])
def test_it_alarms_as_soon_as_the_evidence_is_worth_its_rate(alpha: float) -> None:
    slow, log_m, needed = Slowness(alpha=alpha), 0.0, 0
    for _ in range(60):
        slow.remember("k", 1.0)
    while log_m < slow.alarm:
        log_m = worse_step(log_m, 0.0, SHARE, drop=2.5)
        needed += 1
    for number in range(1, needed + 1):
        slow.add("k", 9.0)
        assert slow.is_alarm == (number == needed)
    assert slow.log_m == log_m


def test_what_is_not_to_be_learned_never_is() -> None:
    slow = Slowness()
    for _ in range(100):
        slow.add("k", 1.0, learns=False)
    assert slow.ratio is None


def test_what_led_to_an_alarm_is_not_learned_even_when_one_looks_again() -> None:
    slow = remembering(*[1.0] * 60)
    for _ in range(3):
        for _ in range(8):
            slow.add("k", 9.0)
        assert slow.is_alarm
        slow.begin_again()
        assert (slow.log_m, slow.in_a_row, slow.is_alarm) == (0.0, 0, False)


def test_the_ratio_is_the_middle_of_the_latest_seven() -> None:
    slow = remembering(*[2.0] * 60)
    for time in (99.0, 2.0, 2.0, 2.0, 4.0, 4.0, 4.0, 4.0):
        slow.add("k", time)
    assert slow.ratio == 2.0
    slow.forget()
    assert slow.ratio is None
