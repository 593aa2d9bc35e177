"""Noticing that a version got worse: what is suspected, since when, and what is dropped."""

from __future__ import annotations

from math import log, sqrt

import pytest

from arbiter.knowledge.scores import GRADES, Fall
from arbiter.refs import TaskName, VersionId
from arbiter.selection.cells import Cell, Column, Row
from arbiter.selection.falls import (
    BURST,
    DOUBT,
    PART,
    TRUSTED,
    WARY,
    WARY_FOR,
    dropped,
    note,
    suspect,
)
from arbiter.stats.change import ALARM, worse_step
from arbiter.stats.estimators import logistic, logit

VERSION = VersionId("ant")
SUMS, TALES = TaskName("sums"), TaskName("tales")


def plain(said: object, house: float) -> dict[tuple[str, str], float]:  # noqa: ARG001  # a Weigh
    return {}


def cell(task: TaskName = SUMS, *, n: float, good: float, column: Column | None = None) -> Cell:
    """A cell of rules' grades."""
    of = column if column is not None else Column(version=VERSION)
    found = Cell(row=Row(task=task), column=of)
    found.stream(GRADES).count = found.stream(GRADES).n = n
    found.stream(GRADES).good = good
    found.row.cells[VERSION] = of.cells[task] = found
    found.recount(plain)
    return found


def told(one: Cell, score: float, mark: str = "", *, keep: float = 1.0) -> Fall | None:
    """A score of a rule, as the table takes it."""
    fall = suspect(one, score, weight=1.0, mark=mark)
    if fall is not None:
        dropped(one, fall)
    note(one, GRADES, score, keep=keep)
    one.stream(GRADES).take(score, keep)
    one.recount(plain)
    return fall


def level(n: float, good: float) -> float:
    mean = (good + 0.5) / (n + 1.0)
    return mean - DOUBT * sqrt(mean * (1.0 - mean) / (n + 2.0))


def test_the_first_step_of_a_suspicion_is_that_of_the_change_test() -> None:
    one = cell(n=40.0, good=36.0)
    assert suspect(one, 0.0, weight=1.0, mark="noon") is None
    expected = worse_step(0.0, 0.0, level(40.0, 36.0))
    assert one.alarm == one.column.alarm == expected > 0.0
    assert one.since == one.column.since == "noon"


def test_a_step_is_what_the_formula_says() -> None:
    reference = level(40.0, 36.0)
    worse = logistic(logit(reference) - 1.25)
    stake = (reference - worse) / (reference * (1.0 - reference))
    one = cell(n=40.0, good=36.0)
    suspect(one, 0.25, weight=0.5, mark="")
    assert one.alarm == pytest.approx(log(1.0 + 0.5 * stake * (reference - 0.25)))


def test_later_steps_are_compared_with_what_was_before_the_suspicion() -> None:
    one = cell(n=40.0, good=36.0)
    alarm = 0.0
    for score in (0.0, 0.0, 1.0, 0.0):
        told(one, score)
        alarm = worse_step(alarm, score, level(40.0, 36.0))
        assert one.alarm == pytest.approx(alarm)


@pytest.mark.parametrize(("n", "is_suspected"), [(TRUSTED - 1.0, False), (TRUSTED, True)])
def test_below_so_many_scores_there_is_no_level_to_fall_from(n: float, is_suspected: bool) -> None:
    one = cell(n=n, good=n)
    told(one, 0.0, "noon")
    assert (one.alarm > 0.0, one.column.alarm > 0.0) == (is_suspected, is_suspected)
    assert one.since == ("noon" if is_suspected else "")


def test_a_level_is_never_so_low_that_nothing_could_be_below_it() -> None:
    one = cell(n=30.0, good=0.0)
    suspect(one, 0.0, weight=1.0, mark="")
    assert one.alarm == worse_step(0.0, 0.0, 0.02)


def test_a_suspicion_that_is_over_begins_anew_with_the_next_bad_score() -> None:
    one = cell(n=40.0, good=36.0)
    told(one, 0.0, "at one")
    assert one.stream(GRADES).early_n == 1.0
    for _ in range(30):
        told(one, 1.0, "later")
    assert one.alarm == pytest.approx(0.0, abs=1.0)
    assert (one.heard, one.early_n, one.stream(GRADES).early_n) == (0.0, 0.0, 0.0)
    told(one, 0.0, "at two")
    assert one.since == one.column.since == "at two"


