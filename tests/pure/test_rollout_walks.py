"""Whatever happens to a rollout, it stays on its plan."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.pure.rollouts import HOUR, fresh
from tests.pure.test_rollout_verbs import Verb

from arbiter.errors import Conflict
from arbiter.swap.analysis import Judgement, Verdict
from arbiter.swap.plan import CLOCK_STEPS, Over, Plan, Schedule
from arbiter.swap.rollout import Effect, Phase, ValidationVerdict, advance, begin
from arbiter.swap.verbs import abort, pause, promote, resume, step, undo

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
