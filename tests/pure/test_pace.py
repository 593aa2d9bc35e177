"""An instance against its own history: what is compared with what, and when it is over."""

from __future__ import annotations

from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbiter.inference import Usage
from arbiter.knowledge.speed import Timing
from arbiter.pool.pace import BACK, FLOOR_MS, SETTLED, Change, Pace, remembered
from arbiter.stats.slowness import LAG, MOST_KINDS, SHARE, UNSURE, WINDOW, Slowness, rank

SHORT = Usage(prompt_tokens=100)
LONG = Usage(prompt_tokens=8_000)


def first(ms: float) -> Timing:
    return Timing(first_ms=ms)


def known(*, ms: float = 400.0, usage: Usage = SHORT, crowd: float = 1.0, many: int = 80) -> Pace:
    pace = Pace()
    for _ in range(many):
        assert pace.add(first(ms), usage, crowd) is None
    return pace


def heard(pace: Pace, ms: float, times: int, usage: Usage = SHORT) -> list[Change]:
    found = (pace.add(first(ms), usage, 1.0) for _ in range(times))
    return [one for one in found if one is not None]


def test_what_takes_far_longer_to_begin_is_noticed_in_a_few_answers_and_said() -> None:
    pace = known()
    assert heard(pace, 2_000.0, 8) == [Change.SLOW]
    assert pace.why == "its answers begin 5.0 times as late as they did"


def test_what_writes_far_slower_is_noticed_too() -> None:
    pace = Pace()
    for _ in range(80):
        pace.add(Timing(tokens_per_s=50.0), SHORT, 1.0)
    found = [pace.add(Timing(tokens_per_s=10.0), SHORT, 1.0) for _ in range(8)]
    assert Change.SLOW in found
    assert pace.why == "it takes 5.0 times as long for a token as it did"


@pytest.mark.parametrize(
    ("usage", "crowd", "ms"),
    [
        (LONG, 1.0, 20_000.0),  # a long prompt takes longer
        (SHORT, 8.0, 3_000.0),  # so do many at once
        (SHORT, 1.0, 550.0),  # not half as long again
    ],
)
def test_what_has_a_reason_or_is_little_is_no_alarm(usage: Usage, crowd: float, ms: float) -> None:
    pace = known()
    assert [pace.add(first(ms), usage, crowd) for _ in range(100)] == [None] * 100


def test_a_prompt_that_was_read_before_is_a_short_one() -> None:
    pace = known(usage=Usage(prompt_tokens=8_000, cached_tokens=7_950))
    assert heard(pace, 2_000.0, 8, Usage(prompt_tokens=60, cached_tokens=0)) == [Change.SLOW]


def test_nobody_is_late_who_begins_at_once() -> None:
    pace = known(ms=10.0)
    assert heard(pace, FLOOR_MS, 100) == []


def test_before_there_is_enough_history_nothing_is_said() -> None:
    pace = known(many=30)
    assert heard(pace, 60_000.0, LAG) == []


def test_it_is_over_when_enough_answers_in_a_row_are_as_fast_as_before() -> None:
    pace = known()
    heard(pace, 2_000.0, 8)
    assert heard(pace, 400.0, BACK - 1) == []
    assert heard(pace, 2_000.0, 1) == []
    assert heard(pace, 400.0, BACK) == [Change.WELL]
    assert pace.why is None
    assert heard(pace, 2_000.0, 8) == [Change.SLOW]


def test_who_is_asked_again_and_is_still_slow_is_told_again_and_at_last_taken_as_it_is() -> None:
    pace = known()
    found = heard(pace, 2_000.0, 8 + SETTLED + 1)
    assert found[0] is Change.SLOW
    assert set(found[1:-1]) == {Change.SLOW}
    assert found[-1] is Change.SETTLED
    assert pace.why is None
    for _ in range(80):
        assert pace.add(first(2_000.0), SHORT, 1.0) is None
    assert heard(pace, 9_000.0, 8) == [Change.SLOW]


def test_only_the_measure_that_became_slow_says_that_it_is_over() -> None:
    pace = Pace()
    for _ in range(80):
        pace.add(Timing(first_ms=400.0, tokens_per_s=50.0), SHORT, 1.0)
    for _ in range(8):
        pace.add(Timing(first_ms=4_000.0, tokens_per_s=50.0), SHORT, 1.0)
    assert pace.why is not None
    for _ in range(3 * BACK):
        assert pace.add(Timing(tokens_per_s=50.0), SHORT, 1.0) is None
    assert heard(pace, 400.0, BACK) == [Change.WELL]


def test_elsewhere_or_loaded_otherwise_its_history_says_nothing() -> None:
    pace = Pace()
    pace.remember(first(400.0), SHORT, 1.0)
    pace.runs("here 4096 4 None")
    for _ in range(80):
        pace.add(first(400.0), SHORT, 1.0)
    pace.runs("here 4096 4 None")
    pace.runs("there 4096 4 None")
    assert heard(pace, 9_000.0, 100) == []


def test_rows_of_the_record_become_history() -> None:
    row = ("sha256:a", 2_000.0, 100.0, 500.0, 100, 50, 0, None, None, 2.0)
    ((version, one, usage, crowd),) = remembered([row])
    assert (version, one.first_ms, usage.prompt_tokens, crowd) == ("sha256:a", 400.0, 100, 2.0)


@given(st.integers(31, WINDOW))
def test_a_bound_is_an_order_statistic_that_seldom_lies_below_the_quantile(count: int) -> None:
    at = rank(count)
    assert at is not None
    above = [comb(count, n) * SHARE**n * (1 - SHARE) ** (count - n) for n in range(at, count + 1)]
    assert sum(above) <= UNSURE
    assert (
        sum(above) + comb(count, at - 1) * SHARE ** (at - 1) * (1 - SHARE) ** (count - at + 1)
        > UNSURE
    )


def test_of_too_many_kinds_the_one_seen_longest_ago_is_forgotten() -> None:
    slow = Slowness()
    for kind in range(MOST_KINDS + 1):
        for _ in range(40):
            slow.remember(kind, 1.0)
    slow.add(0, 99.0)
    assert slow.ratio is None
    slow.add(1, 99.0)
    assert slow.ratio == 99.0


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_a_rate_of_false_alarms_lies_between_0_and_1(alpha: float) -> None:
    with pytest.raises(ValueError, match="alpha"):
        Slowness(alpha=alpha)
