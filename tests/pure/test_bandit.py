"""The learner's table: what scores say of a version at a task, and of its kin."""

from __future__ import annotations

import json
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbiter.refs import TaskName, VersionId
from arbiter.selection.bandit import Table

TASKS = [TaskName(name) for name in ("sums", "code", "chat")]
VERSIONS = [VersionId(name) for name in ("a", "b", "c", "d")]
SUMS, CODE, CHAT = TASKS
A, B, C, D = VERSIONS

Scored = tuple[TaskName, VersionId, float]
scores = st.lists(
    st.tuples(st.sampled_from(TASKS), st.sampled_from(VERSIONS), st.sampled_from([0.0, 0.3, 1.0])),
    max_size=40,
)


def learned(told: list[Scored], *, fading: bool = False) -> Table:
    table = Table(half_life=300.0 if fading else None, watchful=fading)
    for task, version, score in told:
        table.update(task, version, score)
    return table


def many(table: Table, task: TaskName, version: VersionId, *, good: int, bad: int) -> None:
    for score in [1.0] * good + [0.0] * bad:
        table.update(task, version, score)


def test_nothing_is_known_of_an_empty_table() -> None:
    belief = Table().get(SUMS, A)
    assert (round(belief.mean, 9), belief.samples) == (0.5, 0.0)
    assert belief.deviation > 0.2


def test_a_cell_with_many_scores_is_believed_to_be_what_they_say() -> None:
    table = learned([(SUMS, A, score) for score in [1.0, 1.0, 1.0, 0.0] * 100])
    assert table.get(SUMS, A).mean == pytest.approx(0.75, abs=0.01)
    assert table.get(SUMS, A).samples == 400


def test_a_version_that_is_good_elsewhere_is_expected_to_be_good_here() -> None:
    table = Table()
    for task in (SUMS, CODE):
        many(table, task, A, good=18, bad=2)
        many(table, task, B, good=2, bad=18)
    many(table, CHAT, C, good=5, bad=5)
    assert table.get(CHAT, A).mean > table.get(CHAT, B).mean + 0.1


def test_a_new_version_is_expected_to_find_hard_what_others_find_hard() -> None:
    table = Table()
    for version in (A, B, C):
        many(table, SUMS, version, good=19, bad=1)
        many(table, CODE, version, good=1, bad=19)
    assert table.get(SUMS, D).mean > table.get(CODE, D).mean + 0.3


def test_a_fine_task_borrows_from_its_parent_until_it_has_scores_of_its_own() -> None:
    fine = TaskName("code.review")
    table = Table()
    table.relate(predecessors={}, parents={fine: CODE})
    many(table, CODE, A, good=2, bad=38)
    many(table, CODE, B, good=38, bad=2)
    many(table, SUMS, A, good=38, bad=2)
    many(table, SUMS, B, good=38, bad=2)
    assert table.get(fine, A).mean + 0.2 < table.get(fine, B).mean
    many(table, fine, A, good=60, bad=0)
    many(table, fine, B, good=0, bad=60)
    assert table.get(fine, A).mean > table.get(fine, B).mean + 0.5


def test_what_a_parent_learns_later_reaches_a_child_that_was_looked_at_before() -> None:
    fine = TaskName("code.review")
    early, late = Table(), Table()
    for table in (early, late):
        table.relate(predecessors={}, parents={fine: CODE})
        table.update(SUMS, A, 0.5)
    early.get(fine, B)
    for table in (early, late):
        many(table, CODE, B, good=200, bad=0)
    assert early.get(fine, B) == late.get(fine, B)


def test_tasks_that_are_above_each_other_are_no_family() -> None:
    table = Table()
    table.relate(predecessors={}, parents={SUMS: CODE, CODE: SUMS})
    many(table, SUMS, A, good=3, bad=3)
    assert 0.0 < table.get(CODE, A).mean < 1.0


def test_a_successor_starts_where_its_predecessor_was_and_less_sure() -> None:
    table = Table()
    many(table, SUMS, A, good=80, bad=20)
    many(table, SUMS, C, good=30, bad=70)
    table.relate(predecessors={B: A}, parents={})
    old, new = table.get(SUMS, A), table.get(SUMS, B)
    assert abs(new.mean - old.mean) < abs(table.get(SUMS, D).mean - old.mean)
    assert new.deviation > 2 * old.deviation


def test_a_successor_whose_scores_contradict_its_predecessor_is_believed_instead() -> None:
    heir, stranger = Table(), Table()
    for table in (heir, stranger):
        many(table, SUMS, A, good=90, bad=10)
        many(table, SUMS, B, good=0, bad=15)
    heir.relate(predecessors={B: A}, parents={})
    assert heir.get(SUMS, B).mean == pytest.approx(stranger.get(SUMS, B).mean, abs=0.1)


