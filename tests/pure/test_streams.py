"""The scores of a cell by their source."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbiter.knowledge.scores import CASES, GRADES, Source
from arbiter.refs import TaskName, VersionId
from arbiter.selection.bandit import Table
from arbiter.selection.streams import Stream, counted

SUMS, CODE = TaskName("sums"), TaskName("code")
A, B = VersionId("a"), VersionId("b")
ANN: Source = ("ann", "person")
EVE: Source = ("eve", "person")


def at_most_five(said: Mapping[Source, float], house: float) -> Mapping[Source, float]:
    """Nobody may add more than five scores, or a tenth of what the house has."""
    most = max(5.0, 0.1 * house)
    return {source: min(1.0, most / max(1.0, amount)) for source, amount in said.items()}


def test_what_the_house_measured_counts_in_full_whatever_callers_are_worth() -> None:
    found = counted({GRADES: 7.0, CASES: 3.0, ANN: 50.0}, at_most_five)
    assert found == {GRADES: 1.0, CASES: 1.0, ANN: 0.1}


def test_ten_thousand_scores_of_one_caller_change_a_belief_little_and_no_other_at_all() -> None:
    table = Table(weigh=at_most_five)
    for _ in range(40):
        for version, score in ((A, 1.0), (B, 0.0)):
            table.update(SUMS, version, score)
    before = {version: table.get(SUMS, version) for version in (A, B)}
    falls = [table.update(SUMS, A, 0.0, source=EVE) for _ in range(10_000)]
    assert not any(falls)
    assert table.get(SUMS, A).mean > before[A].mean - 0.15
    assert table.get(SUMS, A).samples <= before[A].samples + 5.0
    assert table.get(SUMS, B).mean == pytest.approx(before[B].mean, abs=0.02)
    assert table.get(SUMS, B).neglect <= before[B].neglect * 1.2


def test_nobody_can_feign_a_loss_alone_however_much_others_said_before() -> None:
    table = Table(weigh=at_most_five)
    tasks = [TaskName(f"task-{number}") for number in range(12)]
    for number in range(6_000):
        table.update(tasks[number % 12], A, float(number % 10 > 0))
    falls = [table.update(task, A, 0.0, source=EVE) for _ in range(60) for task in tasks]
    assert not any(falls)
    falls = [table.update(task, A, 0.0) for _ in range(10) for task in tasks]
    assert any(falls)


def test_what_one_caller_says_makes_nobody_elses_scores_older() -> None:
    loud, quiet = Table(), Table()
    for table in (loud, quiet):
        for _ in range(50):
            table.update(SUMS, A, 1.0)
    for _ in range(600):
        loud.update(SUMS, A, 1.0, source=EVE)
    grades = loud._grid.rows[SUMS].cells[A].streams[GRADES]
    assert grades.n == quiet._grid.rows[SUMS].cells[A].streams[GRADES].n


def test_a_source_that_is_believed_less_counts_less_in_all_that_it_said() -> None:
    trust = {"eve": 1.0}
    table = Table(weigh=lambda said, _: {source: trust[source[0]] for source in said})
    for _ in range(20):
        table.update(SUMS, A, 1.0)
        table.update(SUMS, A, 0.0, source=EVE)
    middling = table.get(SUMS, A).mean
    trust["eve"] = 0.0
    assert table.get(SUMS, A).mean == middling
    table.reweigh()
    assert table.get(SUMS, A).mean > middling + 0.2


def test_a_table_that_was_put_together_is_the_one_that_learned_score_by_score() -> None:
    told, held = Table(), Table()
    for number in range(30):
        told.update(SUMS, A, float(number % 3 > 0))
        told.update(SUMS, B, float(number % 2), source=ANN)
    told.settle()
    for row in told._grid.rows.values():
        for version, cell in row.cells.items():
            for source, stream in cell.streams.items():
                held.put(
                    row.task, version, source, count=stream.count, n=stream.n, good=stream.good
                )
    held.settle()
    for version in (A, B):
        assert held.get(SUMS, version).mean == pytest.approx(told.get(SUMS, version).mean, abs=1e-3)
        assert held.get(SUMS, version).samples == told.get(SUMS, version).samples


def test_a_table_that_forgets_keeps_its_families() -> None:
    fine = TaskName("code.review")
    table = Table()
    table.relate(predecessors={B: A}, parents={fine: CODE})
    table.update(CODE, A, 0.0)
    table.become(table.fresh())
    assert table.get(CODE, A).samples == 0.0
    for _ in range(40):
        table.update(CODE, A, 1.0)
        table.update(CODE, B, 0.0)
    assert table.get(fine, A).mean > table.get(fine, B).mean + 0.1


@given(
    st.lists(st.tuples(st.floats(0, 1), st.booleans(), st.booleans()), max_size=30),
    st.floats(-3, 3),
    st.floats(-3, 3),
)
def test_what_came_since_a_loss_stays_a_part_of_the_whole(
    scores: list[tuple[float, bool, bool]], count: float, total: float
) -> None:
    stream = Stream()
    for score, early, late in scores:
        if early:
            stream.take_early(score, 1.0)
        if late:
            stream.take_late(score, 1.0)
        stream.take(score, 1.0)
    stream.shift(count, total)
    for n, good in (
        (stream.early_n, stream.early_good),
        (stream.late_n, stream.late_good),
        (0.0, 0.0),
    ):
        assert -1e-9 <= good <= n + 1e-9 <= stream.n + 2e-9
        assert good <= stream.good + 1e-9
        assert n - good <= stream.n - stream.good + 1e-9
