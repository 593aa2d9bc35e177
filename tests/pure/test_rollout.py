"""Rollout steps, proof, pauses and hooks: values in, values out."""

from __future__ import annotations

from math import inf, nan

import pytest
from msgspec import structs
from tests.pure.rollouts import HOUR, NOT_WORSE, UNDECIDED, WORSE, at, found

from arbiter.swap.analysis import Judgement, Verdict
from arbiter.swap.rollout import Effect, Phase, advance
from arbiter.swap.verbs import resume


@pytest.mark.parametrize(
    ("elapsed_s", "units", "judgement", "weight"),
    [
        (HOUR, 20, UNDECIDED, 0.20),
        (HOUR - 1, 20, UNDECIDED, 0.10),
        (HOUR, 19, UNDECIDED, 0.10),
        (HOUR, 20, found(Verdict.INCONCLUSIVE, hold=True), 0.20),
        (HOUR, 20, found(Verdict.ERROR), 0.10),
        (HOUR, 20, NOT_WORSE, 0.20),
    ],
)
def test_it_steps_up_after_soak_and_units_whether_in_doubt_or_not(
    elapsed_s: float, units: int, judgement: Judgement, weight: float
) -> None:
    after, effects = advance(
        at(Phase.PROGRESSING), judgement, elapsed_s=elapsed_s, candidate_units=units
    )
    assert (after.phase, after.weight) == (Phase.PROGRESSING, weight)
    assert effects == ((Effect.SET_WEIGHT,) if weight == 0.20 else ())


def test_a_step_starts_its_soak_and_its_count_anew() -> None:
    second, _ = advance(at(Phase.PROGRESSING), UNDECIDED, elapsed_s=HOUR, candidate_units=25)
    assert (second.soaked_s, second.units_at_step, second.total_s) == (0.0, 25, HOUR)
    still, effects = advance(second, UNDECIDED, elapsed_s=HOUR, candidate_units=44)
    assert (still.weight, effects) == (0.20, ())
    third, _ = advance(still, UNDECIDED, elapsed_s=0.0, candidate_units=45)
    assert third.weight == 0.30


def test_proof_promotes_at_the_second_step_once_it_has_soaked() -> None:
    second = at(Phase.PROGRESSING, index=2)
    waiting, _ = advance(second, NOT_WORSE, elapsed_s=HOUR - 1, candidate_units=20)
    assert waiting.phase is Phase.PROGRESSING
    done, effects = advance(waiting, NOT_WORSE, elapsed_s=1.0, candidate_units=20)
    assert done.phase is Phase.PROMOTED
    assert effects == (Effect.MOVE_ALIAS,)
    assert done.weight == 0.0
    assert done.reason == "found not_worse"


@pytest.mark.parametrize(
    ("index", "units", "hold"), [(0, 20, False), (1, 20, False), (2, 19, False), (2, 20, True)]
)
def test_proof_alone_is_not_enough(index: int, units: int, hold: bool) -> None:
    after, _ = advance(
        at(Phase.PROGRESSING, index=index),
        found(Verdict.NOT_WORSE, hold=hold),
        elapsed_s=HOUR,
        candidate_units=units,
    )
    assert after.phase is Phase.PROGRESSING


def test_the_last_step_waits_and_never_promotes_in_silence() -> None:
    last = at(Phase.PROGRESSING, index=5)
    after, effects = advance(last, UNDECIDED, elapsed_s=HOUR, candidate_units=500)
    assert (after.phase, after.weight, effects) == (Phase.PROGRESSING, 0.50, ())


def test_silence_pauses_and_asks() -> None:
    last = structs.replace(at(Phase.PROGRESSING, index=5), total_s=7 * 24 * HOUR - 60)
    after, effects = advance(last, UNDECIDED, elapsed_s=60.0, candidate_units=500)
    assert (after.phase, after.weight) == (Phase.PAUSED, 0.50)
    assert effects == (Effect.ASK_OPERATOR,)
    assert after.reason == "No verdict in time. found inconclusive"


def test_one_that_ran_out_of_time_gets_its_time_again_when_resumed() -> None:
    late = structs.replace(at(Phase.PAUSED, index=5), total_s=7 * 24 * HOUR)
    on, _ = resume(late, "ann", "more traffic tomorrow")
    after, _ = advance(on, UNDECIDED, elapsed_s=60.0, candidate_units=500)
    assert after.phase is Phase.PROGRESSING


@pytest.mark.parametrize("phase", [Phase.PROGRESSING, Phase.PAUSED])
@pytest.mark.parametrize("index", range(6))
def test_a_worse_candidate_is_rolled_back_from_anywhere(phase: Phase, index: int) -> None:
    after, effects = advance(at(phase, index=index), WORSE, elapsed_s=0.0, candidate_units=0)
    assert (after.phase, after.weight) == (Phase.ROLLED_BACK, 0.0)
    assert effects == (Effect.RESTORE_STABLE,)
    assert after.reason == "found worse"


@pytest.mark.parametrize("judgement", [UNDECIDED, NOT_WORSE, WORSE])
def test_a_trip_rolls_back_before_any_verdict(judgement: Judgement) -> None:
    after, effects = advance(
        at(Phase.PROGRESSING, index=2),
        judgement,
        elapsed_s=HOUR,
        candidate_units=100,
        tripped="failed 3 times in a row",
    )
    assert (after.phase, after.reason) == (Phase.ROLLED_BACK, "failed 3 times in a row")
    assert effects == (Effect.RESTORE_STABLE,)


@pytest.mark.parametrize("judgement", [UNDECIDED, NOT_WORSE, found(Verdict.ERROR)])
def test_a_pause_keeps_weight_and_time_and_nothing_else_moves_it(judgement: Judgement) -> None:
    paused = at(Phase.PAUSED, index=3)
    assert advance(paused, judgement, elapsed_s=9 * 24 * HOUR, candidate_units=99) == (paused, ())
    assert paused.weight == 0.30


@pytest.mark.parametrize("phase", [phase for phase in Phase if not phase.is_live])
def test_nothing_advances_what_is_not_live(phase: Phase) -> None:
    over = at(phase)
    assert advance(over, WORSE, elapsed_s=1.0, candidate_units=5, tripped="late") == (over, ())


@pytest.mark.parametrize("elapsed_s", [-1.0, nan, inf])
def test_time_never_runs_backwards(elapsed_s: float) -> None:
    with pytest.raises(ValueError, match="elapsed_s"):
        advance(at(Phase.PROGRESSING), UNDECIDED, elapsed_s=elapsed_s, candidate_units=0)


def test_units_are_never_lost() -> None:
    second = structs.replace(at(Phase.PROGRESSING, index=2), units_at_step=20)
    with pytest.raises(ValueError, match="20 units"):
        advance(second, UNDECIDED, elapsed_s=1.0, candidate_units=19)


@pytest.mark.parametrize("index", [2, 5])
@pytest.mark.parametrize("judgement", [UNDECIDED, NOT_WORSE])
def test_a_hook_that_blocks_keeps_the_step_and_says_so(index: int, judgement: Judgement) -> None:
    after, effects = advance(
        at(Phase.PROGRESSING, index=index),
        judgement,
        elapsed_s=HOUR,
        candidate_units=100,
        blocked="blocked by a hook",
    )
    assert (after.phase, after.index, effects) == (Phase.PROGRESSING, index, ())
    wants_more = judgement is NOT_WORSE or index < 5
    assert after.reason == ("blocked by a hook" if wants_more else "as arranged")
    assert after.soaked_s == HOUR
