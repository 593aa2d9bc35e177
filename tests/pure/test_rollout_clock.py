"""A rollout that goes by the clock."""

from __future__ import annotations

import pytest
from tests.pure.rollouts import HOUR, UNDECIDED, WORSE, at, found

from arbiter.swap.analysis import Judgement, Verdict
from arbiter.swap.plan import CLOCK_STEPS, Plan, Schedule
from arbiter.swap.rollout import Effect, Phase, advance

CLOCK = Plan(schedule=Schedule.CLOCK, steps=CLOCK_STEPS)


def test_the_clock_takes_a_step_an_hour_whatever_is_known() -> None:
    doubtful = found(Verdict.INCONCLUSIVE, hold=True)
    rollout, weights = at(Phase.PROGRESSING, plan=CLOCK), []
    for _ in range(8):
        rollout, _ = advance(rollout, doubtful, elapsed_s=HOUR, candidate_units=0)
        weights.append(rollout.weight)
    assert weights == list(CLOCK_STEPS[1:])


def test_the_clock_promotes_without_proof_and_says_so() -> None:
    last = at(Phase.PROGRESSING, index=9, plan=CLOCK)
    after, effects = advance(last, UNDECIDED, elapsed_s=HOUR, candidate_units=20)
    assert (after.phase, effects) == (Phase.PROMOTED, (Effect.MOVE_ALIAS,))
    assert after.reason == "Promoted by the clock, without proof. found inconclusive"


@pytest.mark.parametrize(
    ("judgement", "units", "phase"),
    [
        (WORSE, 200, Phase.ROLLED_BACK),
        (found(Verdict.INCONCLUSIVE, hold=True), 200, Phase.PROGRESSING),
        (found(Verdict.ERROR), 200, Phase.PROGRESSING),
        (UNDECIDED, 19, Phase.PROGRESSING),
    ],
)
def test_the_clock_promotes_neither_against_evidence_nor_on_no_data(
    judgement: Judgement, units: int, phase: Phase
) -> None:
    last = at(Phase.PROGRESSING, index=9, plan=CLOCK)
    assert advance(last, judgement, elapsed_s=HOUR, candidate_units=units)[0].phase is phase
