"""Beliefs about a share: agreement with closed forms, published tables and plain integration."""

from __future__ import annotations

from math import asin, comb, exp, log, pi, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbiter.stats.change import DROP, worse_step
from arbiter.stats.estimators import (
    Beta,
    best_chances,
    beta_cdf,
    beta_from,
    beta_quantile,
    logistic,
    logit,
    normal_quantile,
    share_moments,
)


@given(st.integers(1, 40), st.integers(1, 40), st.floats(0.01, 0.99))
def test_the_beta_distribution_with_whole_numbers_is_a_binomial_tail(
    a: int, b: int, x: float
) -> None:
    n = a + b - 1
    tail = sum(comb(n, k) * x**k * (1 - x) ** (n - k) for k in range(a, n + 1))
    assert beta_cdf(x, a, b) == pytest.approx(tail, abs=1e-12)


@pytest.mark.parametrize("x", [0.001, 0.1, 0.37, 0.5, 0.9, 0.9999])
def test_the_beta_distribution_of_two_halves_is_the_arcsine_law(x: float) -> None:
    assert beta_cdf(x, 0.5, 0.5) == pytest.approx(2.0 / pi * asin(sqrt(x)), abs=1e-12)


@pytest.mark.parametrize(
    ("share", "first", "second", "value"),
    [(0.95, 2, 10, 4.103), (0.95, 5, 10, 3.326), (0.95, 3, 20, 3.098), (0.95, 10, 10, 2.978)],
)
def test_the_beta_quantile_agrees_with_the_table_of_the_f_distribution(
    share: float, first: int, second: int, value: float
) -> None:
    # NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.7.3: upper critical values of F, which
    # is b X / (a (1 - X)) for X of Beta(a, b) with half as many degrees of freedom
    x = beta_quantile(share, first / 2, second / 2)
    assert second * x / (first * (1.0 - x)) == pytest.approx(value, abs=6e-4)


def test_ten_right_of_ten_have_the_exact_bound_of_clopper_and_pearson() -> None:
    assert Beta(10.0, 1.0).interval(0.95)[0] == pytest.approx(0.025**0.1, abs=1e-9)


@pytest.mark.parametrize(
    ("share", "point"), [(0.9, 1.281552), (0.95, 1.644854), (0.975, 1.959964), (0.995, 2.575829)]
)
def test_the_normal_quantile_is_that_of_every_table(share: float, point: float) -> None:
    assert normal_quantile(share) == pytest.approx(point, abs=6e-7)


@given(st.floats(0.3, 200), st.floats(0.3, 200))
def test_a_beta_belief_is_the_one_with_its_mean_and_variance(a: float, b: float) -> None:
    one = Beta(a, b)
    again = beta_from(one.mean, one.variance)
    assert (again.mean, again.variance) == pytest.approx((one.mean, one.variance), rel=1e-6)


@pytest.mark.parametrize("mean", [-4.0, -1.0, 0.0, 0.7, 3.0])
@pytest.mark.parametrize("variance", [0.05, 0.5, 1.5, 3.0])
def test_the_moments_of_a_share_agree_with_plain_integration(mean: float, variance: float) -> None:
    # trapezoids over nine standard deviations, 4,000 of them: exact to 1e-12 for a normal weight
    steps, wide = 4000, 9.0 * sqrt(variance)
    points = [mean - wide + 2.0 * wide * k / steps for k in range(steps + 1)]
    weights = [exp(-((x - mean) ** 2) / (2.0 * variance)) for x in points]
    whole = sum(weights)
    first = sum(w * logistic(x) for w, x in zip(weights, points, strict=True)) / whole
    square = sum(w * logistic(x) ** 2 for w, x in zip(weights, points, strict=True)) / whole
    found = share_moments(mean, variance)
    wrong = 3e-3 if variance < 2.0 else 5e-3
    assert found[0] == pytest.approx(first, abs=wrong)
    assert found[1] == pytest.approx(square - first * first, abs=wrong)


@pytest.mark.parametrize(
    ("means", "deviations"), [((0.0, 1.0), (1.0, 1.0)), ((0.6, 0.5), (0.1, 0.02))]
)
def test_the_chance_to_beat_one_other_is_a_normal_probability(
    means: tuple[float, float], deviations: tuple[float, float]
) -> None:
    chance = best_chances(means, deviations)[0]
    gap = (means[0] - means[1]) / sqrt(deviations[0] ** 2 + deviations[1] ** 2)
    assert normal_quantile(chance) == pytest.approx(gap, abs=0.02)


@pytest.mark.parametrize(
    ("count", "chance", "ahead"),
    [(2, 0.95, 2.3262), (3, 0.90, 2.2302), (3, 0.95, 2.7101), (4, 0.90, 2.4516), (5, 0.95, 3.0552)],
)
def test_the_chance_of_the_best_agrees_with_the_table_of_bechhofer(
    count: int, chance: float, ahead: float
) -> None:
    # Bechhofer, Annals of Mathematical Statistics 25 (1954), table I: how far ahead the best of
    # several normal populations must be to be picked with this chance
    means = [ahead] + [0.0] * (count - 1)
    assert best_chances(means, [1.0] * count)[0] == pytest.approx(chance, abs=2e-3)


@pytest.mark.parametrize("reference", [0.1, 0.5, 0.8, 0.97])
def test_a_step_of_the_change_test_is_a_likelihood_ratio(reference: float) -> None:
    worse = logistic(logit(reference) - DROP)
    assert worse_step(0.0, 1.0, reference) == pytest.approx(log(worse / reference))
    assert worse_step(0.0, 0.0, reference) == pytest.approx(log((1 - worse) / (1 - reference)))
