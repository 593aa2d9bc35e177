"""A rollout in sentences: evidence in words, what is to go, and what would end it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from msgspec import structs
from tests.pure.records_of_rollouts import PLAN, begun, run

from arbiter.refs import TaskName
from arbiter.swap.analysis import Judgement, TaskEvidence, Verdict, verdict
from arbiter.swap.course import POINTS, course
from arbiter.swap.evidence_rows import Record, unit_of
from arbiter.swap.plan import Apart
from arbiter.swap.rollout import Phase
from arbiter.swap.shadow import Agreement
from arbiter.swap.telling import (
    Outlook,
    explain,
    in_words,
    lasting,
    of_interval,
    of_pairs,
    outlook,
    to_go,
    worse_tasks,
)
from arbiter.swap.verbs import pause

ROLLOUT = structs.replace(begun().track.rollout, soaked_s=5.0, total_s=5.0)
NOTHING = Judgement(verdict=Verdict.INCONCLUSIVE, reason="Nothing is known yet.")


def judged(**changes: float) -> Judgement:
    return structs.replace(NOTHING, **changes)


def test_evidence_is_told_next_to_what_it_takes() -> None:
    worse, not_worse = in_words(judged(e_worse=3.2, e_not_worse=1e9, needed_not_worse=100.0))
    assert worse == "The evidence that it is worse is 3.2 of the 20 that it takes."
    assert not_worse == (
        "The evidence that it is not worse is over 1000000 of the 100 that it takes."
    )


@pytest.mark.parametrize(
    ("ends", "told"),
    [
        (None, "not known yet"),
        ((-1.0, 1.0), "not known yet"),
        ((-0.2, -0.05), "between 20.0 points worse and 5.0 points worse"),
        ((0.3, 0.2), "no single value fits"),
    ],
)
def test_an_interval_is_told_or_said_to_be_unknown(
    ends: tuple[float, float] | None, told: str
) -> None:
    assert told in of_interval(ends)


def test_what_cannot_be_guessed_is_unknown_and_not_zero() -> None:
    found = outlook(ROLLOUT, NOTHING)
    assert (found.step_units, found.step_s) == (PLAN.min_units, None)
    assert (found.toward, found.units, found.seconds) == (None, None, None)
    assert found.asks_s == PLAN.expiry_s - 5.0
    assert "cannot be told yet" in " ".join(to_go(found))


def test_the_next_step_is_guessed_from_the_pace_of_this_one() -> None:
    # 4 of 10 in 5 s, so 6 more take 7.5 s; the soak would be over in 5
    found = outlook(ROLLOUT, judged(n_candidate=4, n_stable=36))
    assert (found.step_units, found.step_s) == (6, 7.5)
    assert "by estimate: about 8 s and 6 graded candidate conversations" in to_go(found)[0]
    full = outlook(ROLLOUT, judged(n_candidate=12, n_stable=36))
    assert (full.step_units, full.step_s) == (0, 5.0)
    assert to_go(full)[0] == "To the next step, by estimate: about 5 s."


def test_no_step_is_promised_while_it_is_held_or_at_the_last_one() -> None:
    held = structs.replace(NOTHING, hold=True)
    last = structs.replace(ROLLOUT, index=len(PLAN.steps))
    assert outlook(ROLLOUT, held).step_units is None
    assert outlook(last, NOTHING).step_units is None


def test_a_verdict_is_guessed_from_how_fast_evidence_grew() -> None:
    # sqrt(20) after 40 conversations: as many again
    found = outlook(ROLLOUT, judged(n_candidate=4, n_stable=36, e_worse=20.0**0.5))
    assert (found.toward, found.units) == ("rollback", 40)
    assert found.seconds == pytest.approx(40 * 0.1 / (4 / 5.0))
    good = outlook(ROLLOUT, judged(n_candidate=4, n_stable=36, e_not_worse=20.0**0.5))
    assert good.toward == "promotion"
    assert good.seconds == pytest.approx(5.0 + PLAN.soak_s)  # a second step has to be soaked
    assert "To a promotion, by estimate, if it goes on like this: 40" in " ".join(to_go(good))


def test_nothing_is_promised_while_it_is_paused_or_over() -> None:
    paused, _ = pause(ROLLOUT, "ada", "lunch")
    assert outlook(paused, NOTHING) == Outlook()
    assert to_go(Outlook()) == ()


def of_task(name: str, log_worse: float) -> TaskEvidence:
    return TaskEvidence(
        task=TaskName(name),
        n_stable=9,
        n_candidate=9,
        mean_stable=0.9,
        mean_candidate=None,
        ratio=None,
        e_harm=1.0,
        e_strict=1.0,
        e_not_worse=1.0,
        log_worse=log_worse,
        needed_worse=40.0,
    )


def test_the_tasks_that_are_worse_are_named_by_e_bh() -> None:
    # 2 tasks at .05: one needs 40, two need 20 each
    assert worse_tasks([of_task("sum", 3.1), of_task("code", 0.0)], PLAN) == ()
    assert worse_tasks([of_task("sum", 3.1), of_task("code", 3.0)], PLAN) == ("sum", "code")


def test_everything_is_explained_and_the_log_is_told_with_who_and_why() -> None:
    driven = run(0.7, 0.97)
    rollout, evidence = driven.track.rollout, driven.track.evidence
    told = explain(
        rollout,
        verdict(evidence),
        tasks=evidence.tasks,
        log=driven.log,
        interval=driven.track.gap.get(),
    )
    assert len(told.happened) == len(driven.log)
    assert "by operator" in told.happened[0]
    assert "It is promoted" in told.now[0]
    assert PLAN.digest in " ".join(told.plan)
    assert "known to be worse at no task" in told.tasks[-1]
    assert "arbiter swap primary --undo" in told.would_end_it[0]
    assert any("however often it is looked at" in line for line in told.meaning)


def test_of_a_plan_that_shares_no_traffic_no_steps_are_told() -> None:
    rollout = structs.replace(ROLLOUT, plan=replace(PLAN, apart=Apart.REPLAY), phase=Phase.PROMOTED)
    told = explain(rollout, NOTHING, tasks=(), log=(), interval=None)
    assert told.plan[0] == (
        "No traffic is shared: the graded cases alone promote it, or nothing does."
    )
    assert len(told.plan) == 2


@pytest.mark.parametrize("phase", list(Phase))
def test_what_would_end_it_is_told_in_every_phase(phase: Phase) -> None:
    rollout = structs.replace(ROLLOUT, phase=phase)
    told = explain(rollout, NOTHING, tasks=[of_task("sum", 0.0)], log=(), interval=None)
    assert told.would_end_it
    assert ("arbiter rollouts resume" in " ".join(told.would_end_it)) is (phase is Phase.PAUSED)
    assert "unknown against 0.90" in told.tasks[0]


def test_a_course_ends_with_the_last_conversation_and_agrees_with_the_verdict() -> None:
    driven = run(0.7, 0.97)
    units = [unit for unit in map(unit_of, driven.rows) if unit is not None]
    points = course(units, PLAN)
    assert len(points) <= POINTS + 1
    last, evidence = points[-1], driven.track.evidence
    assert (last.units, last.n_candidate) == (len(units), evidence.means.n_new)
    assert (last.log_worse, last.log_not_worse) == (evidence.log_worse, evidence.log_not_worse)
    assert (last.low, last.high) == driven.track.gap.get()
    assert [point.weight for point in points] == sorted(point.weight for point in points)
    assert course([], PLAN) == ()


def test_a_long_course_is_thinned_and_keeps_its_end() -> None:
    units = [unit for unit in map(unit_of, run(0.9, 0.88, most=1_500).rows) if unit is not None]
    points = course(units, PLAN)
    assert POINTS / 2 < len(points) <= POINTS
    assert points[-1].units == len(units)


def test_durations_are_told_in_their_two_largest_units() -> None:
    assert [lasting(s) for s in (0.2, 61.0, 90_061.0)] == ["0 s", "1 min 1 s", "1 d 1 h"]


def test_pairs_are_told_with_what_they_say_alone_and_how_many_wait() -> None:
    assert of_pairs(Agreement()) == ()
    found = Agreement(both=8, only_stable=1, only_candidate=2, neither=3, interval=(-0.1, 0.2))
    assert of_pairs(found, 4) == (
        "Of 14 asked of both: both right 8, only stable 1, only candidate 2, neither 3.",
        f"By those alone: {of_interval((-0.1, 0.2))}",
        "4 more wait until nobody is being served.",
    )


def test_a_pace_counts_what_the_candidate_is_asked_beside_its_own_share() -> None:
    paired = structs.replace(ROLLOUT, plan=replace(PLAN, shadow=0.5))
    counts = {"n_candidate": 40, "n_stable": 200, "e_not_worse": 4.0}
    alone = outlook(paired, judged(**counts))
    beside = outlook(paired, judged(**counts, n_pairs=30))
    assert alone.units == beside.units
    assert alone.seconds is not None
    assert beside.seconds is not None
    assert beside.seconds > alone.seconds


def test_who_is_only_asked_is_told_so_and_until_when() -> None:
    asked = structs.replace(ROLLOUT, index=0, shadow_only=True)
    told = explain(asked, NOTHING, tasks=(), log=(), interval=None)
    assert told.now[1] == (
        "It answers nobody yet: it is only asked beside the stable version until 10 pairs are made,"
        " or 10 s have passed."
    )
    over = structs.replace(asked, phase=Phase.ABORTED)
    assert "only asked" not in " ".join(explain(over, NOTHING, tasks=(), log=(), interval=None).now)


@pytest.mark.parametrize(
    ("share", "told"),
    [
        (0.0, "No conversation is asked of both versions."),
        (0.25, "25% of conversations that a rule can grade are asked of both versions"),
    ],
)
def test_the_plan_says_how_many_are_asked_of_both(share: float, told: str) -> None:
    rollout = structs.replace(ROLLOUT, plan=replace(PLAN, shadow=share))
    plan = explain(rollout, NOTHING, tasks=(), log=(), interval=None).plan
    assert any(line.startswith(told) for line in plan)


def test_a_course_goes_on_over_pairs() -> None:
    driven = run(0.7, 0.97, plan=replace(PLAN, shadow=0.4))
    record = driven.recorded.record
    points = course(record.evidence, PLAN)
    assert points[-1].units == len(record.pairs) + sum(row[5] is not None for row in record.units)
    assert points[-1].log_not_worse == driven.track.evidence.log_not_worse
    only_pairs = course(Record(pairs=record.pairs).evidence, PLAN)
    assert (only_pairs[0].low, only_pairs[0].high, only_pairs[0].weight) == (-1.0, 1.0, 0.0)
