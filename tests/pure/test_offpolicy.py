"""Estimates of what another policy would have earned: their closed forms."""

from __future__ import annotations

from math import sqrt
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbiter.stats.offpolicy import (
    Step,
    baseline_terms,
    doubly_robust,
    effective_sample,
    inverse_propensity,
    mean_of,
    self_normalised,
    with_baseline,
)


def test_the_same_policy_has_earned_what_it_earned() -> None:
    rewards = [1.0, 0.0, 0.5, 1.0]
    steps = [Step(propensity=0.5, target=0.5, reward=r) for r in rewards]
    for estimator in (inverse_propensity, self_normalised, with_baseline, doubly_robust):
        assert estimator(steps).mean == pytest.approx(0.625)
    assert inverse_propensity(steps) == mean_of(rewards)
    assert effective_sample([step.weight for step in steps]) == 4.0


def test_the_variance_of_inverse_propensity_is_that_of_its_formula() -> None:
    """One action of propensity p and rate r, always taken: (r / p - r^2) / n."""
    p, rate, count = 0.25, 0.6, 4_000
    dice = Random(23)
    steps = [
        Step(propensity=p, target=1.0, reward=float(dice.random() < rate))
        if dice.random() < p
        else Step(propensity=1 - p, target=0.0, reward=1.0)
        for _ in range(count)
    ]
    wanted = sqrt((rate / p - rate * rate) / count)
    assert inverse_propensity(steps).se == pytest.approx(wanted, rel=0.05)


def test_the_baseline_of_a_step_is_that_of_all_the_others() -> None:
    steps = [
        Step(propensity=0.5, target=1.0, reward=1.0),
        Step(propensity=0.5, target=0.0, reward=0.2),
        Step(propensity=0.5, target=1.0, reward=0.5),
    ]
    # w is 2, 0, 2, so w^2 - w is 2, 0, 2: of the others 0.5, 0.75 and 1 remain
    assert baseline_terms(steps) == pytest.approx([2.0 - 0.5, 0.75, 1.0 - 1.0])


def test_self_normalising_is_the_weighted_mean() -> None:
    steps = [
        Step(propensity=0.25, target=0.5, reward=1.0),
        Step(propensity=0.5, target=0.5, reward=0.4),
    ]
    assert self_normalised(steps).mean == pytest.approx((2 * 1.0 + 1 * 0.4) / 3)
    assert self_normalised(steps).se == pytest.approx(sqrt((2 * 0.2) ** 2 + 0.4**2) / 3)


@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=30))
def test_an_effective_sample_is_at_most_the_sample_and_at_least_one(weights: list[float]) -> None:
    assert 1.0 - 1e-9 <= effective_sample(weights) <= len(weights) + 1e-9


def test_one_step_has_no_error_and_no_interval() -> None:
    one = [Step(propensity=0.5, target=0.5, reward=0.3)]
    for estimator in (inverse_propensity, self_normalised, with_baseline, doubly_robust):
        found = estimator(one)
        assert found.mean == pytest.approx(0.3)
        assert (found.se, found.interval()) == (None, None)


@pytest.mark.parametrize(
    "numbers", [(0.0, 0.5, 1.0), (1.5, 0.5, 1.0), (0.5, -0.1, 1.0), (0.5, 1.1, 1.0), (0.5, 0.5, 2)]
)
def test_what_is_no_chance_or_no_reward_is_refused(numbers: tuple[float, float, float]) -> None:
    propensity, target, reward = numbers
    with pytest.raises(ValueError, match="lies in"):
        Step(propensity=propensity, target=target, reward=reward)


def test_without_steps_there_is_nothing_to_estimate() -> None:
    with pytest.raises(ValueError, match="needs a value"):
        inverse_propensity([])
    with pytest.raises(ValueError, match="no step"):
        self_normalised([Step(propensity=1.0, target=0.0, reward=1.0)])
