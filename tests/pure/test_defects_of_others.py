"""What went wrong in the rollouts of others, each with the number of its report.

Argo Rollouts: https://github.com/argoproj/argo-rollouts/issues
Flagger: https://github.com/fluxcd/flagger/issues
suna: https://github.com/kortix-ai/suna/pull/3403
TensorZero: https://github.com/tensorzero/tensorzero/pull/4163
Flagger's #1801, no rollback while a hook is waited for, is in ``tests/story/test_hooks.py``.
"""

from __future__ import annotations

import pytest
from msgspec import structs

from arbiter.inference import Arm
from arbiter.refs import ModelName, RolloutId, TaskName, VersionId
from arbiter.swap.analysis import Evidence, Judgement, Rule, Unit, Verdict, fold, verdict
from arbiter.swap.plan import CLOCK_STEPS, Plan, Schedule
from arbiter.swap.rollout import Effect, Phase, Rollout, advance
from arbiter.swap.verbs import resume

HOUR = 3600.0
CHAT = TaskName("chat")
PROVED = Plan()
CLOCK = Plan(schedule=Schedule.CLOCK, steps=CLOCK_STEPS)


def going(*, plan: Plan = PROVED, index: int = 1) -> Rollout:
    return Rollout(
        id=RolloutId("rol_1"),
        alias=ModelName("house"),
        stable=VersionId("sha256:a"),
        candidate=VersionId("sha256:b"),
        plan=plan,
        salt="s",
        phase=Phase.PROGRESSING,
        index=index,
    )


def said(found: Verdict) -> Judgement:
    return Judgement(verdict=found, reason=f"found {found}")


def test_an_analysis_that_stays_inconclusive_never_promotes_itself() -> None:
    """Argo #3850: an inconclusive analysis was started again until the rollout was promoted."""
    rollout, asked = going(), 0
    for hour in range(5000):
        rollout, effects = advance(
            rollout,
            said(Verdict.INCONCLUSIVE),
            elapsed_s=HOUR,
            candidate_units=20 * hour,
        )
        assert Effect.MOVE_ALIAS not in effects
        if Effect.ASK_OPERATOR in effects:
            asked += 1
            rollout, _ = resume(rollout, "ann", "wait on")
    assert rollout.weight == 0.5
    assert asked >= 5000 // (7 * 24 + 1)


@pytest.mark.parametrize("plan", [PROVED, CLOCK])
@pytest.mark.parametrize("waited_s", [0.0, HOUR, 30 * 24 * HOUR])
def test_an_analysis_that_failed_never_ends_in_a_promotion(plan: Plan, waited_s: float) -> None:
    """Argo #1411: the analysis failed, and the rollout was completed all the same."""
    for index in range(len(plan.ladder)):
        rollout = structs.replace(
            going(plan=plan, index=index), soaked_s=waited_s, total_s=waited_s
        )
        after, effects = advance(
            rollout, said(Verdict.WORSE), elapsed_s=waited_s, candidate_units=500
        )
        assert (after.phase, effects) == (Phase.ROLLED_BACK, (Effect.RESTORE_STABLE,))
        again, effects = advance(
            after, said(Verdict.NOT_WORSE), elapsed_s=HOUR, candidate_units=900
        )
        assert (again, effects) == (after, ())


@pytest.mark.parametrize("phase", [one for one in Phase if one.is_final])
@pytest.mark.parametrize("found", list(Verdict))
def test_what_has_ended_does_not_go_on_whatever_is_found_later(
    phase: Phase, found: Verdict
) -> None:
    """TensorZero #4163: what had stopped went on when the means changed in the right way."""
    over = structs.replace(going(), phase=phase)
    assert advance(over, said(found), elapsed_s=HOUR, candidate_units=5000) == (over, ())


def test_a_rollout_that_was_inconclusive_is_not_stuck() -> None:
    """Argo #3015: after an inconclusive analysis it could not be moved any more."""
    late = structs.replace(going(index=5), total_s=7 * 24 * HOUR)
    paused, _ = advance(late, said(Verdict.INCONCLUSIVE), elapsed_s=1.0, candidate_units=90)
    assert paused.phase is Phase.PAUSED
    on, _ = resume(paused, "ann", "more traffic now")
    done, effects = advance(on, said(Verdict.NOT_WORSE), elapsed_s=HOUR, candidate_units=120)
    assert (done.phase, effects) == (Phase.PROMOTED, (Effect.MOVE_ALIAS,))


@pytest.mark.parametrize("plan", [PROVED, CLOCK])
def test_no_data_neither_goes_back_nor_forward_to_the_end(plan: Plan) -> None:
    """Argo #1905: no data went back. Flagger #1035, #1689: no traffic was a failed check."""
    rollout, nothing = going(plan=plan), verdict(Evidence(Rule()))
    for _ in range(7 * 24 - 1):
        rollout, _ = advance(rollout, nothing, elapsed_s=HOUR, candidate_units=0)
        assert rollout.phase is Phase.PROGRESSING
    assert rollout.index == (1 if plan is PROVED else 9)
    asked, effects = advance(rollout, nothing, elapsed_s=HOUR, candidate_units=0)
    assert (asked.phase, effects) == (Phase.PAUSED, (Effect.ASK_OPERATOR,))
    assert "Nothing is known yet" in asked.reason


@pytest.mark.parametrize("right", [0, 1, 2, 3])
def test_few_requests_are_inconclusive_whatever_they_say(right: int) -> None:
    """Suna #3403: few requests aborted, and below a floor of 20 they then passed."""
    few = [
        Unit(task=CHAT, arm=Arm.CANDIDATE, probability=0.1, score=float(number < right))
        for number in range(3)
    ] + [Unit(task=CHAT, arm=Arm.STABLE, probability=0.1, score=1.0)] * 16
    found = verdict(fold(few, PROVED))
    assert found.verdict is Verdict.INCONCLUSIVE
    after, _ = advance(going(), found, elapsed_s=HOUR, candidate_units=3)
    assert (after.phase, after.index) == (Phase.PROGRESSING, 1)
