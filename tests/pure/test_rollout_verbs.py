"""What a person says to a rollout, and a rollout tried again."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec import structs
from tests.pure.rollouts import at

from arbiter.errors import Conflict
from arbiter.refs import RolloutId
from arbiter.swap.rollout import Effect, Phase, Rollout, Taken
from arbiter.swap.verbs import abort, pause, promote, resume, retry, step, undo

Verb = Callable[[Rollout, str, str], Taken]
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
