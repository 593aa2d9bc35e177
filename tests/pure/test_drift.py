from __future__ import annotations

from math import exp, isfinite, log, nan
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbiter.stats.bets import HARM, Side, bet_factor, non_inferiority, ripr_bet, strict
from arbiter.stats.change import worse_step
from arbiter.stats.drift import HoldbackAlarm, ReferenceAlarm

scores = st.floats(0.0, 1.0)
unit_lists = st.lists(st.tuples(scores, st.booleans(), st.floats(0.02, 0.98)), max_size=40)


@given(unit_lists)
def test_an_alarm_is_the_weighted_mean_of_its_cusums(
    units: list[tuple[float, bool, float]],
) -> None:
    grid = strict(0.05)
    alarm = HoldbackAlarm(grid, prior_mean=0.8, prior_weight=10.0)
    cusums, n_old, sum_old = [1.0] * len(grid.ratios), 10.0, 8.0
    for number, (score, is_new, pi) in enumerate(units):
        old = sum_old / n_old
        for index, ratio in enumerate(grid.ratios):
            bet = ripr_bet(old, ratio * old, pi, 0.05)
            factor = bet_factor(score, is_new, pi, bet=bet, margin=0.05, side=Side.WORSE)
            cusums[index] = (max(1.0, cusums[index]) if number else 1.0) * factor
        if not is_new:
            n_old, sum_old = n_old + 1, sum_old + score
        alarm.update(score, is_new, pi)
    expected = sum(w * one for w, one in zip(grid.weights, cusums, strict=True))
    assert alarm.e == pytest.approx(expected, rel=1e-6)
    assert isfinite(alarm.log_e)


def test_good_times_are_forgotten_so_that_a_fall_is_found_as_soon_afterwards() -> None:
    def units_until_found(good: int) -> int:
        dice, alarm = Random(6), HoldbackAlarm(HARM, prior_mean=0.9, prior_weight=1000.0)
        for _ in range(good):
            alarm.update(1.0, dice.random() < 0.9, 0.9)
        dice = Random(7)
        for number in range(5000):
            is_new = dice.random() < 0.9
            alarm.update(float(dice.random() < (0.6 if is_new else 0.9)), is_new, 0.9)
            if alarm.e >= 1000:
                return number
        return 5000

    assert units_until_found(3000) <= 2 * units_until_found(0) < 5000


def test_harder_traffic_alarms_against_a_frozen_reference_and_not_against_the_old_version() -> None:
    dice, beside, before = Random(8), HoldbackAlarm(strict(0.05), prior_mean=0.9), False
    frozen = ReferenceAlarm(0.9, margin=0.02)
    for number in range(2000):
        score = float(dice.random() < 0.9 - 0.2 * min(1.0, number / 1000))
        beside.update(score, dice.random() < 0.95, 0.95)
        frozen.update(score)
        before = before or frozen.e >= 1000
        assert beside.e < 1000
    assert before


def test_a_frozen_reference_is_lowered_by_its_margin_and_bets_on_several_drops() -> None:
    alarm = ReferenceAlarm(0.9, margin=0.1)
    assert alarm.low == pytest.approx(0.81)
    for score in (0.0, 0.0, 1.0):
        alarm.update(score)
    cusums = []
    for drop in (0.3, 0.7, 1.5):
        log_m = 0.0
        for score in (0.0, 0.0, 1.0):
            log_m = worse_step(log_m, score, 0.81, drop=drop)
        cusums.append(exp(log_m))
    assert alarm.log_e == pytest.approx(log(sum(cusums) / 3))


@given(st.lists(scores, max_size=60), st.floats(0.01, 0.99))
def test_an_alarm_is_finite_whatever_happens(stream: list[float], reference: float) -> None:
    alarm = ReferenceAlarm(reference, margin=0.05)
    for score in stream:
        alarm.update(score)
        assert isfinite(alarm.log_e)
        assert alarm.e > 0.0


def test_an_alarm_that_could_not_keep_its_rate_is_refused() -> None:
    with pytest.raises(ValueError, match="worse"):
        HoldbackAlarm(non_inferiority(0.05), prior_mean=0.9)
    for mean, weight in ((0.0, 1.0), (1.0, 1.0), (0.5, 0.0), (nan, 1.0)):
        with pytest.raises(ValueError, match="prior"):
            HoldbackAlarm(HARM, prior_mean=mean, prior_weight=weight)
    for reference, margin in ((0.0, 0.0), (1.0, 0.0), (0.5, 1.0), (0.5, -0.1), (nan, 0.0)):
        with pytest.raises(ValueError, match="reference"):
            ReferenceAlarm(reference, margin=margin)


def test_what_is_no_score_is_refused_and_leaves_no_trace() -> None:
    beside, before = HoldbackAlarm(HARM, prior_mean=0.9), ReferenceAlarm(0.9, margin=0.0)
    with pytest.raises(ValueError, match="lies in"):
        beside.update(nan, True, 0.5)
    with pytest.raises(ValueError, match="lies in"):
        before.update(1.5)
    assert beside.log_e == pytest.approx(0.0)
    assert before.log_e == pytest.approx(0.0)
