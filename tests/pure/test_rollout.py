from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from arbiter.errors import Conflict
from arbiter.inference import Arm
from arbiter.refs import ModelName, RolloutId, TaskName, VersionId
from arbiter.swap.analysis import Judgement, Verdict
from arbiter.swap.findings import first_share
from arbiter.swap.metrics import Guard, Mode
from arbiter.swap.plan import CLOCK_STEPS, Apart, Over, Plan, Schedule
from arbiter.swap.rollout import (
    Effect,
    Phase,
    Rollout,
    Taken,
    ValidationVerdict,
    advance,
    assign,
    begin,
)
from arbiter.swap.verbs import abort, pause, promote, resume, retry, step, undo

STABLE = VersionId("sha256:" + "a" * 64)
CANDIDATE = VersionId("sha256:" + "b" * 64)
HOUR = 3600.0

Verb = Callable[[Rollout, str, str], Taken]


def fresh(plan: Plan | None = None) -> Rollout:
    return Rollout(
        id=RolloutId("rol_" + "0" * 26),
        alias=ModelName("house"),
        stable=STABLE,
        candidate=CANDIDATE,
        plan=plan or Plan(),
        salt="pepper",
    )


def at(phase: Phase, *, index: int = 1, plan: Plan | None = None) -> Rollout:
    return structs.replace(fresh(plan), phase=phase, index=index, reason="as arranged")


def found(verdict: Verdict, *, hold: bool = False) -> Judgement:
    return Judgement(verdict=verdict, reason=f"found {verdict}", hold=hold)


UNDECIDED = found(Verdict.INCONCLUSIVE)
NOT_WORSE = found(Verdict.NOT_WORSE)
WORSE = found(Verdict.WORSE)


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


LIVE = (Phase.PROGRESSING, Phase.PAUSED)
VERBS: tuple[tuple[Verb, tuple[Phase, ...], Phase, tuple[Effect, ...]], ...] = (
    (pause, (Phase.PROGRESSING,), Phase.PAUSED, ()),
    (resume, (Phase.PAUSED,), Phase.PROGRESSING, (Effect.SET_WEIGHT,)),
    (promote, LIVE, Phase.PROMOTED, (Effect.MOVE_ALIAS,)),
    (abort, (Phase.VALIDATING, *LIVE), Phase.ABORTED, (Effect.RESTORE_STABLE,)),
    (undo, (Phase.PROMOTED,), Phase.UNDONE, (Effect.RESTORE_STABLE,)),
)


@pytest.mark.parametrize(("verb", "sources", "target", "effects"), VERBS)
def test_a_verb_says_who_and_why_and_saying_it_twice_changes_nothing(
    verb: Verb, sources: tuple[Phase, ...], target: Phase, effects: tuple[Effect, ...]
) -> None:
    for source in sources:
        after, asked = verb(at(source, index=2), "ann", "because")
        assert (after.phase, asked) == (target, effects)
        assert after.reason.endswith("by ann: because")
        assert verb(after, "bob", "again") == (after, ())


@pytest.mark.parametrize(("verb", "sources", "target", "effects"), VERBS)
def test_a_verb_from_anywhere_else_is_a_conflict(
    verb: Verb, sources: tuple[Phase, ...], target: Phase, effects: tuple[Effect, ...]
) -> None:
    del effects
    for phase in Phase:
        if phase not in {*sources, target}:
            with pytest.raises(Conflict) as raised:
                verb(at(phase), "ann", "because")
            assert phase.replace("_", " ") in raised.value.message
            assert (raised.value.hint or "").endswith(
                "Start a new rollout instead." if phase.is_final else "can be."
            )


def test_a_verb_without_a_reason_still_says_who() -> None:
    assert pause(at(Phase.PROGRESSING), "ann", "")[0].reason == "paused by ann"


LADDERS = (
    Plan(),
    Plan(over_budget=Over.ABORT, shadow=0.0),
    Plan(schedule=Schedule.CLOCK, steps=CLOCK_STEPS, soak_s=60.0),
)

