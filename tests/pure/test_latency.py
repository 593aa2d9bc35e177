from __future__ import annotations

from math import exp, inf, nan
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbiter.stats.bets import Side
from arbiter.stats.latency import LatencyE, speed


def latency(dice: Random, slower: float = 1.0) -> float:
    """Around a second, and one in thirty from a tail that has no variance."""
    if dice.random() < 0.03:
        return slower * 2.0 * dice.paretovariate(1.3)
    return slower * exp(dice.gauss(0.0, 0.5))


def watched(side: Side, slower: float, *, tolerance: float = 0.0, units: int = 800) -> float:
    dice, process = Random(1), LatencyE(side=side, median_s=1.0, p90_s=2.0, tolerance=tolerance)
    for _ in range(units):
        is_new = dice.random() < 0.5
        process.update(latency(dice, slower if is_new else 1.0), is_new, 0.5)
    return process.e


@given(st.floats(0.0, 1e9), st.floats(0.0, 1e9), st.floats(1e-6, 1e6))
def test_slower_is_never_a_better_score(one: float, other: float, median_s: float) -> None:
    quick, slow = speed(min(one, other), median_s), speed(max(one, other), median_s)
    assert 0.0 <= slow <= quick <= 1.0


@pytest.mark.parametrize(
    ("latency_s", "score"), [(0.0, 1.0), (1.0, 0.5), (exp(1.5), 0.25), (1e9, 0.0), (inf, 0.0)]
)
def test_a_speed_is_the_clipped_logarithm_on_a_scale_of_one(latency_s: float, score: float) -> None:
    assert speed(latency_s, 1.0) == pytest.approx(score, abs=1e-12)


def test_half_as_slow_again_is_proved_slower_and_as_quick_is_not() -> None:
    assert watched(Side.WORSE, 1.5) > 20
    assert watched(Side.WORSE, 1.0) < 5


def test_what_is_within_the_tolerance_is_not_slower() -> None:
    assert watched(Side.WORSE, 1.5, tolerance=0.5) < 5
    assert watched(Side.NOT_WORSE, 1.0, tolerance=0.5) > 20


def test_as_slow_as_the_tolerance_is_not_proved_to_be_quick_enough() -> None:
    assert watched(Side.NOT_WORSE, 1.2, tolerance=0.2) < 5


def test_running_out_of_time_counts_as_slower_than_anything() -> None:
    process = LatencyE(side=Side.WORSE, median_s=1.0, p90_s=2.0)
    for number in range(400):
        process.update(1.0, False, 0.5)
        process.update(inf if number % 5 == 0 else 1.0, True, 0.5)
    assert process.e > 20


def test_one_answer_that_took_a_day_proves_nothing() -> None:
    dice, process = Random(2), LatencyE(side=Side.WORSE, median_s=1.0, p90_s=2.0)
    for number in range(300):
        is_new = dice.random() < 0.5
        process.update(86_400.0 if number == 150 else latency(dice), is_new or number == 150, 0.5)
    assert process.e < 5


@pytest.mark.parametrize(
    ("median_s", "p90_s", "tolerance"),
    [(0.0, 1.0, 0.0), (2.0, 1.0, 0.0), (1.0, inf, 0.0), (1.0, 2.0, -0.1), (nan, 2.0, 0.0)],
)
def test_quantiles_and_tolerances_that_are_none_are_refused(
    median_s: float, p90_s: float, tolerance: float
) -> None:
    with pytest.raises(ValueError, match=r"median|tolerance"):
        LatencyE(side=Side.WORSE, median_s=median_s, p90_s=p90_s, tolerance=tolerance)


@pytest.mark.parametrize("latency_s", [-1.0, nan])
def test_a_latency_that_is_none_is_refused_and_leaves_no_trace(latency_s: float) -> None:
    process = LatencyE(side=Side.WORSE, median_s=1.0, p90_s=2.0)
    with pytest.raises(ValueError, match="latency"):
        process.update(latency_s, True, 0.5)
    with pytest.raises(ValueError, match="probability"):
        process.update(1.0, True, 0.0)
    assert process.log_e == pytest.approx(0.0)
