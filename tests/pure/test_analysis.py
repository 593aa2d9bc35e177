from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from math import exp, inf, log, nan
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbiter.inference import Arm
from arbiter.refs import TaskName
from arbiter.swap.analysis import (
    OTHER,
    Evidence,
    Judgement,
    Rule,
    Unit,
    Verdict,
    fold,
    verdict,
)
from arbiter.swap.tripping import Failure, tripped

CHAT, CODE, MAIL = TaskName("chat"), TaskName("code"), TaskName("mail")
ONE = Rule(tasks=(CHAT,), judge_other=False)
THREE = Rule(tasks=(CHAT, CODE, MAIL), judge_other=False)

units = st.lists(
    st.builds(
        Unit,
        task=st.sampled_from([CHAT, CODE, TaskName("unheard-of")]),
        arm=st.sampled_from([Arm.STABLE, Arm.CANDIDATE]),
        probability=st.sampled_from([0.05, 0.1, 0.2, 0.3, 0.4, 0.5]),
        score=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    ),
    max_size=60,
)


def draw(
    dice: Random, n: int, stable: float, candidate: float, *,
    task: TaskName = CHAT, probability: float = 0.5,
) -> list[Unit]:  # fmt: skip
    """So many conversations, with the chances of a right answer on either arm."""
    drawn = []
    for _ in range(n):
        arm = Arm.CANDIDATE if dice.random() < probability else Arm.STABLE
        right = dice.random() < (candidate if arm is Arm.CANDIDATE else stable)
        drawn.append(Unit(task=task, arm=arm, probability=probability, score=float(right)))
    return drawn


def evidence_of(**means: tuple[float, float]) -> Evidence:
    """400 conversations of each named task, at (stable, candidate) chances."""
    dice, drawn = Random(3), []
    for task, (stable, candidate) in means.items():
        drawn += draw(dice, 400, stable, candidate, task=TaskName(task))
    return fold(drawn, THREE)


def test_no_evidence_is_inconclusive_never_success() -> None:
    nothing = verdict(Evidence(Rule()))
    assert nothing.verdict is Verdict.INCONCLUSIVE
    assert nothing.reason == "Nothing is known yet: no conversation has been graded."
    assert (nothing.ratio, nothing.mean_stable, nothing.mean_candidate) == (None, None, None)
    assert (nothing.e_worse, nothing.e_not_worse) == pytest.approx((1.0, 1.0))
    assert not nothing.hold
    assert nothing.worst_task is None


@pytest.mark.parametrize("arm", [Arm.STABLE, Arm.CANDIDATE])
def test_evidence_about_one_arm_alone_proves_little(arm: Arm) -> None:
    alone = [Unit(task=CHAT, arm=arm, probability=0.5, score=1.0)] * 5
    assert verdict(fold(alone, ONE)).verdict is Verdict.INCONCLUSIVE


def test_a_clearly_worse_candidate_is_worse_with_numbers() -> None:
    found = verdict(fold(draw(Random(1), 400, 0.9, 0.5), ONE))
    assert found.verdict is Verdict.WORSE
    assert found.hold
    assert found.worst_task == CHAT
    assert found.e_worse >= found.needed_worse == 20.0
    assert "The candidate is worse: 0.48 against 0.91 of stable" in found.reason
    assert "of 20" in found.reason


def test_an_equal_candidate_is_proved_not_worse_in_the_end() -> None:
    found = verdict(fold(draw(Random(2), 2000, 0.95, 0.95), ONE))
    assert found.verdict is Verdict.NOT_WORSE
    assert not found.hold
    assert found.reason.startswith("The candidate is not worse by 5%: 0.9")


def test_one_bad_task_is_enough_to_be_worse_and_is_named() -> None:
    found = verdict(evidence_of(chat=(0.9, 0.95), code=(0.9, 0.4), mail=(0.9, 0.9)))
    assert found.verdict is Verdict.WORSE
    assert found.worst_task == CODE
    assert "worse at code (0.44 against 0.88, evidence" in found.reason


def test_a_little_harm_everywhere_adds_up() -> None:
    spread = evidence_of(chat=(0.9, 0.81), code=(0.9, 0.81), mail=(0.9, 0.81))
    alone = max(task.log_worse for task in spread.tasks)
    assert spread.log_worse > alone


def test_harm_within_the_margin_is_not_acted_on() -> None:
    slightly = [
        Unit(task=CHAT, arm=arm, probability=0.5, score=1.0 if n % 100 else wrong)
        for n in range(4000)
        for arm, wrong in ((Arm.STABLE, 1.0), (Arm.CANDIDATE, 0.0))
    ]
    evidence = fold(slightly, ONE)
    assert evidence.tasks[0].e_harm > 1000
    assert evidence.tasks[0].ratio == pytest.approx(0.99, abs=0.001)
    assert verdict(evidence).verdict is Verdict.NOT_WORSE