evidence_comes = st.tuples(
    st.builds(
        Judgement,
        verdict=st.sampled_from(Verdict),
        reason=st.just("seen"),
        hold=st.booleans(),
        n_candidate=st.integers(0, 500),
        mean_stable=st.sampled_from([None, 0.5, 1.0]),
        mean_candidate=st.sampled_from([None, 0.5, 1.0]),
    ),
    st.sampled_from([0.0, 60.0, HOUR, 24 * HOUR]),
    st.integers(0, 40),
    st.sampled_from([None, None, None, "tripped"]),
    st.sampled_from([None, None, None, "A: gone"]),
    st.sampled_from([None, None, None, "a hook says no"]),
)
"""A judgement, the time since the last one, new units, and what a trip, a server and a hook say."""

a_person_says = st.sampled_from([pause, resume, promote, abort, undo, *range(12)])
"""A verb; a number is the step that it is to take."""


@given(
    st.lists(st.one_of(evidence_comes, a_person_says), max_size=40),
    st.sampled_from(ValidationVerdict),
    st.sampled_from(LADDERS),
)
def test_whatever_happens_the_rollout_stays_on_its_plan(
    taken: list[tuple[Judgement, float, int, str | None, str | None, str | None] | Verb | int],
    validation: ValidationVerdict,
    plan: Plan,
) -> None:
    rollout, _ = begin(fresh(plan), validation, "")
    units = 0
    for what in taken:
        before = rollout
        blocked: str | None = None
        if isinstance(what, tuple):
            judgement, elapsed_s, more, tripped, absent, blocked = what
            units += more
            rollout, effects = advance(
                before,
                judgement,
                elapsed_s=elapsed_s,
                candidate_units=units,
                tripped=tripped,
                absent=absent,
                blocked=blocked,
            )
            if judgement.verdict is Verdict.WORSE and absent is None and not before.is_waiting:
                assert not rollout.phase.is_live  # whatever else is going on
        else:
            try:
                if isinstance(what, int):
                    rollout, effects = step(before, "ann", "", to=what, candidate_units=units)
                    assert step(rollout, "bob", "", to=what, candidate_units=units) == (rollout, ())
                else:
                    rollout, effects = what(before, "ann", "")
                    assert what(rollout, "bob", "") == (rollout, ())
            except Conflict:
                continue
        assert rollout.weight in {0.0, *rollout.plan.ladder}
        assert rollout.index - before.index in {0, 1}
        assert blocked is None or rollout.index == before.index
        assert (rollout.weight > 0.0) is (rollout.phase.is_live and not rollout.shadow_only)
        assert before.shadow_only or not rollout.shadow_only  # what has answered goes on answering
        assert blocked is None or rollout.shadow_only is before.shadow_only
        assert rollout.index == 0 or not rollout.shadow_only
        assert bool(effects) or rollout.phase in {before.phase, Phase.PAUSED}
        assert (Effect.MOVE_ALIAS in effects) is (
            rollout.phase is Phase.PROMOTED is not before.phase
        )
        assert blocked is None or Effect.MOVE_ALIAS not in effects
        if before.phase.is_final and rollout.phase is not before.phase:
            assert (before.phase, rollout.phase) == (Phase.PROMOTED, Phase.UNDONE)


def test_a_person_may_take_the_next_step_early_and_only_that_one() -> None:
    second, effects = step(at(Phase.PROGRESSING), "ann", "quiet", to=2, candidate_units=7)
    assert (second.index, second.units_at_step, effects) == (2, 7, (Effect.SET_WEIGHT,))
    assert second.reason == "stepped by ann: quiet"
    assert step(second, "bob", "", to=2, candidate_units=9) == (second, ())
    with pytest.raises(Conflict, match="one step at a time"):
        step(second, "ann", "", to=4, candidate_units=9)
    with pytest.raises(Conflict, match="last step"):
        step(at(Phase.PROGRESSING, index=5), "ann", "", to=6, candidate_units=9)
    with pytest.raises(Conflict, match="paused"):
        step(at(Phase.PAUSED), "ann", "", to=2, candidate_units=9)


AGAIN = RolloutId("rol_" + "1" * 26)


@pytest.mark.parametrize("phase", [Phase.ROLLED_BACK, Phase.ABORTED, Phase.BLOCKED])
def test_a_retry_is_a_new_rollout_that_goes_on_with_the_evidence(phase: Phase) -> None:
    old = structs.replace(at(phase, index=3), soaked_s=5.0, total_s=9.0, budgets=2)
    new = retry(old, "ann", "more memory", anew=AGAIN, candidate_units=31, is_proved_worse=False)
    assert (new.id, new.continues, new.phase) == (AGAIN, old.id, Phase.VALIDATING)
    assert (new.plan, new.salt) == (old.plan, old.salt)
    assert (new.index, new.units_at_step, new.total_s, new.budgets) == (0, 31, 0.0, 1)
    assert new.reason == "retried by ann: more memory"


