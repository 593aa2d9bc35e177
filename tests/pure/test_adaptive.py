from __future__ import annotations

from math import exp, isfinite, nan
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbiter.stats.adaptive import AGrapaE, Moments, adaptive_bet
from arbiter.stats.bets import HARM, Side
from arbiter.stats.sequential import EProcess

scores = st.floats(0.0, 1.0)
chances = st.floats(0.01, 0.99)
margins = st.sampled_from([0.0, 0.05, 0.3])
shifts = st.floats(-0.99, 0.99)
unit_lists = st.lists(st.tuples(scores, st.booleans(), chances), max_size=40)


def told(units: list[tuple[float, bool, float]]) -> Moments:
    moments = Moments()
    for score, is_new, _ in units:
        moments.update(score, is_new=is_new)
    return moments


@given(unit_lists, chances, st.floats(0.01, 2.0), shifts)
def test_no_outcome_loses_more_than_half(
    units: list[tuple[float, bool, float]], pi: float, c: float, shift: float
) -> None:
    moments = told(units)
    f, g, k = adaptive_bet(moments.old, moments.new, pi, c=c, shift=shift)
    for score in (0.0, 0.3, 1.0):
        assert 1.0 + k * c * (score - f) / (1.0 - pi) >= 0.5 - 1e-9
        assert 1.0 + k * (g - score) / pi >= 0.5 - 1e-9


@given(unit_lists, chances, st.floats(0.01, 2.0), scores)
def test_a_factor_is_worth_one_where_the_null_is_just_true(
    units: list[tuple[float, bool, float]], pi: float, c: float, mu_old: float
) -> None:
    moments = told(units)
    shift = 0.1
    f, g, k = adaptive_bet(moments.old, moments.new, pi, c=c, shift=shift)
    mu_new = c * mu_old + shift  # expectations are linear, so means stand for all outcomes
    old, new = 1.0 + k * c * (mu_old - f) / (1.0 - pi), 1.0 + k * (g - mu_new) / pi
    assert (1.0 - pi) * old + pi * new == pytest.approx(1.0, abs=1e-9)


def test_the_stake_is_the_gap_over_the_mean_square_of_what_is_staked_on() -> None:
    """Two arms of mean .6 and .5 with a deviation of .1, at even odds, by hand."""
    f, g, k = adaptive_bet((0.6, 0.37), (0.5, 0.26), 0.5, c=1.0)
    assert (f, g) == pytest.approx((0.55, 0.55))
    mean_square = 2 * (0.01 + 0.05**2) + 2 * (0.01 + 0.05**2)
    assert 0.1 / mean_square > 0.5 / (2 * 0.55) == pytest.approx(k)
    _, _, k = adaptive_bet((0.51, 0.2701), (0.5, 0.26), 0.5, c=1.0)
    assert k == pytest.approx(0.01 / (4 * (0.01 + 0.005**2)), rel=1e-6)


@given(unit_lists, margins, st.sampled_from(Side))
def test_a_replay_is_equal_to_the_last_bit(
    units: list[tuple[float, bool, float]], margin: float, side: Side
) -> None:
    one, other = AGrapaE(side=side, margin=margin), AGrapaE(side=side, margin=margin)
    for unit in units:
        one.update(*unit)
        other.update(*unit)
        assert isfinite(one.log_e)
        assert one.e > 0.0
    assert one.log_e.hex() == other.log_e.hex()


@given(unit_lists, scores, scores, st.sampled_from(Side))
def test_a_bet_never_depends_on_the_outcome_it_is_laid_on(
    units: list[tuple[float, bool, float]], low: float, high: float, side: Side
) -> None:
    """What a new unit changes is linear in its score, so its bet was fixed before."""
    factors = []
    for score in (low, high, (low + high) / 2):
        process = AGrapaE(side=side, margin=0.05)
        for unit in units:
            process.update(*unit)
        before = process.log_e
        process.update(score, True, 0.4)
        factors.append(exp(process.log_e - before))
    assert factors[2] == pytest.approx((factors[0] + factors[1]) / 2, rel=1e-6)


def test_nothing_is_staked_on_the_side_that_nothing_speaks_for() -> None:
    better = AGrapaE(side=Side.WORSE, margin=0.0)
    for _ in range(50):
        better.update(0.5, False, 0.5)
        better.update(0.9, True, 0.5)
    assert better.e == 1.0


def test_graded_scores_prove_more_than_bets_made_for_right_and_wrong() -> None:
    dice, adaptive, closed = Random(7), AGrapaE(side=Side.WORSE, margin=0.0), EProcess(HARM)
    for _ in range(400):
        is_new = dice.random() < 0.5
        score = dice.betavariate(8 * 0.67, 8 * 0.33) if is_new else dice.betavariate(6, 2)
        adaptive.update(score, is_new, 0.5)
        closed.update(score, is_new, 0.5)
    assert adaptive.log_e > 1.3 * closed.log_e > 1.0


def test_what_cannot_be_a_unit_or_a_margin_is_refused() -> None:
    process = AGrapaE(side=Side.WORSE, margin=0.0)
    for score, pi in ((-0.1, 0.5), (1.1, 0.5), (nan, 0.5), (0.5, 0.0), (0.5, 1.0)):
        with pytest.raises(ValueError, match="lies in"):
            process.update(score, True, pi)
    assert process.log_e == 0.0
    with pytest.raises(ValueError, match="margin"):
        AGrapaE(side=Side.WORSE, margin=1.0)