def test_a_doubtful_task_holds_the_promotion_of_the_whole() -> None:
    dice = Random(6)
    good = draw(dice, 3000, 0.9, 0.95, task=CHAT)
    bad = draw(dice, 60, 0.9, 0.6, task=CODE)
    found = verdict(fold(good + bad, THREE))
    assert found.e_not_worse > 20
    assert found.hold
    assert found.worst_task == CODE
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "Not promoted while in doubt." in found.reason


def test_a_declared_task_in_use_needs_its_own_conversations() -> None:
    dice = Random(6)
    good = draw(dice, 3000, 0.9, 0.95, task=CHAT)
    few = [Unit(task=CODE, arm=Arm.CANDIDATE, probability=0.5, score=1.0)] * 3
    found = verdict(fold(good + few, THREE))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "Still missing: task code has 3 of 8 candidate conversations" in found.reason
    assert verdict(fold(good, THREE)).verdict is Verdict.NOT_WORSE


def test_a_declared_task_below_the_margin_waits() -> None:
    dice = Random(6)
    good = draw(dice, 3000, 0.9, 0.95, task=CHAT)
    pair = ((Arm.STABLE, 1.0), (Arm.CANDIDATE, 0.7))
    low = [
        Unit(task=CODE, arm=arm, probability=0.5, score=score)
        for _ in range(10)
        for arm, score in pair
    ]
    found = verdict(fold(good + low, THREE))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "task code is at 0.8" in found.reason


def test_a_declared_task_without_a_stable_conversation_waits() -> None:
    good = draw(Random(6), 3000, 0.9, 0.95, task=CHAT)
    lonely = [Unit(task=CODE, arm=Arm.CANDIDATE, probability=0.5, score=0.9)] * 8
    assert "task code is at unknown" in verdict(fold(good + lonely, THREE)).reason


def test_undeclared_tasks_share_one_bucket() -> None:
    with_other = replace(THREE, judge_other=True)
    strangers = draw(Random(4), 100, 0.9, 0.2, task=TaskName("one"))
    strangers += draw(Random(5), 100, 0.9, 0.2, task=TaskName("two"))
    found = verdict(fold(strangers, with_other))
    assert found.verdict is Verdict.WORSE
    assert found.worst_task == OTHER
    assert "worse at (other)" in found.reason


def test_undeclared_tasks_that_are_not_judged_count_for_promotion_only() -> None:
    strangers = draw(Random(4), 200, 0.9, 0.2, task=TaskName("one"))
    evidence = fold(strangers, THREE)
    assert [task.n_candidate for task in evidence.tasks] == [0, 0, 0]
    assert verdict(evidence).verdict is Verdict.INCONCLUSIVE
    assert evidence.means.n_new > 0
    assert evidence.log_not_worse < 0


def test_a_plan_without_tasks_judges_everything_as_one() -> None:
    assert Rule(judge_other=False).judged == (OTHER,)
    assert Rule().judged == (OTHER,)
    assert THREE.judged == (CHAT, CODE, MAIL)


def test_more_declared_tasks_ask_for_more_evidence_from_each() -> None:
    drawn = draw(Random(1), 120, 0.9, 0.5)
    five = Rule(tasks=(CHAT, *map(TaskName, "abcd")), judge_other=False)
    alone, among = fold(drawn, ONE), fold(drawn, five)
    assert alone.tasks[0].log_worse == among.tasks[0].log_worse
    assert among.log_worse < alone.log_worse


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_single_task_acts_alone_at_twice_the_tasks_over_alpha(count: int) -> None:
    """The average counts half, so R >= 2 K / alpha is enough, whatever the others say."""
    rule = Rule(tasks=(CHAT, *map(TaskName, "abcd"[: count - 1])), judge_other=False)
    evidence = Evidence(rule)
    for unit in draw(Random(1), 2000, 0.9, 0.3):
        evidence.update(unit)
        if evidence.worst[1] >= log(2 * count / rule.alpha_rollback):
            break
    assert evidence.log_worse >= log(1 / rule.alpha_rollback)


def test_missing_conversations_are_an_error_and_hold() -> None:
    """A candidate whose failures are never graded must not be promoted for its rest."""
    dice = Random(8)
    graded = [
        unit for unit in draw(dice, 3000, 0.9, 0.6) if unit.arm is Arm.STABLE or unit.score == 1.0
    ]
    found = verdict(fold(graded, ONE))
    assert found.verdict is Verdict.ERROR
    assert found.hold
    assert "do not fill as they were drawn" in found.reason


def test_a_worse_candidate_is_worse_even_when_conversations_are_missing() -> None:
    dice = Random(8)
    graded = [unit for unit in draw(dice, 3000, 0.9, 0.3) if unit.arm is Arm.STABLE]
    graded += [Unit(task=CHAT, arm=Arm.CANDIDATE, probability=0.5, score=0.0)] * 200
    assert verdict(fold(graded, ONE)).verdict is Verdict.WORSE


