from __future__ import annotations

from math import exp, inf, isfinite, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbiter.stats.bets import HARM, Grid, Side, bet_factor, non_inferiority, ripr_bet, strict
from arbiter.stats.means import BalancedMeans
from arbiter.stats.sequential import EProcess

scores = st.floats(0.0, 1.0)
chances = st.floats(0.01, 0.99)
unit_lists = st.lists(st.tuples(scores, st.booleans(), chances), max_size=40)


@given(unit_lists, st.sampled_from([HARM, strict(0.05), strict(0.1), non_inferiority(0.05)]))
def test_a_replay_is_equal_to_the_last_bit(
    units: list[tuple[float, bool, float]], grid: Grid
) -> None:
    one, other = EProcess(grid), EProcess(grid)
    for unit in units:
        one.update(*unit)
    for unit in units:
        other.update(*unit)
        assert isfinite(other.log_e)
    assert one.log_e.hex() == other.log_e.hex()


def test_an_e_process_is_the_weighted_mean_of_its_alternatives_products() -> None:
    grid = Grid(side=Side.WORSE, margin=0.0, ratios=(0.9, 0.5), weights=(0.6, 0.4))
    process = EProcess(grid, prior_mean=0.8, prior_weight=10.0)
    process.update(1.0, False, 0.3)
    process.update(0.0, True, 0.3)
    expected = 0.0
    for ratio, weight in zip(grid.ratios, grid.weights, strict=True):
        product = 1.0
        for score, is_new, theta in ((1.0, False, 0.8), (0.0, True, 9 / 11)):
            bet = ripr_bet(theta, ratio * theta, 0.3, 0.0)
            product *= bet_factor(score, is_new, 0.3, bet=bet, margin=0.0, side=Side.WORSE)
        expected += weight * product
    assert process.e == pytest.approx(expected, rel=1e-12)


@given(unit_lists, scores, scores)
def test_a_bet_never_depends_on_the_outcome_it_is_laid_on(
    units: list[tuple[float, bool, float]], low: float, high: float
) -> None:
    """What a new unit changes is linear in its score, so its bet was fixed before."""
    factors = []
    for score in (low, high, (low + high) / 2):
        process = EProcess(Grid(side=Side.WORSE, margin=0.05, ratios=(0.8,), weights=(1.0,)))
        for unit in units:
            process.update(*unit)
        before = process.log_e
        process.update(score, True, 0.4)
        factors.append(exp(process.log_e - before))
    assert factors[2] == pytest.approx((factors[0] + factors[1]) / 2, rel=1e-6)


@pytest.mark.parametrize(
    ("score", "pi"),
    [(-0.1, 0.5), (1.1, 0.5), (nan, 0.5), (inf, 0.5), (0.5, 0.0), (0.5, 1.0), (0.5, nan)],
)
def test_scores_and_chances_outside_their_interval_are_refused(score: float, pi: float) -> None:
    with pytest.raises(ValueError, match="lies in"):
        EProcess(HARM).update(score, True, pi)
    with pytest.raises(ValueError, match="lies in"):
        BalancedMeans().update(score, True, pi)
    with pytest.raises(ValueError, match="lies in"):
        bet_factor(score, True, pi, bet=(0.5, 0.1), margin=0.0, side=Side.WORSE)


def test_a_refused_unit_leaves_no_trace() -> None:
    process = EProcess(HARM)
    with pytest.raises(ValueError, match="lies in"):
        process.update(nan, False, 0.5)
    assert process.log_e == EProcess(HARM).log_e


@pytest.mark.parametrize(("mean", "weight"), [(0.0, 1.0), (1.0, 1.0), (0.5, 0.0), (0.5, inf)])
def test_a_prior_that_is_certain_or_empty_is_refused(mean: float, weight: float) -> None:
    with pytest.raises(ValueError, match="prior"):
        EProcess(HARM, prior_mean=mean, prior_weight=weight)
