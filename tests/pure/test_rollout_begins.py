"""How a rollout begins, and one whose candidate is only asked: values in, values out."""

from __future__ import annotations

import pytest
from msgspec import structs
from tests.pure.rollouts import HOUR, NOT_WORSE, UNDECIDED, WORSE, at, fresh

from arbiter.errors import Conflict
from arbiter.swap.findings import first_share
from arbiter.swap.metrics import Guard, Mode
from arbiter.swap.plan import Apart, Plan
from arbiter.swap.rollout import Effect, Phase, ValidationVerdict, advance, begin
from arbiter.swap.verbs import pause, resume, step


@pytest.mark.parametrize(
    ("validation", "phase", "weight", "effects"),
    [
        (ValidationVerdict.PASS, Phase.PROGRESSING, 0.10, (Effect.SET_WEIGHT,)),
        (ValidationVerdict.UNPROVEN, Phase.PROGRESSING, 0.0, (Effect.SET_WEIGHT,)),
        (ValidationVerdict.BLOCK, Phase.BLOCKED, 0.0, ()),
    ],
)
def test_validation_decides_how_it_begins(
    validation: ValidationVerdict, phase: Phase, weight: float, effects: tuple[Effect, ...]
) -> None:
    begun, asked = begin(fresh(), validation, "seen 20 cases")
    assert (begun.phase, begun.weight, asked) == (phase, weight, effects)
    assert begun.reason == "seen 20 cases"


REPLAYED = Plan(apart=Apart.REPLAY)
OFF = Guard(mode=Mode.OFF, margin=0.1)

SLICED = Plan(
    apart=Apart.SLICES, slice_s=900.0, shadow=0.0, holdback=0.0, reliability=OFF, latency=OFF
)


def test_kept_apart_a_pass_is_the_promotion() -> None:
    promoted, effects = begin(fresh(REPLAYED), ValidationVerdict.PASS, "It passed.")
    assert (promoted.phase, effects) == (Phase.PROMOTED, (Effect.MOVE_ALIAS,))
    assert promoted.reason == "Promoted on recorded cases, without traffic. It passed."


def test_kept_apart_what_is_unproven_is_blocked_because_nothing_could_prove_it() -> None:
    blocked, effects = begin(fresh(REPLAYED), ValidationVerdict.UNPROVEN, "Too little.")
    assert (blocked.phase, effects) == (Phase.BLOCKED, ())
    assert blocked.reason == ("Recorded cases alone were to decide, and they do not. Too little.")


def test_kept_apart_what_is_blocked_is_blocked_for_its_own_reason() -> None:
    blocked, _ = begin(fresh(REPLAYED), ValidationVerdict.BLOCK, "It is worse.")
    assert (blocked.phase, blocked.reason) == (Phase.BLOCKED, "It is worse.")


@pytest.mark.parametrize("apart", Apart)
@pytest.mark.parametrize("advice", ValidationVerdict)
def test_the_first_share_that_is_told_is_the_one_that_a_rollout_has(
    advice: ValidationVerdict, apart: Apart
) -> None:
    plan = SLICED if apart is Apart.SLICES else Plan(apart=apart, shadow=0.0)
    begun, _ = begin(fresh(plan), advice, "so")
    share = 1.0 if begun.phase is Phase.PROMOTED else begun.weight
    assert first_share(plan, advice) == share


ASKED = structs.replace(at(Phase.PROGRESSING, index=0), shadow_only=True)
"""Unproven, and only asked beside the stable version so far."""


@pytest.mark.parametrize(
    ("elapsed_s", "pairs", "weight"),
    [(0.0, 0, 0.0), (HOUR - 1, 19, 0.0), (1.0, 20, 0.05), (HOUR, 0, 0.05)],
)
def test_an_unproven_candidate_answers_after_enough_pairs_or_an_hour(
    elapsed_s: float, pairs: int, weight: float
) -> None:
    after, effects = advance(ASKED, UNDECIDED, elapsed_s=elapsed_s, candidate_units=pairs)
    assert (after.phase, after.index, after.weight) == (Phase.PROGRESSING, 0, weight)
    assert bool(effects) is (weight > 0.0)
    if effects:
        assert (after.soaked_s, after.units_at_step) == (0.0, pairs)
        assert after.reason == f"Asked beside the stable version {pairs} times. found inconclusive"


def test_without_pairs_in_the_plan_an_unproven_candidate_begins_with_the_cautious_step() -> None:
    begun, _ = begin(fresh(Plan(shadow=0.0)), ValidationVerdict.UNPROVEN, "")
    assert (begun.weight, begun.shadow_only) == (0.05, False)


def test_what_is_only_asked_can_be_rolled_back_and_never_promoted_by_proof() -> None:
    back, _ = advance(ASKED, WORSE, elapsed_s=1.0, candidate_units=5)
    assert back.phase is Phase.ROLLED_BACK
    later, _ = advance(ASKED, NOT_WORSE, elapsed_s=HOUR, candidate_units=500)
    assert (later.phase, later.weight) == (Phase.PROGRESSING, 0.05)


def test_a_hook_keeps_what_is_only_asked_from_answering_and_its_time_still_runs_out() -> None:
    kept, effects = advance(
        ASKED, UNDECIDED, elapsed_s=HOUR, candidate_units=30, blocked="a hook says no"
    )
    assert (kept.weight, kept.reason, effects) == (0.0, "a hook says no", ())
    week = Plan().expiry_s
    late, effects = advance(
        kept, UNDECIDED, elapsed_s=week, candidate_units=30, blocked="a hook says no"
    )
    assert (late.phase, effects) == (Phase.PAUSED, (Effect.ASK_OPERATOR,))


def test_a_pause_of_what_is_only_asked_keeps_it_from_answering() -> None:
    paused, _ = pause(ASKED, "ann", "")
    resumed, _ = resume(paused, "ann", "")
    assert (paused.weight, resumed.weight) == (0.0, 0.0)
    stepped, _ = step(resumed, "ann", "", to=1, candidate_units=3)
    assert (stepped.weight, stepped.units_at_step) == (0.10, 3)


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase is not Phase.VALIDATING])
def test_what_has_begun_cannot_begin_again(phase: Phase) -> None:
    with pytest.raises(Conflict):
        begin(at(phase), ValidationVerdict.PASS, "")