@given(units)
def test_an_increment_and_a_refold_agree_to_the_last_bit(drawn: list[Unit]) -> None:
    rule = Rule(tasks=(CHAT, CODE))
    running = Evidence(rule)
    for number, unit in enumerate(drawn):
        running.update(unit)
        if number % 7 == 0:
            verdict(running)
    again = fold(drawn, rule)
    assert verdict(running) == verdict(again)
    assert running.tasks == again.tasks
    assert (running.log_worse, running.log_not_worse, running.log_missing) == (
        again.log_worse,
        again.log_not_worse,
        again.log_missing,
    )


@given(units)
def test_the_order_in_which_tasks_are_declared_is_irrelevant(drawn: list[Unit]) -> None:
    found = {
        (evidence.log_worse, evidence.log_not_worse, verdict(evidence).verdict)
        for order in permutations((CHAT, CODE, MAIL))
        for evidence in [fold(drawn, Rule(tasks=order))]
    }
    assert len(found) == 1


@given(units)
def test_gates_only_ever_lower_the_evidence_against_the_candidate(drawn: list[Unit]) -> None:
    evidence = fold(drawn, Rule(tasks=(CHAT, CODE)))
    for task in evidence.tasks:
        assert task.e_worse <= (0.8 * task.e_harm + 0.2 * task.e_strict) * (1 + 1e-12)
    whole = [0.8 * task.e_harm + 0.2 * task.e_strict for task in evidence.tasks]
    ungated = (whole[0] * whole[1] * whole[2] + sum(whole) / 3) / 2
    assert exp(evidence.log_worse) <= ungated * (1 + 1e-9)


@given(units)
def test_a_verdict_always_has_a_reason_and_success_never_comes_on_hold(drawn: list[Unit]) -> None:
    found = verdict(fold(drawn, Rule(tasks=(CHAT,))))
    assert found.reason
    if found.verdict is Verdict.NOT_WORSE:
        assert not found.hold
        assert found.e_not_worse >= found.needed_not_worse


@pytest.mark.parametrize(
    ("arm", "probability", "score"),
    [
        (Arm.NONE, 0.5, 1.0),
        (Arm.STABLE, 0.0, 1.0),
        (Arm.STABLE, 1.0, 1.0),
        (Arm.CANDIDATE, 0.5, nan),
        (Arm.CANDIDATE, 0.5, 1.01),
    ],
)
def test_a_unit_that_is_no_evidence_is_refused_without_a_trace(
    arm: Arm, probability: float, score: float
) -> None:
    evidence = Evidence(Rule())
    with pytest.raises(ValueError, match=r"arm|lies in"):
        evidence.update(Unit(task=CHAT, arm=arm, probability=probability, score=score))
    assert verdict(evidence) == verdict(Evidence(Rule()))


@pytest.mark.parametrize(
    "wrong",
    [
        {"tasks": (CHAT, CHAT)},
        {"tasks": (OTHER,)},
        {"tasks": (TaskName(""),)},
        {"alpha_rollback": 0.0},
        {"alpha_promote": 0.6},
        {"alpha_promote": nan},
        {"margin": 0.0},
        {"margin": 0.6},
        {"hold_at": 1.0},
        {"hold_at": inf},
        {"min_task_units": 0},
        {"trip_in_a_row": 0},
        {"trip_window": 4},
    ],
)
def test_a_rule_that_could_not_be_kept_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        replace(Rule(), **wrong)  # type: ignore[arg-type]  # the table mixes kinds on purpose


OK = None
OOM, EMPTY = Failure.OOM, Failure.EMPTY


@pytest.mark.parametrize(
    ("outcomes", "reason"),
    [
        ([], None),
        ([OOM, OOM], None),
        ([OOM, OOM, OK, OOM, OOM], None),
        ([OK] * 500 + [OOM, EMPTY, OOM], "failed 3 times in a row (oom, empty, oom)"),
        ([OOM, OK] * 4 + [OK] * 12 + [OOM, OK] * 50, None),
        ([OOM, OK] * 5, "failed 5 of its first 9 requests"),
        ([OOM, OK] * 4 + [OK] * 11 + [OOM], "failed 5 of its first 20 requests"),
        ([OOM, OOM, OOM] + [OK] * 100, "failed 3 times in a row (oom, oom, oom)"),
    ],
)
def test_a_candidate_that_does_not_answer_trips(
    outcomes: list[Failure | None], reason: str | None
) -> None:
    found = tripped(outcomes, Rule())
    assert found is None if reason is None else found is not None and reason in found


def test_a_large_e_value_is_shown_in_few_digits() -> None:
    found: Judgement = verdict(fold(draw(Random(1), 3000, 0.95, 0.05), ONE))
    assert "evidence over 1000000 of 20" in found.reason


def test_a_task_has_a_verdict_of_its_own_at_its_part_of_alpha() -> None:
    evidence = evidence_of(chat=(0.9, 0.92), code=(0.9, 0.4), mail=(0.9, 0.9))
    found = {one.task: one for one in evidence.tasks}
    assert found[CODE].verdict is Verdict.WORSE
    assert {one.verdict for one in evidence.tasks if one.task != CODE} == {Verdict.INCONCLUSIVE}
    assert found[CODE].needed_worse == len(evidence.tasks) / 0.05
