"""What people are told when a verb cannot be done, and what a verb begins anew."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec import structs

from arbiter.errors import Conflict
from arbiter.refs import ModelName, RolloutId, VersionId
from arbiter.swap.metrics import Guard, Mode
from arbiter.swap.plan import Apart, Plan
from arbiter.swap.rollout import Phase, Rollout, Taken
from arbiter.swap.verbs import abort, pause, promote, resume, retry, step, undo

OFF = Guard(mode=Mode.OFF, margin=0.1)
IN_WINDOWS = Plan(
    apart=Apart.SLICES, slice_s=900.0, shadow=0.0, holdback=0.0, reliability=OFF, latency=OFF
)
AGAIN = RolloutId("rol_" + "1" * 26)


def at(phase: Phase, *, index: int = 1, plan: Plan | None = None) -> Rollout:
    return Rollout(
        id=RolloutId("rol_" + "0" * 26),
        alias=ModelName("house"),
        stable=VersionId("sha256:" + "a" * 64),
        candidate=VersionId("sha256:" + "b" * 64),
        plan=plan or Plan(),
        salt="pepper",
        phase=phase,
        index=index,
        reason="as arranged",
    )


def again(
    rollout: Rollout, who: str = "ann", why: str = "", *, is_proved_worse: bool = False
) -> Rollout:
    return retry(rollout, who, why, anew=AGAIN, candidate_units=9, is_proved_worse=is_proved_worse)


def second_step(rollout: Rollout, who: str, why: str) -> Taken:
    return step(rollout, who, why, to=2, candidate_units=0)


def retried(rollout: Rollout, who: str, why: str) -> Taken:
    return again(rollout, who, why), ()


def refused(do: Callable[[], object]) -> str:
    with pytest.raises(Conflict) as found:
        do()
    return str(found.value)


@pytest.mark.parametrize(
    ("verb", "done", "phase", "where"),
    [
        (pause, "paused", Phase.VALIDATING, "progressing or paused"),
        (resume, "resumed", Phase.VALIDATING, "paused"),
        (second_step, "stepped", Phase.VALIDATING, "progressing"),
        (promote, "promoted", Phase.VALIDATING, "progressing or paused"),
        (undo, "undone", Phase.VALIDATING, "promoted"),
        (retried, "retried", Phase.VALIDATING, "rolled back or aborted or blocked"),
    ],
)
def test_a_refusal_says_what_cannot_be_done_and_where_it_can(
    verb: Callable[[Rollout, str, str], Taken], done: str, phase: Phase, where: str
) -> None:
    assert refused(lambda: verb(at(phase), "ann", "")) == (
        f"This rollout is {phase.value} and cannot be {done}. Only one that is {where} can be."
    )


def test_what_is_over_is_not_aborted_and_a_new_one_is_the_way_on() -> None:
    assert refused(lambda: abort(at(Phase.ROLLED_BACK), "ann", "")) == (
        "This rollout is rolled back and cannot be aborted. Only one that is validating or"
        " progressing or paused can be. Start a new rollout instead."
    )


def test_who_names_a_step_too_far_is_told_the_next_one() -> None:
    told = refused(lambda: step(at(Phase.PROGRESSING), "ann", "", to=4, candidate_units=0))
    assert told == ("This rollout is at step 1, and takes one step at a time. The next one is 2.")


def test_beyond_the_last_step_there_is_only_promotion_and_its_command_is_told() -> None:
    last = at(Phase.PROGRESSING, index=len(Plan().ladder) - 1)
    told = refused(lambda: step(last, "ann", "", to=len(Plan().ladder), candidate_units=0))
    assert told == (
        "This rollout is at its last step. To go further is to promote it:"
        f" arbiter rollouts promote {last.id}."
    )


def test_a_step_without_a_reason_says_who_took_it() -> None:
    taken, _ = step(at(Phase.PROGRESSING), "ann", "", to=2, candidate_units=0)
    assert taken.reason == "stepped by ann"


def test_one_that_ran_out_of_time_has_all_of_it_again() -> None:
    spent = structs.replace(at(Phase.PAUSED), total_s=Plan().expiry_s)
    resumed, _ = resume(spent, "ann", "")
    assert resumed.total_s == 0.0
    going, _ = resume(structs.replace(spent, total_s=5.0), "ann", "")
    assert going.total_s == 5.0


def test_a_retry_answers_nobody_anew_and_keeps_no_time_of_the_old_one() -> None:
    old = structs.replace(at(Phase.ABORTED, index=2), soaked_s=7.0, total_s=9.0, shadow_only=True)
    new = again(old)
    assert (new.soaked_s, new.total_s, new.shadow_only) == (0.0, 0.0, False)
    assert new.reason == "retried by ann"


def test_a_retry_of_a_rollout_in_windows_begins_at_the_next_whole_window() -> None:
    plan = IN_WINDOWS
    assert (
        again(structs.replace(at(Phase.ABORTED, plan=plan), sliced_s=1_000.0)).sliced_s == 1_800.0
    )
    assert again(structs.replace(at(Phase.ABORTED, plan=plan), sliced_s=900.0)).sliced_s == 1_800.0
    assert again(at(Phase.ABORTED, plan=plan)).sliced_s == 0.0


def test_a_candidate_proved_worse_is_refused_with_what_would_be_another_question() -> None:
    assert refused(lambda: again(at(Phase.ROLLED_BACK), is_proved_worse=True)) == (
        "The candidate of this rollout is proved to be worse, and a retry goes on with that."
        " Only another version is another question."
    )
