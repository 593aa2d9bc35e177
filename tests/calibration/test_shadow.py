"""How often a rollout is wrong when a share of conversations is asked of both versions.

Whole rollouts through the production code, seeded. Bounds as in `test_verdict`.
"""

from __future__ import annotations

from statistics import median

import pytest
from tests.calibration.bounds import at_least, at_most

from arbiter.studies.rollouts import Case, Ended, simulate_one
from arbiter.swap.rollout import Phase

pytestmark = pytest.mark.calibration

RUNS = 60


def runs(case: Case, *, times: int = RUNS, first: int = 5_000) -> list[Ended]:
    return [simulate_one(case, first + number) for number in range(times)]


def count(ended: list[Ended], phase: Phase) -> int:
    return sum(one.phase is phase for one in ended)


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(Case(p_old=0.8, p_new=0.8, shadow=0.2), id="a fifth at .80"),
        pytest.param(Case(p_old=0.8, p_new=0.8, shadow=1.0), id="all at .80"),
        pytest.param(Case(p_old=0.95, p_new=0.95, shadow=0.5), id="half at .95"),
        pytest.param(Case(p_old=0.8, p_new=0.8, shadow=0.5, correlation=0.0), id="uncorrelated"),
        pytest.param(
            Case(p_old=0.8, p_new=0.8, shadow=0.5, drift=(0.9, 0.7)), id="while traffic gets harder"
        ),
        pytest.param(Case(p_old=0.8, p_new=0.8, shadow=0.5, tasks=5), id="at five tasks"),
    ],
)
def test_an_equal_candidate_is_rarely_rolled_back(case: Case) -> None:
    assert count(runs(case), Phase.ROLLED_BACK) <= at_most(RUNS)


@pytest.mark.parametrize("shadow", [0.2, 1.0])
@pytest.mark.parametrize("p_old", [0.8, 0.95])
def test_one_that_is_worse_by_the_margin_is_rarely_promoted(p_old: float, shadow: float) -> None:
    ended = runs(Case(p_old=p_old, p_new=0.95 * p_old, shadow=shadow))
    assert count(ended, Phase.PROMOTED) <= at_most(RUNS)


def test_conversations_of_twelve_requests_count_once_in_either_test() -> None:
    case = Case(p_old=0.8, p_new=0.8, unit=12, requests=6_000, shadow=0.5)
    assert count(runs(case, times=30), Phase.ROLLED_BACK) <= at_most(30)


def test_half_of_the_equal_models_are_promoted_after_580_pairs_or_fewer() -> None:
    ended = runs(Case(p_old=0.8, p_new=0.8, shadow=1.0))
    early = sum(one.phase is Phase.PROMOTED and one.pairs <= 580 for one in ended)
    assert early >= at_least(RUNS, 0.5)
    assert count(ended, Phase.PROMOTED) >= at_least(RUNS, 0.95)


@pytest.mark.parametrize(
    ("share_kept", "most_units", "most_bad"), [(0.9, 620, 190.0), (0.8, 300, 55.0)]
)
def test_one_that_is_worse_is_caught_sooner_with_a_fifth_of_pairs(
    share_kept: float, most_units: float, most_bad: float
) -> None:
    ended = runs(Case(p_old=0.8, p_new=0.8 * share_kept, shadow=0.2))
    backs = [one for one in ended if one.phase is Phase.ROLLED_BACK]
    assert len(backs) >= at_least(RUNS, 0.97)
    assert median([one.units for one in backs]) <= most_units
    assert sum(one.served for one in backs) / len(backs) <= most_bad