def test_a_suspicion_of_the_version_that_is_over_is_over_in_all_its_cells() -> None:
    column = Column(version=VERSION)
    one = cell(n=40.0, good=36.0, column=column)
    other = cell(TALES, n=40.0, good=36.0, column=column)
    told(one, 0.0)
    told(other, 0.0)
    assert one.stream(GRADES).late_n == other.stream(GRADES).late_n == 1.0
    epoch = column.epoch
    for _ in range(30):
        told(one, 1.0)
    assert column.epoch > epoch
    assert other.stream(GRADES).late_n == 1.0, "nobody has looked at it since"
    told(other, 0.0)
    assert other.stream(GRADES).late_n == 1.0
    assert other.epoch == column.epoch


def test_a_loss_at_one_task_is_a_fall_there_and_leaves_what_came_since() -> None:
    column = Column(version=VERSION)
    one = cell(n=60.0, good=54.0, column=column)
    other = cell(TALES, n=60.0, good=54.0, column=column)
    bad = 0
    fall = None
    while fall is None:
        for _ in range(3):
            told(other, 1.0)
        fall = told(one, 0.0, f"bad {bad}")
        bad += 1
    assert fall == Fall(version=VERSION, task=SUMS, since="bad 0")
    assert (one.n, one.good) == (bad, 0.0)
    assert one.alarm == 0.0
    assert other.n == 60.0 + 3 * bad
    assert ALARM / log(3.0) < bad < 10


def test_a_loss_at_every_task_is_a_fall_of_the_version_sooner_than_of_any_task() -> None:
    column = Column(version=VERSION)
    cells = [cell(TaskName(f"task-{k}"), n=30.0, good=27.0, column=column) for k in range(8)]
    idle = cell(TALES, n=30.0, good=27.0, column=column)
    bad = 0
    fall = None
    while fall is None:
        fall = told(cells[bad % 8], 0.0, f"bad {bad}")
        bad += 1
    assert fall == Fall(version=VERSION, task=None, since="bad 0")
    assert bad < 10
    for place, one in enumerate(cells):
        one.recount(plain)
        assert one.n == sum(1 for k in range(bad) if k % 8 == place)
        assert one.alarm == one.good == 0.0
    idle.recount(plain)
    assert idle.n == 0.0, "what was true of it before is not true of what runs now"


def test_a_fall_makes_wary_for_so_many_scores_of_the_version() -> None:
    column = Column(version=VERSION)
    one = cell(n=40.0, good=36.0, column=column)
    assert dropped(one, Fall(version=VERSION, task=SUMS, since="")) == (one,)
    assert column.wary == WARY_FOR
    told(one, 1.0)
    assert column.wary == WARY_FOR - 1.0
    column.wary = 0.5
    told(one, 1.0)
    assert column.wary == 0.0


@pytest.mark.parametrize(("wary", "falls"), [(0.0, False), (1.0, True)])
def test_whoever_is_wary_needs_less_to_see_a_fall(wary: float, falls: bool) -> None:
    one = cell(n=40.0, good=36.0)
    one.alarm, one.column.wary = WARY - 0.1, wary
    assert (suspect(one, 0.0, weight=1.0, mark="") is not None) is falls


def test_what_one_bounded_caller_says_is_taken_a_little_and_as_a_part_of_the_others() -> None:
    one = cell(n=400.0, good=380.0)
    for _ in range(5):
        suspect(one, 0.0, weight=1.0, mark="", bounded="key-1")
        one.early_n = 0.0
    assert one.said == {"key-1": BURST}
    assert one.heard == BURST
    one.heard += 30.0
    suspect(one, 0.0, weight=1.0, mark="", bounded="key-1")
    assert one.said == {"key-1": BURST + 1.0}
    suspect(one, 0.0, weight=9.0, mark="", bounded="key-1")
    assert one.said["key-1"] == pytest.approx(BURST + PART * 30.0)
    assert one.heard == pytest.approx(BURST + 30.0 + PART * 30.0)


def test_the_version_counts_what_callers_say_at_all_its_tasks() -> None:
    column = Column(version=VERSION)
    for task in (SUMS, TALES):
        one = cell(task, n=400.0, good=380.0, column=column)
        suspect(one, 0.0, weight=1.0, mark="", bounded="key-1")
        suspect(one, 0.0, weight=1.0, mark="", bounded="key-1")
        assert one.said == {"key-1": 2.0}
    assert column.said == {"key-1": BURST}


def test_what_came_since_fades_as_everything_does() -> None:
    one = cell(n=40.0, good=36.0)
    told(one, 0.0, keep=0.5)
    told(one, 0.25, keep=0.5)
    stream = one.stream(GRADES)
    assert (stream.early_n, stream.early_good) == (1.5, 0.25)
    assert (stream.late_n, stream.late_good) == (1.5, 0.25)