def test_what_was_proved_worse_is_not_tried_until_it_looks_better() -> None:
    with pytest.raises(Conflict, match="proved to be worse"):
        retry(at(Phase.ROLLED_BACK), "ann", "", anew=AGAIN, candidate_units=9, is_proved_worse=True)


@pytest.mark.parametrize(
    "phase", [Phase.VALIDATING, Phase.PROGRESSING, Phase.PAUSED, Phase.PROMOTED, Phase.UNDONE]
)
def test_only_what_ended_without_a_promotion_is_retried(phase: Phase) -> None:
    with pytest.raises(Conflict):
        retry(at(phase), "ann", "", anew=AGAIN, candidate_units=0, is_proved_worse=False)


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


def test_the_chances_of_critical_metrics_add_up() -> None:
    both = replace(
        Plan(),
        reliability=replace(Plan().reliability, mode=Mode.CRITICAL),
        latency=replace(Plan().latency, mode=Mode.CRITICAL),
    )
    assert both.alpha_any_rollback == pytest.approx(0.07)
    assert replace(both, quality=Mode.DRY_RUN).alpha_any_rollback == pytest.approx(0.02)


@given(st.integers().map(str), st.floats(0, 1), st.floats(0, 1))
def test_a_conversation_keeps_its_arm_and_only_ever_moves_to_the_candidate(
    conversation: str, one: float, other: float
) -> None:
    low, high = sorted((one, other))
    assert assign("s", conversation, low) is assign("s", conversation, low)
    if assign("s", conversation, low) is Arm.CANDIDATE:
        assert assign("s", conversation, high) is Arm.CANDIDATE
    assert assign("s", conversation, 0.0) is Arm.STABLE
    assert assign("s", conversation, 1.0) is Arm.CANDIDATE


@pytest.mark.parametrize("weight", [0.05, 0.3, 0.5])
def test_arms_fill_as_the_weight_says(weight: float) -> None:
    drawn = [assign("salt", str(n), weight) for n in range(4000)]
    share = drawn.count(Arm.CANDIDATE) / 4000
    assert share == pytest.approx(weight, abs=4 * (weight * (1 - weight) / 4000) ** 0.5)


def test_another_rollout_draws_other_conversations() -> None:
    one = [assign("one", str(n), 0.5) for n in range(400)]
    other = [assign("other", str(n), 0.5) for n in range(400)]
    assert 140 < sum(a is b for a, b in zip(one, other, strict=True)) < 260


def test_an_arm_is_the_same_on_every_machine() -> None:
    """Sticky means sticky: another hash would move conversations in the middle of a rollout."""
    drawn = [assign("salt", name, 0.5).value for name in ("a", "b", "c", "é\ud800")]
    assert drawn == ["stable", "candidate", "stable", "stable"]


@pytest.mark.parametrize("weight", [-0.1, 1.1, nan])
def test_a_weight_is_a_share(weight: float) -> None:
    with pytest.raises(ValueError, match="weight"):
        assign("s", "c", weight)


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": []},
        {"steps": [0.2, 0.1]},
        {"steps": [0.1, 0.1]},
        {"steps": [0.0, 0.1]},
        {"steps": [0.1, 0.6]},
        {"steps": [0.1, "much"]},
        {"unproven_first_step": 0.2},
        {"soak_s": -1},
        {"soak_s": nan},
        {"keep_s": inf},
        {"expiry_s": 60},
        {"expiry_s": inf},
        {"min_units": 0},
        {"min_units": 2.5},
        {"min_steps": 0},
        {"min_steps": 6},
        {"margin": 0.9},
        {"tasks": ["chat", "chat"]},
        {"speed": 9},
        {"budget": 0},
        {"budget": inf},
        {"over_budget": "hope"},
        {"schedule": "hope"},
        {"schedule": "clock", "steps": [0.5, 1.0]},
        {"quality": "dry_run"},
        {"quality": "off", "latency": {"mode": "critical", "margin": 0.2}},
        {"latency": {"margin": 0.0}},
        {"latency": {"margin": 0.2, "alpha_rollback": 0.0}},
        {"latency": {"margin": 0.2, "speed": 9.0}},
    ],
)
def test_a_plan_that_could_not_be_kept_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"\w{3}"):
        Plan.from_dict(wrong)


