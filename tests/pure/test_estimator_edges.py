"""Beliefs at the ends of their scales, and numbers that are none."""

from __future__ import annotations

from math import isfinite

import pytest

from arbiter.stats.estimators import (
    Beta,
    best_chances,
    beta_cdf,
    beta_from,
    logistic,
    logit,
)


def test_a_share_of_nothing_or_of_all_has_a_finite_logit_far_out() -> None:
    assert logit(1.0) > 27.0
    assert logit(0.0) == pytest.approx(-logit(1.0), rel=1e-3)
    assert (logistic(-999.0), logistic(999.0)) == pytest.approx((0.0, 1.0), abs=1e-12)


@pytest.mark.parametrize(("mean", "near"), [(0.0, 1e-4), (1.0, 1.0 - 1e-4)])
def test_a_belief_is_never_of_nothing_or_of_all(mean: float, near: float) -> None:
    found = beta_from(mean, 0.01)
    assert found.mean == pytest.approx(near, rel=1e-6)
    assert isfinite(found.variance)


def test_a_distribution_begins_at_nothing_and_ends_at_all() -> None:
    assert (beta_cdf(0.0, 2.0, 3.0), beta_cdf(1.0, 2.0, 3.0)) == (0.0, 1.0)
    assert (beta_cdf(-0.1, 2.0, 3.0), beta_cdf(1.5, 2.0, 3.0)) == (0.0, 1.0)


@pytest.mark.parametrize(("a", "b"), [(0.0, 1.0), (1.0, 0.0), (-1.0, 1.0), (1.0, float("nan"))])
def test_a_belief_needs_two_numbers_above_nothing(a: float, b: float) -> None:
    with pytest.raises(ValueError, match="two numbers above 0"):
        Beta(a, b)


@pytest.mark.parametrize("level", [0.0, 1.0, -0.5])
def test_no_interval_is_certain(level: float) -> None:
    with pytest.raises(ValueError, match="level"):
        Beta(2.0, 2.0).interval(level)


def test_an_interval_leaves_a_tenth_outside_unless_it_is_said_otherwise() -> None:
    low, high = Beta(4.0, 2.0).interval()
    assert beta_cdf(low, 4.0, 2.0) == pytest.approx(0.05, abs=1e-6)
    assert beta_cdf(high, 4.0, 2.0) == pytest.approx(0.95, abs=1e-6)


@pytest.mark.parametrize(
    ("means", "deviations"), [([], []), ([0.5], [0.1, 0.1]), ([0.5], [0.0]), ([0.5], [-0.1])]
)
def test_chances_need_as_many_deviations_above_nothing_as_means(
    means: list[float], deviations: list[float]
) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        best_chances(means, deviations)


def test_who_is_hopeless_has_no_chance_and_the_others_have_it_all() -> None:
    one, other, hopeless = best_chances([0.8, 0.8, 0.1], [0.02, 0.02, 0.02])
    assert hopeless == 0.0
    assert (one, other) == pytest.approx((0.5, 0.5), abs=1e-3)
