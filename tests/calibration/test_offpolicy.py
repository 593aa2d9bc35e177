"""Estimates of what another policy would have earned, in worlds where the truth is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from math import sqrt
from random import Random
from statistics import fmean, stdev

import pytest

from arbiter.stats.offpolicy import (
    Estimate,
    Step,
    doubly_robust,
    inverse_propensity,
    self_normalised,
    with_baseline,
)

pytestmark = pytest.mark.calibration

Estimator = Callable[[Sequence[Step]], Estimate]
UNBIASED: dict[str, Estimator] = {
    "inverse propensity": inverse_propensity,
    "with a baseline": with_baseline,
    "doubly robust": doubly_robust,
}

RATES = ((0.9, 0.5, 0.2), (0.3, 0.8, 0.4))
"""Of three actions in two situations."""

SITUATIONS = (0.7, 0.3)
PICKS = ((0.6, 0.3, 0.1), (0.2, 0.5, 0.3))
"""How the recorded policy picks."""

OTHER = ((0.1, 0.6, 0.3), (0.7, 0.2, 0.1))
"""How the other one would."""

TRUTH = sum(
    share * sum(chance * rate for chance, rate in zip(OTHER[k], RATES[k], strict=True))
    for k, share in enumerate(SITUATIONS)
)
MODEL = ((0.8, 0.6, 0.3), (0.4, 0.6, 0.5))
"""A model of rewards that is roughly right."""

RUNS = 1_500


def record(dice: Random, count: int, model: Sequence[Sequence[float]] = MODEL) -> list[Step]:
    steps = []
    for _ in range(count):
        k = 0 if dice.random() < SITUATIONS[0] else 1
        (action,) = dice.choices(range(3), PICKS[k])
        steps.append(
            Step(
                propensity=PICKS[k][action],
                target=OTHER[k][action],
                reward=float(dice.random() < RATES[k][action]),
                foreseen=model[k][action],
                expected=sum(p * q for p, q in zip(OTHER[k], model[k], strict=True)),
            )
        )
    return steps


@cache
def records(count: int) -> Sequence[Sequence[Step]]:
    dice = Random(20)
    return [record(dice, count) for _ in range(RUNS)]


def estimates(estimator: Estimator, count: int) -> list[Estimate]:
    return [estimator(steps) for steps in records(count)]


@pytest.mark.parametrize("name", UNBIASED)
@pytest.mark.parametrize("count", [12, 150])
def test_an_unbiased_estimate_is_right_on_average_in_small_samples_too(
    name: str, count: int
) -> None:
    found = [one.mean for one in estimates(UNBIASED[name], count)]
    assert abs(fmean(found) - TRUTH) < 3 * stdev(found) / sqrt(RUNS)


@pytest.mark.parametrize("name", [*UNBIASED, "self-normalised"])
def test_the_interval_holds_the_truth_as_often_as_it_says(name: str) -> None:
    found = estimates({**UNBIASED, "self-normalised": self_normalised}[name], 300)
    held = [low <= TRUTH <= high for low, high in (one.interval() or (0, 0) for one in found)]
    # three standard errors of 1,500 draws, and half a point for a sum that is not quite normal
    assert abs(fmean(held) - 0.95) < 3 * sqrt(0.95 * 0.05 / RUNS) + 0.005


@pytest.mark.parametrize("name", UNBIASED)
def test_the_standard_error_is_how_far_estimates_lie_apart(name: str) -> None:
    found = estimates(UNBIASED[name], 300)
    told = fmean(one.se or 0.0 for one in found)
    assert told == pytest.approx(stdev(one.mean for one in found), rel=3 / sqrt(2 * RUNS) + 0.03)


def test_a_baseline_and_a_model_make_an_estimate_sharper() -> None:
    plain, based, robust = (
        stdev(one.mean for one in estimates(estimator, 300)) for estimator in UNBIASED.values()
    )
    assert robust < based < plain


def test_a_wrong_model_costs_sharpness_and_no_bias() -> None:
    dice = Random(21)
    wrong = ((0.0, 1.0, 0.9), (1.0, 0.0, 0.9))
    found = [doubly_robust(record(dice, 100, wrong)).mean for _ in range(RUNS)]
    assert abs(fmean(found) - TRUTH) < 3 * stdev(found) / sqrt(RUNS)


def test_a_policy_that_learns_from_the_record_as_it_goes_is_judged_without_bias() -> None:
    """Chances that hang on the past are fixed before the step that they are for."""
    dice = Random(22)
    gaps = []
    for _ in range(RUNS):
        good, tried = [1.0, 1.0], [2.0, 2.0]
        steps, truth = [], []
        for _ in range(40):
            share = 0.8 if good[0] / tried[0] >= good[1] / tried[1] else 0.2
            action = 0 if dice.random() < 0.5 else 1
            reward = float(dice.random() < (0.7, 0.4)[action])
            steps.append(Step(propensity=0.5, target=(share, 1 - share)[action], reward=reward))
            truth.append(share * 0.7 + (1 - share) * 0.4)
            good[action] += reward
            tried[action] += 1
        gaps.append(inverse_propensity(steps).mean - fmean(truth))
    assert abs(fmean(gaps)) < 3 * stdev(gaps) / sqrt(RUNS)
