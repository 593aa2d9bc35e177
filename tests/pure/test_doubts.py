"""When a version's cases are run again, and what they then say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import exp, log

import pytest

from arbiter.knowledge.scores import CASES, Again, Doubt, Fall
from arbiter.refs import TaskName, VersionId
from arbiter.selection.bandit import Table
from arbiter.selection.cells import Cell, Column, Row
from arbiter.selection.doubts import SPAN, SUSPICION, doubt, is_due, is_suspicious, shown
from arbiter.stats.change import ALARM

ANT, BEE = VersionId("ant"), VersionId("bee")
SUMS, TALES = TaskName("sums"), TaskName("tales")


def column(**cells: float) -> Column:
    """A version whose cells suspect a loss since ``5``, each by so much."""
    of = Column(version=ANT, count=40.0)
    for title, alarm in cells.items():
        task = TaskName(title)
        of.cells[task] = Cell(row=Row(task=task), column=of, alarm=alarm, since="5")
    return of


def again(before: Sequence[float], now: Sequence[float], *, counted: bool = True) -> list[Again]:
    return [
        Again(before=old, now=new, is_counted=counted) for old, new in zip(before, now, strict=True)
    ]


def test_a_weak_suspicion_is_no_reason() -> None:
    assert doubt(column(sums=SUSPICION), "") is None
    assert not is_suspicious(column(sums=SUSPICION))


def test_a_suspicion_far_below_an_alarm_is_a_reason_and_says_where_and_by_how_much() -> None:
    found = doubt(column(sums=1.7, tales=2.0), "")
    assert found == Doubt(version=ANT, task=TALES, odds=exp(2.0), since="5", scores=40.0)
    assert is_suspicious(column(sums=1.7))
    assert SUSPICION == log(5.0) < ALARM / 3


def test_a_suspicion_of_the_whole_version_has_no_task() -> None:
    one = column(sums=1.7)
    one.alarm, one.since = 1.9, "6"
    found = doubt(one, "")
    assert found is not None
    assert (found.task, found.since) == (None, "6")


def test_a_suspicion_from_before_the_cases_were_run_again_is_no_news() -> None:
    assert doubt(column(sums=2.0), "5") is None
    assert doubt(column(sums=2.0), "4") is not None


def test_a_fall_that_was_noticed_is_a_reason_for_as_long_as_the_version_is_watched() -> None:
    one = column(sums=0.0)
    one.fell = Fall(version=ANT, task=SUMS, since="7")
    assert doubt(one, "") is None
    one.wary = 1.0
    found = doubt(one, "")
    assert found is not None
    assert found.odds == pytest.approx(500.0)
    assert (found.task, found.since) == (SUMS, "7")
    assert doubt(one, "7") is None


def test_cases_are_run_again_after_a_hundred_further_scores_or_when_they_were_reset() -> None:
    one = Doubt(version=ANT, task=None, odds=9.0, since="", scores=300.0)
    assert is_due(one, None)
    assert is_due(one, 300.0 - SPAN)
    assert not is_due(one, 300.5 - SPAN)
    assert not is_due(one, 300.0)
    assert is_due(replace(one, scores=20.0), 300.0)


def test_the_same_answers_show_no_fall() -> None:
    assert shown(column(), {SUMS: again([1.0] * 50, [1.0] * 50)}, began="9") is None


def test_worse_answers_at_several_tasks_show_a_fall_together() -> None:
    few = again([1.0] * 4, [0.0, 0.0, 1.0, 1.0])
    assert shown(column(), {SUMS: few}, began="9") is None
    found = shown(column(), {SUMS: few, TALES: few}, began="9")
    assert found == Fall(version=ANT, task=None, since="9")


def test_the_loss_is_as_old_as_the_suspicion_of_the_version() -> None:
    one = column()
    one.alarm, one.since = 0.5, "3"
    found = shown(one, {SUMS: again([1.0] * 9, [0.0] * 9)}, began="9")
    assert found is not None
    assert found.since == "3"


def test_results_from_before_an_earlier_fall_are_nothing_to_fall_from() -> None:
    worse = again([1.0] * 9, [0.0] * 9, counted=False)
    assert shown(column(), {SUMS: worse}, began="9") is None


# -- in the table


def learned(**scores: Sequence[float]) -> Table:
    """A table that has these cases of the version at each task."""
    table = Table()
    for title, ones in scores.items():
        for score in ones:
            table.add(TaskName(title), ANT, count=1.0, total=score, source=CASES)
    return table


def test_a_new_result_stands_instead_of_the_earlier_one() -> None:
    table = learned(sums=[1.0] * 8)
    table.examined(ANT, {SUMS: again([1.0] * 8, [1.0] * 5 + [0.0] * 3)}, fall=None)
    same = learned(sums=[1.0] * 5 + [0.0] * 3)
    table.settle()
    same.settle()
    assert table.get(SUMS, ANT).samples == same.get(SUMS, ANT).samples == 8.0
    assert table.get(SUMS, ANT).mean == pytest.approx(same.get(SUMS, ANT).mean, abs=0.001)


def test_the_same_results_change_nothing() -> None:
    table = learned(sums=[1.0, 0.0] * 4, tales=[1.0] * 8)
    before = table.get(SUMS, ANT), table.get(TALES, ANT)
    results = {SUMS: again([1.0, 0.0] * 4, [1.0, 0.0] * 4), TALES: again([1.0] * 8, [1.0] * 8)}
    table.examined(ANT, results, fall=None)
    assert (table.get(SUMS, ANT), table.get(TALES, ANT)) == before


def test_a_result_of_which_the_earlier_one_counts_no_more_is_one_more() -> None:
    table = learned(sums=[1.0] * 2)
    table.examined(ANT, {SUMS: again([1.0] * 2, [0.0] * 2, counted=False)}, fall=None)
    assert table.get(SUMS, ANT).samples == 4.0


def test_after_a_fall_nothing_counts_at_any_task_but_what_was_run_again() -> None:
    table = learned(sums=[1.0] * 8, tales=[1.0] * 8, poems=[1.0] * 8)
    results = {SUMS: again([1.0] * 8, [0.0] * 8), TALES: again([1.0] * 8, [0.5] * 8)}
    fall = table.shown(ANT, results, began="9")
    assert fall == Fall(version=ANT, task=None, since="9")
    assert table.get(SUMS, ANT).mean > 0.8, "nothing is taken in yet"
    table.examined(ANT, results, fall=fall)
    assert table.get(SUMS, ANT).mean < 0.2
    assert table.get(TALES, ANT).mean == pytest.approx(0.5, abs=0.15)
    assert table.get(TaskName("poems"), ANT).mean < 0.5, "what fell elsewhere is not believed here"


def test_a_version_that_nobody_heard_of_is_in_no_doubt() -> None:
    table = Table()
    assert table.doubts({}) == ()
    assert table.shown(BEE, {SUMS: again([1.0] * 9, [0.0] * 9)}, began="1") is None


def test_a_table_that_looks_for_no_falls_finds_none_in_cases_either() -> None:
    table = Table(watchful=False)
    table.add(SUMS, ANT, count=9.0, total=9.0, source=CASES)
    assert table.shown(ANT, {SUMS: again([1.0] * 9, [0.0] * 9)}, began="1") is None


def test_whoever_is_suspected_is_told_the_surest_first_and_is_still_after_a_settling() -> None:
    table = Table()
    for version, bad in ((ANT, 3), (BEE, 4)):
        for number in range(60):
            table.update(SUMS, version, 1.0, mark=f"{number:03d}")
        for number in range(bad):
            table.update(SUMS, version, 0.0, mark=f"{60 + number:03d}")
    found = table.doubts({})
    assert [(one.version, one.since) for one in found] == [(BEE, "060"), (ANT, "060")]
    assert [one.version for one in table.doubts({BEE: "060"})] == [ANT]
    table.settle()
    assert table.doubts({}) == found
    other = table.fresh()
    other.become(table)
    assert [one.version for one in other.doubts({})] == [BEE, ANT]


def test_whoever_is_suspected_no_longer_is_not_told() -> None:
    table = Table()
    for score in [1.0] * 60 + [0.0] * 3:
        table.update(SUMS, ANT, score, mark="1")
    assert table.doubts({})
    for _ in range(60):
        table.update(SUMS, ANT, 1.0, mark="2")
    assert table.doubts({}) == ()
