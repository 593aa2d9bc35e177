"""Whether a candidate may replace a stable version: three answers, each on evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

import pytest

from arbiter.refs import TaskName
from arbiter.swap.compatibility import ERRORS, quality
from arbiter.swap.findings import Compatibility, Finding
from arbiter.swap.rollout import ValidationVerdict
from arbiter.swap.validation import CaseResult

SUMS = TaskName("sums")
PASS, UNPROVEN, BLOCK = (
    ValidationVerdict.PASS,
    ValidationVerdict.UNPROVEN,
    ValidationVerdict.BLOCK,
)


def results(scores: Sequence[float], *, first: int = 0) -> tuple[CaseResult, ...]:
    return tuple(
        CaseResult(case_digest=f"case {number}", score=score, success=True, latency_ms=1.0)
        for number, score in enumerate(scores, start=first)
    )


def judged(old: Sequence[float], new: Sequence[float]) -> Finding:
    (found,) = quality({SUMS: results(old)}, {SUMS: results(new)})
    return found


def compared(tasks: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> dict[str, Finding]:
    """Findings by task, that on all together as ``all``; every task has cases of its own."""
    old, new = (
        {
            TaskName(task): results(pair[side], first=1000 * number)
            for number, (task, pair) in enumerate(tasks.items())
        }
        for side in (0, 1)
    )
    return {one.task or "all": one for one in quality(old, new)}


# -- one task


def test_a_candidate_that_fails_what_the_old_one_could_is_blocked() -> None:
    found = judged([1.0] * 20, [0.0] * 20)
    assert found.verdict is BLOCK
    assert found.sentence.startswith("sums: 0.00 against 1.00 on 20 cases; evidence ")
    assert found.sentence.endswith(" of 20 that it keeps less than 90%.")


def test_a_candidate_that_does_all_the_old_one_could_not_passes() -> None:
    found = judged([0.0] * 20, [1.0] * 20)
    assert found.verdict is PASS
    assert found.sentence == "sums: 1.00 against 0.00 on 20 cases; it keeps at least 90%."


def test_an_equal_candidate_on_few_cases_is_unproven() -> None:
    found = judged([1.0, 0.0] * 5, [1.0, 0.0] * 5)
    assert found.verdict is UNPROVEN
    assert found.sentence == (
        "sums: 0.50 against 0.50 on 10 cases; too few cases to prove that it keeps 90%."
    )


def test_an_equal_candidate_on_many_cases_passes() -> None:
    assert judged([1.0] * 100, [1.0] * 100).verdict is PASS


def test_41_cases_that_both_get_right_pass_and_one_fewer_does_not() -> None:
    assert judged([1.0] * 41, [1.0] * 41).verdict is PASS
    assert judged([1.0] * 40, [1.0] * 40).verdict is UNPROVEN


def test_a_finding_names_its_task_whatever_it_says() -> None:
    for new in ([0.0] * 60, [1.0] * 60, [1.0, 0.0] * 30):
        found = judged([1.0] * 60, new)
        assert (found.task, found.about) == (SUMS, "quality")


def test_cases_are_compared_pair_by_pair() -> None:
    old = results([1.0] * 20)
    new = tuple(reversed(results([0.0] * 20))) + results([1.0] * 50, first=1000)
    (found,) = quality({SUMS: old}, {SUMS: new})
    assert found.verdict is BLOCK
    assert "on 20 cases" in found.sentence


def test_the_order_of_the_cases_changes_no_bit_of_the_evidence() -> None:
    dice = Random(3)
    old = [float(dice.random() < 0.8) for _ in range(40)]
    new = [dice.random() for _ in range(40)]
    mixed = list(range(40))
    dice.shuffle(mixed)
    again = judged([old[i] for i in mixed], [new[i] for i in mixed])
    assert judged(old, new).sentence == again.sentence


def test_without_a_case_that_both_were_run_on_nothing_is_proven() -> None:
    (found,) = quality({SUMS: results([1.0] * 20)}, {SUMS: results([0.0] * 20, first=100)})
    assert found.verdict is UNPROVEN
    assert found.sentence == "sums: no case was run on both versions."


def test_overwhelming_evidence_is_told_as_such() -> None:
    assert "evidence over 1000000 of 20" in judged([1.0] * 200, [0.0] * 200).sentence


# -- several tasks

SAME = ([1.0, 0.0] * 10, [1.0, 0.0] * 10)


def test_one_task_alone_takes_as_much_evidence_as_half_the_average_of_all() -> None:
    found = compared({"sums": ([1.0] * 20, [0.0] * 20), "tales": SAME, "verse": SAME})
    assert [one.verdict for one in found.values()] == [BLOCK, UNPROVEN, UNPROVEN, BLOCK]
    assert found["sums"].sentence.endswith(" of 120 that it keeps less than 90%.")
    assert found["all"].sentence.startswith("All 3 tasks together: evidence ")
    assert found["all"].sentence.endswith(" of 20 that it keeps less than 90% somewhere.")


def test_losses_that_are_small_on_every_task_block_together() -> None:
    losses = ([1.0] * 10, [1.0] * 5 + [0.0] * 5)
    found = compared(dict.fromkeys(("a", "b", "c", "d"), losses))
    assert {one.verdict for task, one in found.items() if task != "all"} == {UNPROVEN}
    assert found["all"].verdict is BLOCK


def test_a_case_that_two_tasks_have_is_evidence_once() -> None:
    old, new = results([1.0] * 10), results([1.0] * 5 + [0.0] * 5)
    tasks = [TaskName(task) for task in ("a", "b", "c", "d")]
    *_, together = quality(dict.fromkeys(tasks, old), dict.fromkeys(tasks, new))
    assert together.verdict is UNPROVEN


def test_all_tasks_together_pass_when_each_of_them_does() -> None:
    fine = ([1.0] * 60, [1.0] * 60)
    found = compared({"sums": fine, "tales": fine})
    assert {one.verdict for one in found.values()} == {PASS}
    assert compared({"sums": fine, "tales": SAME})["all"].verdict is UNPROVEN


def test_half_the_product_and_half_the_average_of_the_tasks_is_the_evidence_together() -> None:
    """Evidence of 5.37 and 8.87 by hand, from 4 and from 5 cases: (47.6 + 7.1) / 2 = 27."""
    found = compared({"sums": ([1.0] * 4, [0.0] * 4), "tales": ([1.0] * 5, [0.0] * 5)})
    assert found["all"].verdict is BLOCK
    assert "together: evidence 27 of 20" in found["all"].sentence
    fewer = compared({"sums": ([1.0] * 4, [0.0] * 4), "tales": ([1.0] * 4, [0.0] * 4)})
    assert fewer["all"].verdict is UNPROVEN
    assert fewer["all"].sentence == (
        "All 2 tasks together: evidence 17 of 20 that it keeps less than 90% somewhere."
    )


def test_a_task_that_the_candidate_was_not_run_on_is_unproven() -> None:
    (found,) = quality({SUMS: results([1.0])}, {})
    assert (found.verdict, found.task, found.about) == (UNPROVEN, SUMS, "quality")


def test_a_task_that_only_the_candidate_was_run_on_is_not_compared() -> None:
    found = quality({SUMS: results([1.0])}, {SUMS: results([1.0]), TaskName("new"): results([0.0])})
    assert [one.task for one in found] == [SUMS]


def test_without_graded_cases_nothing_is_known_before_traffic() -> None:
    (found,) = quality({}, {})
    assert (found.verdict, found.task) == (UNPROVEN, None)
    assert found.sentence == "No task has graded cases: nothing is known before traffic."


def test_the_errors_are_stated() -> None:
    assert ERRORS == (
        "Of candidates that keep 90% of the success on every task at most 5% are blocked by these "
        "cases; of those that do not keep it on some task at most 5% pass."
    )


# -- what findings come to


def finding(verdict: ValidationVerdict, sentence: str, *, is_warning: bool = False) -> Finding:
    return Finding(about="memory", verdict=verdict, sentence=sentence, is_warning=is_warning)


def test_one_thing_that_blocks_blocks_and_is_the_reason() -> None:
    found = Compatibility(
        findings=(finding(BLOCK, "One."), finding(PASS, "Two."), finding(BLOCK, "Three."))
    )
    assert (found.advice, found.reason) == (BLOCK, "Blocked by validation: One. Three.")


def test_one_thing_that_is_not_proven_makes_it_unproven() -> None:
    found = Compatibility(findings=(finding(PASS, "One."), finding(UNPROVEN, "Two.")))
    assert found.advice is UNPROVEN
    assert found.reason == "Validation found nothing against it, but too little for a proof."


def test_a_warning_passes_and_is_seen() -> None:
    warned = finding(PASS, "One.", is_warning=True)
    found = Compatibility(findings=(warned, finding(PASS, "Two.")))
    assert (found.advice, found.reason) == (PASS, "Validation passed on every task.")
    assert [one.word for one in found.findings] == ["warn", "pass"]


@pytest.mark.parametrize("verdict", [UNPROVEN, BLOCK])
def test_only_what_passes_warns(verdict: ValidationVerdict) -> None:
    with pytest.raises(ValueError, match="passes"):
        finding(verdict, "One.", is_warning=True)


@pytest.mark.parametrize("is_warning", [True, False])
@pytest.mark.parametrize("task", [SUMS, None])
def test_a_finding_is_read_back_as_it_was_written(task: TaskName | None, is_warning: bool) -> None:
    found = Finding(about="x", verdict=PASS, sentence="So.", task=task, is_warning=is_warning)
    assert Finding.from_dict(found.to_dict()) == found
