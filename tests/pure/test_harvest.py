"""Which kept requests become cases: those with a known right answer, each prompt once."""

from __future__ import annotations

import pytest

from arbiter.errors import InvalidField
from arbiter.inference import Message
from arbiter.knowledge.prompts import Answered
from arbiter.knowledge.tasks import Case, Grading, Task
from arbiter.refs import DecisionId, TaskName
from arbiter.swap.harvest import gather

EXACT = Grading(kind="exact")
SCHEMA = Grading(kind="json-schema", options={"schema": {"type": "object"}})
NO_LIMIT = 1000


def case(prompt: str, expected: str | None = None) -> Case:
    return Case(messages=(Message(role="user", content=prompt),), expected=expected)


def task(*cases: Case, grading: Grading | None = EXACT) -> Task:
    return Task(name=TaskName("sums"), grading=grading, cases=cases)


def kept(
    prompt: str,
    *,
    expected: str | None = None,
    answer: str = "4",
    grade: float | None = None,
    judged: float | None = None,
) -> Answered:
    return Answered(
        decision=DecisionId(f"dec of {prompt}"),
        case=case(prompt, expected),
        answer=answer,
        grade=grade,
        judged=judged,
    )


def taken(task_: Task, *found: Answered, limit: int = NO_LIMIT) -> list[tuple[str, str | None]]:
    """The prompts that become cases, with what is expected."""
    new, _ = gather(task_, found, limit=limit)
    return [(one.case.messages[0].content, one.case.expected) for one in new]


def refused(task_: Task, *found: Answered, limit: int = NO_LIMIT) -> list[str]:
    """Why requests do not."""
    _, left = gather(task_, found, limit=limit)
    return [one.why for one in left]


def test_the_right_answer_that_came_along_is_what_is_expected() -> None:
    assert taken(task(), kept("2+2", expected="4", answer="5", grade=0.0)) == [("2+2", "4")]


def test_an_answer_that_a_person_judged_right_is_what_is_expected() -> None:
    assert taken(task(), kept("2+2", answer=" 4\n", judged=1.0)) == [("2+2", "4")]


def test_an_answer_that_a_person_judged_otherwise_is_not() -> None:
    assert refused(task(), kept("2+2", judged=0.9, grade=1.0)) == [
        "a person did not judge the answer right"
    ]


def test_an_answer_that_nobody_judged_is_not() -> None:
    assert refused(task(), kept("2+2")) == ["nobody judged the answer, and no right one came along"]


def test_a_rule_that_needs_no_expected_answer_takes_the_prompt_alone() -> None:
    found = kept("a person as JSON", answer="{}", grade=1.0)
    assert taken(task(grading=SCHEMA), found) == [("a person as JSON", None)]


@pytest.mark.parametrize("kind", ["contains", "regex"])
def test_a_whole_answer_is_no_part_of_one_and_no_pattern(kind: str) -> None:
    assert refused(task(grading=Grading(kind=kind)), kept("2+2", judged=1.0)) == [
        f"a whole answer is not what {kind} compares with"
    ]


def test_an_expected_answer_that_the_grader_cannot_use_is_left_out_with_its_words() -> None:
    grading = Grading(kind="choice", options={"labels": ["yes", "no"]})
    assert refused(task(grading=grading), kept("well?", expected="perhaps")) == [
        "the expected answer is none of yes, no."
    ]


def test_a_prompt_that_is_a_case_already_is_left_out_whatever_is_expected() -> None:
    assert refused(task(case("2+2", "4")), kept("2+2", expected="5")) == [
        "a case with this prompt is there already"
    ]


def test_a_prompt_that_was_asked_twice_becomes_one_case_of_the_newest() -> None:
    found = kept("2+2", expected="4"), kept("2+2", expected="5")
    assert taken(task(), *found) == [("2+2", "4")]


def test_no_more_are_taken_than_were_asked_for() -> None:
    found = kept("1+1", expected="2"), kept("2+2", expected="4")
    assert taken(task(), *found, limit=1) == [("1+1", "2")]
    assert refused(task(), *found, limit=1) == ["1 others were newer"]


def test_a_task_without_a_grader_takes_none_and_says_what_to_do() -> None:
    with pytest.raises(InvalidField, match=r"arbiter tasks add sums --grader KIND"):
        gather(task(grading=None), (), limit=1)
