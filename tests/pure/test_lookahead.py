"""What more scores of an arm may bring: against integration, and the ways in which it may move."""

from __future__ import annotations

from math import exp, inf, nan, pi, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbiter.stats.lookahead import AHEAD, expected_excess, foresight

gaps = st.floats(0.0, 1.0)
deviations = st.floats(0.01, 0.5)
worths = st.floats(0.3, 500.0)
horizons = st.floats(2.0, 500.0)


def integrated(gap: float, deviation: float) -> float:
    """The mean of what a normal value has above the bar, added up in small steps."""
    step = 0.001
    return sum(
        max(0.0, deviation * z - gap) * exp(-z * z / 2.0) / sqrt(2.0 * pi) * step
        for z in (-8.0 + step * number for number in range(16_000))
    )


@pytest.mark.parametrize(("gap", "deviation"), [(0.0, 0.2), (0.1, 0.2), (0.3, 0.1), (0.2, 0.5)])
def test_the_expected_excess_is_what_integration_finds(gap: float, deviation: float) -> None:
    assert expected_excess(gap, deviation) == pytest.approx(integrated(gap, deviation), abs=1e-6)


def test_one_score_ahead_is_the_knowledge_gradient_of_a_normal_belief() -> None:
    # a mean with variance .04, scores with variance .16: the belief is worth four scores, and one
    # more moves the mean by a normal amount with variance .04 * .04 / (.04 + .16)
    moved = sqrt(0.04 * 0.04 / (0.04 + 0.16))
    assert foresight(0.1, 0.2, 4.0, 2.0) == pytest.approx(integrated(0.1, moved), abs=1e-6)


@given(gaps, deviations, worths, horizons)
def test_it_is_never_less_than_nothing_nor_more_than_every_pick_could_gain(
    gap: float, deviation: float, worth: float, horizon: float
) -> None:
    assert 0.0 <= foresight(gap, deviation, worth, horizon) <= horizon * 0.4 * deviation


@given(gaps, deviations, worths, horizons, st.floats(1.0, 5.0))
def test_more_evidence_never_makes_trying_worth_more(
    gap: float, deviation: float, worth: float, horizon: float, times: float
) -> None:
    before = foresight(gap, deviation, worth, horizon)
    after = foresight(gap, deviation / sqrt(times), times * worth, horizon)
    assert after <= before + 1e-12


@given(gaps, deviations, worths, horizons, st.floats(1.0, 5.0))
def test_whoever_is_further_behind_or_has_less_time_gains_less(
    gap: float, deviation: float, worth: float, horizon: float, times: float
) -> None:
    whole = foresight(gap, deviation, worth, horizon)
    assert foresight(times * gap, deviation, worth, horizon) <= whole + 1e-12
    assert foresight(gap, deviation, worth, horizon / times) <= whole + 1e-12


@given(gaps, deviations, worths, horizons, st.floats(0.1, 10.0))
def test_it_has_the_unit_of_what_it_is_told(
    gap: float, deviation: float, worth: float, horizon: float, unit: float
) -> None:
    found = foresight(unit * gap, unit * deviation, worth, horizon)
    assert found == pytest.approx(unit * foresight(gap, deviation, worth, horizon), abs=1e-7)


def test_nothing_is_gained_where_no_pick_is_left() -> None:
    assert foresight(0.0, 0.3, 1.0, float(AHEAD[0])) == 0.0


def test_several_scores_may_be_worth_it_where_the_first_alone_would_change_nothing() -> None:
    moved = 0.1 / sqrt(1.0 + 24.0)
    assert 39.0 * expected_excess(0.12, moved) < foresight(0.12, 0.1, 24.0, 40.0)


@pytest.mark.parametrize(("deviation", "worth"), [(0.0, 4.0), (0.2, inf), (0.0, inf)])
@pytest.mark.parametrize("gap", [0.0, 0.1, inf])
def test_nothing_is_gained_where_nothing_can_move(
    gap: float, deviation: float, worth: float
) -> None:
    assert foresight(gap, deviation, worth, 40.0) == 0.0


def test_a_belief_that_rests_on_nothing_is_moved_by_all_that_is_unsure_of_it() -> None:
    assert foresight(0.0, 0.2, 0.0, 2.0) == pytest.approx(expected_excess(0.0, 0.2))


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("wrong", [-0.1, nan])
def test_what_is_below_nothing_or_no_number_is_refused(place: int, wrong: float) -> None:
    told = [0.1, 0.2, 4.0, 40.0]
    told[place] = wrong
    with pytest.raises(ValueError, match="0 or more"):
        foresight(*told)
