"""Pairs: who is drawn for one, in which order they count, and that no conversation counts twice."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from tests.pure.records_of_rollouts import PLAN, TASKS, fresh

from arbiter.inference import Arm
from arbiter.refs import DecisionId, parse_task
from arbiter.swap.analysis import Evidence, Unit
from arbiter.swap.assignment import Assignment
from arbiter.swap.budget import overspent
from arbiter.swap.evidence_rows import Record, pair_row, unit_row
from arbiter.swap.metrics import judge
from arbiter.swap.pairing import MOST_OPEN
from arbiter.swap.plan import Plan
from arbiter.swap.rollout import Phase, assign
from arbiter.swap.shadow import Agreeing, Pair, PairRow, is_drawn
from arbiter.swap.traffic import Track


def track(shadow: float = 0.5, record: Record | None = None) -> Track:
    rollout = structs.replace(fresh(replace(PLAN, shadow=shadow)), phase=Phase.PROGRESSING, index=3)
    return Track(rollout) if record is None else Track(rollout, record)


def drawn(of: Track, number: int, *, may: bool = True) -> Assignment:
    found = of.draw(str(number), may_pair=lambda: may)
    assert found is not None
    return found


def served(of: Track, assignment: Assignment, score: float | None) -> None:
    _, stored = of.ended(assignment, task=TASKS[0], decision=DecisionId("dec"), score=score)
    assert stored is not None
    stored(True)


def complete(of: Track, assignment: Assignment, *, durable: bool = True) -> None:
    _, stored = of.paired(
        assignment, task=TASKS[0], decision=DecisionId("dec"), served=1.0, other=0.0
    )
    if stored is not None:
        stored(durable)


def test_the_coin_of_a_pair_keeps_its_share_in_either_arm() -> None:
    units = [f"{number}" for number in range(20_000)]
    arms = {unit: assign("salt", unit, 0.3) for unit in units}
    for arm in (Arm.STABLE, Arm.CANDIDATE):
        of_arm = [unit for unit in units if arms[unit] is arm]
        share = sum(is_drawn("salt", unit, 0.2) for unit in of_arm) / len(of_arm)
        assert share == pytest.approx(0.2, abs=0.01)


@given(st.text(), st.floats(0, 1), st.floats(0, 1))
def test_who_is_drawn_stays_drawn_when_the_share_rises(unit: str, low: float, high: float) -> None:
    low, high = min(low, high), max(low, high)
    assert is_drawn("salt", unit, high) or not is_drawn("salt", unit, low)


def test_only_the_first_request_of_a_conversation_may_be_a_pair() -> None:
    of = track(1.0)
    assert drawn(of, 1).is_paired
    assert not drawn(of, 1).is_paired


def test_a_request_that_no_rule_can_grade_for_both_is_a_unit() -> None:
    assert not drawn(track(1.0), 1, may=False).is_paired


def test_nothing_is_drawn_where_the_plan_wants_no_pairs() -> None:
    of = track(0.0)
    assert not any(drawn(of, number).is_paired for number in range(50))


def test_while_as_many_pairs_are_open_as_may_be_every_conversation_is_a_unit() -> None:
    of = track(1.0)
    first = [drawn(of, number) for number in range(MOST_OPEN)]
    assert all(one.is_paired for one in first)
    assert not drawn(of, 99).is_paired
    of.unpaired(first[3])
    assert not drawn(of, 100).is_paired  # it holds its place until those before it are settled
    of.unpaired(first[0])
    assert drawn(of, 101).is_paired


def test_a_conversation_of_a_pair_is_no_unit_and_its_answer_counts_once() -> None:
    of = track(1.0)
    one = drawn(of, 1)
    served(of, one, 1.0)
    assert (of.evidence.means.n_old, of.evidence.means.n_new) == (0, 0)
    complete(of, one)
    assert of.evidence.n_pairs == 1
    assert (of.evidence.means.n_old, of.evidence.means.n_new) == (1, 1)


def test_the_served_score_is_that_of_its_arm() -> None:
    of = track(1.0)
    arms = {}
    for number in range(12):
        one = drawn(of, number)
        rows, _ = of.paired(one, task=TASKS[0], decision=DecisionId("dec"), served=1.0, other=0.25)
        old, new = rows[0].parameters[-2:]
        arms[one.arm] = (old, new)
    assert arms == {Arm.STABLE: (1.0, 0.25), Arm.CANDIDATE: (0.25, 1.0)}


def test_pairs_count_in_the_order_of_assignment_however_late_they_are() -> None:
    of = track(1.0)
    late, early, last = (drawn(of, number) for number in range(3))
    complete(of, early)
    assert of.evidence.n_pairs == 0
    assert of.pairing.until == 0
    complete(of, late)
    assert of.evidence.n_pairs == 2
    of.unpaired(last)
    assert of.pairing.until == 3
    assert of.evidence.n_pairs == 2


def test_a_pair_that_the_disk_lost_counts_for_nothing_and_holds_nobody_back() -> None:
    of = track(1.0)
    lost, kept = drawn(of, 1), drawn(of, 2)
    complete(of, lost, durable=False)
    complete(of, kept)
    assert of.evidence.n_pairs == 1


def test_a_pair_counts_once_however_often_it_is_told() -> None:
    of = track(1.0)
    one = drawn(of, 1)
    complete(of, one)
    complete(of, one)
    of.unpaired(one)
    assert of.evidence.n_pairs == 1


def test_what_was_open_before_a_rollout_was_taken_up_anew_is_no_pair_after_it() -> None:
    of = track(1.0)
    before = drawn(of, 1)
    of.take_up(Record())
    complete(of, before)
    of.unpaired(before)
    assert of.evidence.n_pairs == 0
    assert of.pairing.open == 0


def driven(seed: int, *, shadow: float = 0.4, most: int = 300) -> tuple[Track, Record]:
    """A track after some traffic, in which pairs are late, and what is on disk of it."""
    dice, of = Random(seed), track(shadow)
    units, pairs = [], []
    waiting: list[tuple[Assignment, float, float]] = []
    for number in range(most):
        one = drawn(of, number)
        right = {arm: float(dice.random() < 0.7) for arm in (Arm.STABLE, Arm.CANDIDATE)}
        other = Arm.STABLE if one.arm is Arm.CANDIDATE else Arm.CANDIDATE
        rows, stored = of.ended(
            one, task=TASKS[number % 2], decision=DecisionId("dec"), score=right[one.arm]
        )
        assert stored is not None
        told = rows[0].parameters
        units.append(unit_row((*told[1:6], *told[7:])))
        stored(True)
        if one.is_paired:
            waiting.append((one, right[one.arm], right[other]))
        if waiting and dice.random() < 0.5:
            first, mine, theirs = waiting.pop(0)
            rows, stored = of.paired(
                first, task=TASKS[0], decision=DecisionId("dec"), served=mine, other=theirs
            )
            assert stored is not None
            told = rows[0].parameters
            pairs.append(pair_row((*told[1:6], *told[7:])))
            stored(True)
    return of, Record(units=units, pairs=pairs)


@pytest.mark.parametrize("seed", range(8))
def test_the_rows_fold_to_the_same_bits_again(seed: int) -> None:
    before, record = driven(seed)
    after = track(0.4, record)
    assert after.evidence.n_pairs == before.evidence.n_pairs > 0
    assert after.basis() == before.basis()
    assert after.evidence.tasks == before.evidence.tasks
    assert after.gap.get() == before.gap.get()
    assert after.pairing.agreeing.get() == before.pairing.agreeing.get()
    assert after.judgement() == before.judgement()


@pytest.mark.parametrize("seed", range(4))
def test_no_conversation_is_in_both_tests(seed: int) -> None:
    of, record = driven(seed)
    scored = {row[1] for row in record.units if row[5] is not None}
    paired = {row.unit for row in record.pairs}
    assert scored
    assert paired
    assert not scored & paired
    assert of.evidence.means.n_old + of.evidence.means.n_new == len(scored) + 2 * len(paired)


def test_a_position_that_was_given_to_a_pair_is_not_given_again() -> None:
    row = PairRow(position=7, unit="u", task="sum", arm="stable", share=0.5, old=1.0, new=1.0)
    of = track(0.5, Record(pairs=(row,)))
    assert drawn(of, 1).position == 8


def test_while_a_candidate_is_only_asked_there_are_pairs_and_no_units() -> None:
    asking = structs.replace(
        fresh(replace(PLAN, shadow=0.5)), phase=Phase.PROGRESSING, shadow_only=True
    )
    of = Track(asking)
    drawn_ = [drawn(of, number) for number in range(30)]
    assert {one.arm for one in drawn_} == {Arm.STABLE}
    assert {one.probability for one in drawn_} == {0.0}
    rows = [
        of.ended(one, task=TASKS[0], decision=DecisionId("dec"), score=1.0)[0] for one in drawn_
    ]
    assert not any(rows)
    for one in drawn_:
        if one.is_paired:
            complete(of, one)
    assert of.evidence.n_pairs == sum(one.is_paired for one in drawn_) > 0
    assert of.basis().until == 30
    of.rollout = structs.replace(asking, shadow_only=False, index=1)
    assert drawn(of, 3).position is None  # it began before there were two arms
    assert drawn(of, 99).position == 30


def test_a_pair_from_before_there_were_two_arms_is_no_unit_after_a_restart() -> None:
    asking = structs.replace(
        fresh(replace(PLAN, shadow=1.0)), phase=Phase.PROGRESSING, shadow_only=True
    )
    of = Track(asking)
    one = drawn(of, 1)
    rows, _ = of.paired(one, task=TASKS[0], decision=DecisionId("dec"), served=1.0, other=1.0)
    told = rows[0].parameters
    row = pair_row((*told[1:6], *told[7:]))
    again = Track(structs.replace(asking, shadow_only=False, index=1), Record(pairs=(row,)))
    assert drawn(again, 1).position is None


def test_units_count_after_a_restart_behind_a_pair_that_was_the_last_row() -> None:
    row = PairRow(position=7, unit="u", task="sum", arm="stable", share=0.5, old=1.0, new=1.0)
    of = track(0.0, Record(pairs=(row,)))
    served(of, drawn(of, 1), 1.0)
    assert of.evidence.means.n_old + of.evidence.means.n_new == 3


def test_a_position_that_a_change_counted_on_is_not_given_again() -> None:
    of = track(0.0, Record(given=10))
    one = drawn(of, 1)
    assert one.position == 10
    served(of, one, 1.0)
    assert of.basis().until == 11


def test_pairs_and_units_multiply() -> None:
    rule = Plan(tasks=TASKS)
    units, pairs, both = Evidence(rule), Evidence(rule), Evidence(rule)
    for number in range(60):
        arm = Arm.CANDIDATE if number % 2 else Arm.STABLE
        unit = Unit(task=TASKS[0], arm=arm, probability=0.5, score=float(number % 5 > 0))
        pair = Pair(task=TASKS[0], served=arm, old=1.0, new=float(number % 7 > 0))
        units.update(unit)
        pairs.pair(pair)
        both.update(unit)
        both.pair(pair)
    assert both.log_not_worse == pytest.approx(units.log_not_worse + pairs.log_not_worse)
    assert both.tasks[0].e_harm == pytest.approx(units.tasks[0].e_harm * pairs.tasks[0].e_harm)
    assert pairs.log_missing == 0.0


def test_a_pair_of_a_task_that_is_not_judged_counts_for_a_promotion_alone() -> None:
    evidence = Evidence(Plan(tasks=TASKS, judge_other=False))
    evidence.pair(Pair(task=parse_task("other"), served=Arm.STABLE, old=1.0, new=0.0))
    assert evidence.means.n_new == 1
    assert evidence.log_worse == pytest.approx(0.0)
    assert evidence.log_not_worse < 0.0


def test_a_request_of_which_nobody_says_that_it_may_makes_no_pair() -> None:
    found = track(1.0).draw("1")
    assert found is not None
    assert not found.is_paired


def test_answers_that_nobody_was_given_cost_nothing() -> None:
    evidence = Evidence(Plan(tasks=TASKS))
    for number in range(300):
        arm = Arm.CANDIDATE if number % 10 == 0 else Arm.STABLE
        evidence.pair(Pair(task=TASKS[0], served=arm, old=1.0, new=0.0))
    found = judge(evidence, Plan().metrics)
    assert found.n_unserved == 270
    assert overspent(found, 29.0) is not None
    assert overspent(found, 30.0) is None


def test_agreement_is_counted_by_what_is_right() -> None:
    agreeing = Agreeing()
    assert agreeing.get().interval is None
    for old, new in ((1.0, 1.0), (0.5, 0.4), (0.2, 0.9), (0.0, 0.0), (0.1, 0.0)):
        agreeing.update(Pair(task=TASKS[0], served=Arm.STABLE, old=old, new=new))
    found = agreeing.get()
    assert (found.both, found.only_stable, found.only_candidate, found.neither) == (1, 1, 1, 2)
    assert found.pairs == 5
    assert found.interval is not None
    assert found.interval[0] < 0.0 < found.interval[1]
