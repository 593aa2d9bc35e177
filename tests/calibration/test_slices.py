"""Time slices: how often a rollout by windows is wrong, and how long it takes.

A window of 15 minutes has ten graded answers here. The figures of docs/how-to/swap-a-model.md come
from the same simulation, with more runs.
"""

from __future__ import annotations

from random import Random

import pytest
from tests.calibration.bounds import at_least, at_most

from arbiter.config import RolloutSettings
from arbiter.inference import Arm
from arbiter.refs import GENERAL
from arbiter.studies.rollouts import Case, simulate
from arbiter.swap.analysis import Evidence, Rule, Unit, Verdict, verdict
from arbiter.swap.planning import plan_of

pytestmark = pytest.mark.calibration

RUNS = 30
WEEK = 7 * 24 * 40
"""Requests of a week at 40 an hour: 672 windows of ten."""


def week(p_old: float, p_new: float, *, runs: int = RUNS, most: int = WEEK) -> dict[str, float]:
    case = Case(p_old=p_old, p_new=p_new, requests=most, runs=runs, per_hour=40.0, slice_s=900.0)
    return {name: -1.0 if value is None else value for name, value in simulate(case).items()}


@pytest.mark.parametrize("rate", [0.8, 0.95])
def test_a_model_that_is_as_good_is_rarely_rolled_back_and_mostly_promoted_in_a_week(
    rate: float,
) -> None:
    found = week(rate, rate)
    assert round(RUNS * found["rollback"]) <= at_most(RUNS)
    assert round(RUNS * found["promote"]) >= at_least(RUNS, 0.8)


def test_a_model_that_is_worse_by_the_margin_is_rarely_promoted() -> None:
    assert round(RUNS * week(0.8, 0.76)["promote"]) <= at_most(RUNS)


def test_a_model_that_is_a_fifth_worse_is_always_found_within_a_day_or_so() -> None:
    found = week(0.8, 0.64, runs=60)
    assert found["rollback"] == 1.0
    assert found["median_units"] <= 85


def swings(seed: int, *, windows: int, answers: int = 10) -> list[list[Unit]]:
    """Two equal models; how hard the traffic is changes from hour to hour, for both alike."""
    dice, found, hard = Random(seed), [], 0.8
    for number in range(windows):
        if number % 4 == 0:
            hard = dice.uniform(0.55, 0.95)
        arm = Arm.CANDIDATE if dice.random() < 0.5 else Arm.STABLE
        found.append(
            [
                Unit(task=GENERAL, arm=arm, probability=0.5, score=float(dice.random() < hard))
                for _ in range(answers)
            ]
        )
    return found


def is_called_worse(units: list[Unit], rule: Rule) -> bool:
    evidence = Evidence(rule)
    for unit in units:
        evidence.update(unit)
        if verdict(evidence, in_words=False).verdict is Verdict.WORSE:
            return True
    return False


def test_traffic_that_is_harder_in_some_hours_is_not_taken_for_a_worse_model() -> None:
    plan = plan_of(RolloutSettings(), (), {"apart": "slices", "slice_s": 900.0})
    called = 0
    for seed in range(60):
        means = [
            Unit(
                task=GENERAL,
                arm=window[0].arm,
                probability=0.5,
                score=sum(one.score for one in window) / len(window),
                answers=len(window),
            )
            for window in swings(seed, windows=300)
        ]
        called += is_called_worse(means, plan)
    assert called <= at_most(60)


def test_answers_of_a_window_that_are_taken_for_draws_of_their_own_would_be() -> None:
    """Why a window is one unit: one coin decides all of it, so that hardness looks like harm."""
    rule = Rule(tasks=(GENERAL,), judge_other=False)
    called = sum(
        is_called_worse(
            [one for window in swings(seed, windows=100, answers=30) for one in window], rule
        )
        for seed in range(30)
    )
    assert called > 2 * at_most(30)