def test_a_plan_survives_being_written_down() -> None:
    plan = Plan(tasks=(TaskName("chat"), TaskName("code")), steps=(0.1, 0.5), soak_s=60)
    again = Plan.from_dict(json.loads(json.dumps(plan.to_dict())))
    assert again == plan
    assert again.digest == plan.digest


def test_every_field_of_a_plan_is_part_of_its_digest() -> None:
    other = {
        "tasks": ["chat"], "judge_other": False, "alpha_rollback": 0.01, "alpha_promote": 0.01,
        "margin": 0.1, "hold_at": 4.0, "min_task_units": 9, "trip_in_a_row": 4,
        "trip_failures": 6, "trip_window": 21, "schedule": "clock", "steps": [0.1],
        "unproven_first_step": 0.01, "soak_s": 1.0, "min_units": 21, "min_steps": 1,
        "expiry_s": 9e5, "keep_s": 1.0,
        "holdback": 0.1, "alpha_drift": 0.01, "on_drift": "ask",
        "budget": None, "over_budget": "abort",
        "judge_share": 0.1, "judge_within_s": 1.0, "shadow": 0.1,
        "quality": "dry_run", "reliability": {"mode": "off", "margin": 0.02},
        "latency": {"margin": 0.1}, "apart": "replay", "slice_s": 60.0,
    }  # fmt: skip
    assert list(other) == list(Plan().to_dict())
    del other["slice_s"]
    assert replace(SLICED, slice_s=60.0).digest != SLICED.digest
    base = {"min_steps": 2, "reliability": {"mode": "critical", "margin": 0.02}}
    other["steps"] = [0.1, 0.2]
    digests = {Plan.from_dict({**base, name: value}).digest for name, value in other.items()}
    assert len(digests) == len(other)


@pytest.mark.parametrize(
    "wrong",
    [
        {"candidate": STABLE},
        {"index": 6},
        {"index": -1},
        {"soaked_s": -1.0},
        {"total_s": nan},
        {"sliced_s": nan},
        {"units_at_step": -1},
    ],
)
def test_a_rollout_that_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        structs.replace(fresh(), **wrong)


def test_nothing_gets_traffic_before_validation() -> None:
    assert fresh().weight == 0.0


def away(rollout: Rollout, why: str | None = "A: gone", **more: object) -> Taken:
    given = {"elapsed_s": HOUR, "candidate_units": 100, "absent": why, **more}
    return advance(rollout, NOT_WORSE, **given)  # type: ignore[arg-type]  # the tests' own words


@pytest.mark.parametrize("tripped", [None, "it failed"])
def test_while_a_version_is_away_it_waits_and_takes_no_step(tripped: str | None) -> None:
    before = at(Phase.PROGRESSING, index=2)
    waiting, effects = away(before, tripped=tripped)
    assert (waiting.phase, waiting.reason, effects) == (Phase.PAUSED, "waiting: A: gone", ())
    assert away(waiting, "B: gone") == (waiting, ())
    assert (waiting.index, waiting.soaked_s, waiting.weight) == (2, 0.0, before.weight)


def test_it_goes_on_by_itself_where_it_was_when_both_are_back() -> None:
    waiting, _ = away(at(Phase.PROGRESSING, index=2))
    on, effects = away(waiting, None)
    assert (on.phase, on.index, effects) == (Phase.PROGRESSING, 2, (Effect.SET_WEIGHT,))


def test_what_a_person_paused_stays_paused_when_a_server_comes_back() -> None:
    waiting, _ = away(at(Phase.PROGRESSING))
    for paused in (at(Phase.PROGRESSING), waiting):
        said, _ = pause(paused, "ada", "waiting: for the weekend")
        assert away(said) == (said, ())
        assert away(said, None)[0].phase is Phase.PAUSED


def test_a_rollout_that_waits_can_be_ended_by_a_person() -> None:
    waiting, _ = away(at(Phase.PROGRESSING))
    assert abort(waiting, "ada", "")[0].phase is Phase.ABORTED
    assert promote(waiting, "ada", "")[0].phase is Phase.PROMOTED