def test_a_version_that_silently_got_worse_is_taken_at_what_it_is_now() -> None:
    table, dice = Table(), Random(5)
    for _ in range(300):
        table.update(SUMS, A, float(dice.random() < 0.85))
    fell = [table.update(SUMS, A, float(dice.random() < 0.45)) for _ in range(60)]
    assert sum(fall is not None for fall in fell) == 1
    assert table.get(SUMS, A).mean < 0.6


def test_a_general_loss_is_noticed_at_tasks_with_too_few_scores_to_tell() -> None:
    table, dice = Table(), Random(6)
    tasks = [TaskName(f"task-{number}") for number in range(10)]
    for number in range(400):
        table.update(tasks[number % 10], A, float(dice.random() < 0.85))
    for number in range(50):
        table.update(tasks[number % 9], A, float(dice.random() < 0.3))
    assert table.get(tasks[9], A).mean < 0.6


def test_a_version_that_fell_at_one_task_is_watched_more_closely_at_the_others() -> None:
    """Bad answers at one task among good ones at another: only the test of that task tells."""

    def noticed(table: Table, task: TaskName) -> int:
        for number in range(20):
            if table.update(task, A, 0.0):
                return number
            many(table, CHAT, A, good=3, bad=0)
        return 20

    table = Table()
    for _ in range(8):
        for task in TASKS:
            many(table, task, A, good=8, bad=2)
    assert noticed(table, SUMS) > noticed(table, CODE)


def test_luck_that_ends_in_the_first_scores_is_no_fall() -> None:
    table = Table()
    many(table, SUMS, A, good=8, bad=0)
    assert not any(table.update(SUMS, A, 0.0) for _ in range(8))


@settings(max_examples=25, deadline=None)
@given(scores)
def test_the_order_in_which_versions_are_asked_for_changes_nothing(told: list[Scored]) -> None:
    table = learned(told, fading=True)
    forward = {v: table.get(SUMS, v) for v in VERSIONS}
    other = learned(told, fading=True)
    assert {v: other.get(SUMS, v) for v in reversed(VERSIONS)} == forward


@settings(max_examples=25, deadline=None)
@given(scores, st.permutations(VERSIONS))
def test_names_do_not_matter(told: list[Scored], other: list[VersionId]) -> None:
    renamed = dict(zip(VERSIONS, other, strict=True))
    plain = learned(told, fading=True)
    masked = learned([(t, renamed[v], s) for t, v, s in told], fading=True)
    for version in VERSIONS:
        assert masked.get(SUMS, renamed[version]).mean == pytest.approx(
            plain.get(SUMS, version).mean, abs=1e-9
        )


@settings(max_examples=25, deadline=None)
@given(scores, scores)
def test_merged_states_are_the_state_of_merged_evidence(
    one: list[Scored], other: list[Scored]
) -> None:
    merged = learned(one)
    merged.merge(learned(other))
    whole = learned(one + other)
    whole.settle()
    for task in TASKS:
        for version in VERSIONS:
            assert merged.get(task, version).mean == pytest.approx(
                whole.get(task, version).mean, abs=1e-3
            )
            assert merged.get(task, version).samples == whole.get(task, version).samples


@settings(max_examples=25, deadline=None)
@given(scores)
def test_a_state_that_was_kept_is_the_state_again(told: list[Scored]) -> None:
    table = learned(told, fading=True)
    again = Table.from_state(json.loads(json.dumps(table.to_state())))
    table.settle()
    for version in VERSIONS:
        assert again.get(SUMS, version).mean == pytest.approx(
            table.get(SUMS, version).mean, abs=1e-3
        )


def test_more_of_the_same_evidence_never_widens_a_belief() -> None:
    table, widths = Table(), []
    for _ in range(30):
        for score in (1.0, 1.0, 0.0):
            table.update(SUMS, A, score)
        low, high = table.get(SUMS, A).interval()
        widths.append(high - low)
    assert widths == sorted(widths, reverse=True)


def test_scores_of_unknown_order_count_and_can_be_taken_away_again() -> None:
    table = Table(watchful=False)
    table.add(SUMS, A, count=20, total=15.0)
    high = table.get(SUMS, A).mean
    table.add(SUMS, A, count=0, total=-10.0)
    assert high > 0.65 > table.get(SUMS, A).mean
    table.add(SUMS, A, count=-20, total=-5.0)
    assert table.get(SUMS, A).samples == 0.0


@pytest.mark.parametrize("score", [-0.1, 1.1, float("nan")])
def test_what_is_no_score_is_refused(score: float) -> None:
    with pytest.raises(ValueError, match=r"a score lies in \[0, 1\]"):
        Table().update(SUMS, A, score)


@pytest.mark.parametrize(
    "state",
    [{}, {"format": 2}, {"format": 1, "cells": 3, "tasks": [], "versions": []},
     {"format": 1, "cells": [["sums", "a", 1]], "tasks": [], "versions": []}],
)  # fmt: skip
def test_what_is_no_state_is_refused(state: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="state"):
        Table.from_state(state)
