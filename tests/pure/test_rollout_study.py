"""`arbiter rollout-simulate`: the production gate over made-up answers."""

from __future__ import annotations

from typing import Any

import pytest

from arbiter.errors import InvalidField
from arbiter.studies.rollouts import Case, Ended, also_right, simulate, simulate_one
from arbiter.swap.rollout import Phase


def test_a_much_worse_candidate_is_rolled_back_in_every_run() -> None:
    found = simulate(Case(p_old=0.95, p_new=0.5, runs=10, requests=1000))
    assert found["rollback"] == 1.0
    assert found["promote"] == found["inconclusive"] == 0.0
    assert found["median_units"] is not None
    assert found["bad_answers"] is not None
    assert found["bad_answers"] < found["median_units"] < 200


def test_a_better_candidate_is_promoted_and_gave_no_bad_answers() -> None:
    found = simulate(Case(p_old=0.8, p_new=0.99, runs=10, requests=1500))
    assert found["promote"] is not None
    assert found["promote"] >= 0.8
    assert found["rollback"] == 0.0
    assert found["bad_answers"] is None


def test_too_few_requests_are_inconclusive_and_have_no_median() -> None:
    found = simulate(Case(p_old=0.8, p_new=0.8, runs=5, requests=50))
    assert found == {
        "rollback": 0.0,
        "promote": 0.0,
        "inconclusive": 1.0,
        "median_units": None,
        "bad_answers": None,
    }


def test_a_seed_gives_the_same_run_again_and_another_seed_another() -> None:
    case = Case(p_old=0.8, p_new=0.6, requests=1000)
    assert simulate_one(case, 3) == simulate_one(case, 3) != simulate_one(case, 4)


def test_a_conversation_counts_once_however_many_requests_it_has() -> None:
    case = Case(p_old=0.8, p_new=0.8, requests=600, unit=12, per_hour=1e9)
    ended = simulate_one(case, 1)
    assert ended.units == 50
    assert ended.served % 12 == 0


def test_a_candidate_that_keeps_its_ratio_drifts_with_the_traffic() -> None:
    case = Case(p_old=0.8, p_new=0.4, drift=(0.9, 0.7))
    plan = case.plan
    assert case.rates(0.0, plan) == pytest.approx((0.9, 0.45))
    assert case.rates(2.5, plan) == pytest.approx((0.8, 0.4))
    assert case.rates(5.0, plan) == case.rates(90.0, plan) == pytest.approx((0.7, 0.35))
    assert Case(p_old=0.8, p_new=0.4).rates(1.0, plan) == (0.8, 0.4)


def test_every_task_is_declared_and_has_half_the_traffic_of_the_one_before() -> None:
    assert Case(p_old=0.8, p_new=0.8, tasks=3).plan.tasks == ("task-1", "task-2", "task-3")
    ended = simulate_one(Case(p_old=0.9, p_new=0.3, tasks=3), 1)
    assert ended.phase is Phase.ROLLED_BACK


def test_the_clock_promotes_what_it_cannot_tell_from_the_old_one() -> None:
    case = Case(p_old=0.8, p_new=0.8, runs=6, schedule="clock")
    assert case.plan.steps[-1] == 0.9
    assert (simulate(case)["promote"] or 0.0) >= 0.8


def test_the_clock_rolls_back_what_is_much_worse() -> None:
    found = simulate(Case(p_old=0.9, p_new=0.5, runs=6, schedule="clock"))
    assert found["rollback"] == 1.0


def test_only_a_promotion_and_a_rollback_are_decisions() -> None:
    assert Ended(phase=Phase.PROMOTED, units=1, served=1).is_decided
    assert Ended(phase=Phase.ROLLED_BACK, units=1, served=1).is_decided
    assert not Ended(phase=Phase.PROGRESSING, units=1, served=1).is_decided
    assert not Ended(phase=Phase.PAUSED, units=1, served=1).is_decided


@pytest.mark.parametrize(
    ("change", "about"),
    [
        ({"p_old": 1.5}, "--p-old"),
        ({"p_new": -0.1}, "--p-new"),
        ({"requests": 0}, "--requests"),
        ({"runs": 0}, "--runs"),
        ({"tasks": 0}, "--tasks"),
        ({"unit": 0}, "--unit"),
        ({"per_hour": 0.0}, "--per-hour"),
        ({"drift": (0.9, 1.7)}, "--drift"),
        ({"drift": (0.9, 0.7), "p_old": 0.0}, "--drift"),
        ({"schedule": "hope"}, "no schedule"),
    ],
)
def test_what_cannot_be_run_is_refused_by_the_name_of_its_option(
    change: dict[str, Any], about: str
) -> None:
    given: dict[str, Any] = {"p_old": 0.8, "p_new": 0.8, **change}
    with pytest.raises(InvalidField, match=about):
        Case(**given)


@pytest.mark.parametrize(
    ("one", "other", "correlation"), [(0.8, 0.8, 0.6), (0.8, 0.64, 0.0), (0.7, 0.9, 1.0)]
)
def test_both_versions_keep_their_rates_in_a_pair(
    one: float, other: float, correlation: float
) -> None:
    found = one * also_right(True, one, other, correlation)
    found += (1.0 - one) * also_right(False, one, other, correlation)
    assert found == pytest.approx(other)
    assert all(0.0 <= also_right(right, one, other, correlation) <= 1.0 for right in (True, False))


def test_every_conversation_is_a_pair_when_all_are_asked_of_both() -> None:
    ended = simulate_one(Case(p_old=0.9, p_new=0.5, shadow=1.0), 1)
    assert ended.pairs == ended.units
    assert simulate_one(Case(p_old=0.9, p_new=0.5), 1).pairs == 0
