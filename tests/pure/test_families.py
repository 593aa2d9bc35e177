"""Tasks above tasks: which lines of them can be, and what comes down a line."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbiter.errors import InvalidField
from arbiter.inference import Limits
from arbiter.knowledge.families import DEEPEST, check_family, line
from arbiter.knowledge.tasks import Case, Grading, Task, Weights, in_force
from arbiter.refs import GENERAL, TaskName

CODE, REVIEW, TESTS = TaskName("code"), TaskName("code.review"), TaskName("code.tests")
EXACT, NUMBER = Grading(kind="exact"), Grading(kind="number")


def names(letters: str) -> list[TaskName]:
    return [TaskName(letter) for letter in letters]


def a_line(letters: str) -> dict[TaskName, TaskName]:
    """Parents that make one line of these, the finest first."""
    found = names(letters)
    return dict(pairwise(found))


def test_a_line_goes_from_the_task_to_the_top() -> None:
    assert line(TaskName("c"), a_line("cba")) == ("c", "b", "a")
    assert line(TaskName("a"), a_line("cba")) == ("a",)


def test_a_line_in_a_ring_ends() -> None:
    assert line(TaskName("a"), a_line("aba")) == ("a", "b")


def test_families_that_can_be_pass() -> None:
    check_family({REVIEW: CODE, TESTS: CODE}, {CODE, REVIEW, TESTS})
    check_family(a_line("dcba"), set(names("abcd")))


def test_the_general_task_may_be_a_parent_though_nobody_added_it() -> None:
    check_family({CODE: GENERAL}, {CODE})


REFUSED: list[tuple[dict[TaskName, TaskName], str]] = [
    ({CODE: CODE}, r"Task code cannot be its own parent\. Name another task with --parent"),
    ({REVIEW: CODE}, r"parent of task code\.review is not there: code\. .* arbiter tasks add code"),
    ({**a_line("cb"), TaskName("b"): CODE}, "parent of task b is not there: code"),
    (a_line("aba"), r"above each other: a -> b -> a\. Add one of them without --parent"),
    (a_line("zaba"), "above each other"),
    (a_line("edcba"), r"Task e would stand 5 levels deep: e -> d -> c -> b -> a\. 4 levels"),
    ({GENERAL: CODE}, "general is the task of every request that names none; it has no parent"),
    ({GENERAL: GENERAL}, "it has no parent"),
]


@pytest.mark.parametrize(("parents", "why"), REFUSED)
def test_families_that_cannot_be_are_refused_with_what_to_do(
    parents: dict[TaskName, TaskName], why: str
) -> None:
    known = set(names("abcdez")) | {REVIEW, GENERAL}
    if CODE in parents:
        known.add(CODE)
    with pytest.raises(InvalidField, match=why) as caught:
        check_family(parents, known)
    assert caught.value.param == "parent"


SOME = st.sampled_from(names("abcdef"))


@given(st.dictionaries(SOME, SOME))
def test_what_passes_has_a_top_within_reach_of_every_task(
    parents: dict[TaskName, TaskName],
) -> None:
    try:
        check_family(parents, set(names("abcdef")))
    except InvalidField:
        return
    for name in parents:
        chain = line(name, parents)
        assert len(chain) <= DEEPEST
        assert chain[-1] not in parents


def test_a_task_without_a_parent_counts_as_it_is() -> None:
    task = Task(name=CODE, grading=EXACT)
    assert in_force([task])[CODE] is task


def test_demands_add_up_down_the_line_and_none_gets_looser() -> None:
    top = Task(name=CODE, limits=Limits(needs=frozenset({"tools"}), threshold=0.7))
    fine = Task(name=REVIEW, parent=CODE, limits=Limits(needs=frozenset({"vision"}), threshold=0.5))
    assert in_force([fine, top])[REVIEW].limits == Limits(
        needs=frozenset({"tools", "vision"}), threshold=0.7
    )


def test_the_nearest_grader_and_weights_count() -> None:
    fast = Weights(quality=0, latency=1, memory=0, reliability=0)
    top = Task(name=TaskName("a"), grading=EXACT, weights=fast)
    middle = Task(name=TaskName("b"), parent=top.name, grading=NUMBER)
    found = in_force([top, middle, Task(name=CODE, parent=middle.name)])[CODE]
    assert (found.grading, found.weights) == (NUMBER, fast)


def test_cases_are_a_tasks_own() -> None:
    cases = (Case(messages=(), expected="2"),)
    found = in_force([Task(name=CODE, grading=EXACT, cases=cases), Task(name=REVIEW, parent=CODE)])
    assert found[REVIEW].cases == ()


def test_what_the_general_task_demands_comes_down_to_its_children() -> None:
    general = Task(name=GENERAL, limits=Limits(max_latency_ms=500))
    child, other = Task(name=CODE, parent=GENERAL), Task(name=TESTS)
    found = in_force([child, general, other])
    assert found[CODE].limits == general.limits
    assert found[TESTS].limits == Limits()
    assert in_force([child])[CODE] == child


def test_a_parent_is_part_of_what_was_decided_and_none_is_no_part_of_it() -> None:
    task = Task(name=REVIEW)
    assert "parent" not in task.spec()
    assert replace(task, parent=CODE).digest != task.digest
