"""A rollout whose budget is spent."""

from __future__ import annotations

import pytest
from msgspec import structs
from tests.pure.rollouts import at

from arbiter.swap.analysis import Judgement, Verdict
from arbiter.swap.plan import Over, Plan
from arbiter.swap.rollout import Effect, Phase, advance
from arbiter.swap.verbs import resume

COSTLY = Judgement(
    verdict=Verdict.INCONCLUSIVE,
    reason="Not sure.",
    n_candidate=600,
    n_answers=600,
    mean_stable=0.8,
    mean_candidate=0.6,
)
"""An estimate of 120 answers that stable would have got right."""


def test_a_spent_budget_pauses_and_asks_with_the_numbers() -> None:
    after, effects = advance(at(Phase.PROGRESSING), COSTLY, elapsed_s=1.0, candidate_units=600)
    assert (after.phase, effects) == (Phase.PAUSED, (Effect.ASK_OPERATOR,))
    assert after.reason.startswith("The budget is spent: of the candidate's 600 graded answers")
    assert "about 120 are bad" in after.reason


def test_who_resumes_after_a_spent_budget_grants_another_one() -> None:
    asked, _ = advance(at(Phase.PROGRESSING), COSTLY, elapsed_s=1.0, candidate_units=600)
    on, _ = resume(asked, "ann", "go on")
    assert on.budgets == 2
    after, _ = advance(on, COSTLY, elapsed_s=1.0, candidate_units=600)
    assert after.phase is Phase.PROGRESSING
    dearer = structs.replace(COSTLY, n_candidate=1100, n_answers=1100)
    after, _ = advance(on, dearer, elapsed_s=1.0, candidate_units=1100)
    assert after.phase is Phase.PAUSED


@pytest.mark.parametrize("phase", [Phase.PROGRESSING, Phase.PAUSED])
def test_a_plan_may_go_back_when_its_budget_is_spent(phase: Phase) -> None:
    strict = at(phase, plan=Plan(over_budget=Over.ABORT))
    after, effects = advance(strict, COSTLY, elapsed_s=1.0, candidate_units=600)
    assert (after.phase, effects) == (Phase.ROLLED_BACK, (Effect.RESTORE_STABLE,))
    assert "The budget is spent" in after.reason


def test_a_plan_without_a_budget_spends_what_it_takes() -> None:
    free = at(Phase.PROGRESSING, plan=Plan(budget=None))
    after, _ = advance(free, COSTLY, elapsed_s=1.0, candidate_units=600)
    assert after.phase is Phase.PROGRESSING
