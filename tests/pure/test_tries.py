"""Figures of several tries as one: as sure as the least sure, and honest about what is missing."""

from __future__ import annotations

import pytest

from arbiter.cost import Cost, Figure, Method, unknown
from arbiter.knowledge.tries import NO_SLOT, most_of, summed, without_slot

FIRST = Figure(value=2.0, method=Method.MEASURED)
SECOND = Figure(value=6.0, method=Method.SHARED, note="shared with others")
BLIND = unknown("no process of its own")
IDLE = unknown(NO_SLOT)

SURENESS = [Method.MEASURED, Method.ENGINE, Method.SHARED, Method.ESTIMATED]


def test_a_single_figure_is_its_own_sum() -> None:
    for one in (FIRST, SECOND, BLIND, IDLE):
        assert summed([one]) == one


def test_values_add_up_and_the_last_known_ones_note_is_kept() -> None:
    assert summed([FIRST, SECOND]) == Figure(
        value=8.0, method=Method.SHARED, note="shared with others"
    )
    assert summed([SECOND, FIRST]) == Figure(value=8.0, method=Method.SHARED)


@pytest.mark.parametrize("at", range(1, len(SURENESS)))
def test_a_sum_is_as_sure_as_the_least_sure_of_them(at: int) -> None:
    sure, unsure = (Figure(value=1.0, method=SURENESS[place]) for place in (at - 1, at))
    assert summed([sure, unsure]).method is summed([unsure, sure]).method is SURENESS[at]


def test_what_is_not_known_of_one_that_ran_is_told_once() -> None:
    found = summed([BLIND, FIRST, BLIND, unknown("it was killed"), SECOND])
    assert (found.value, found.method) == (8.0, Method.SHARED)
    assert found.note == (
        "shared with others; without a try: no process of its own; without a try: it was killed"
    )
    alone = summed([BLIND, FIRST], what="a slice")
    assert (alone.value, alone.note) == (2.0, "without a slice: no process of its own")


def test_of_tries_that_never_ran_nothing_is_missing() -> None:
    assert summed([IDLE, FIRST]) == summed([FIRST, IDLE]) == FIRST


def test_where_nothing_is_known_the_last_one_says_why() -> None:
    assert summed([BLIND, IDLE]) == most_of([BLIND, IDLE]) == IDLE
    assert summed([IDLE, BLIND]) == most_of([IDLE, BLIND]) == BLIND


def off(value: float, error_pct: float | None) -> Figure:
    return Figure(value=value, method=Method.SHARED, error_pct=error_pct)


@pytest.mark.parametrize(
    ("figures", "error_pct"),
    [
        ([off(2.0, 1.0), off(6.0, 3.0)], 2.5),
        ([off(2.0, None), off(6.0, 4.0)], 3.0),
        ([off(2.0, None), off(6.0, None)], None),
        ([off(0.0, 1.0), off(0.0, 3.0)], 3.0),
        ([off(4.0, 2.0), BLIND], 2.0),
    ],
)
def test_how_far_a_sum_may_be_off_is_weighed_by_the_values(
    figures: list[Figure], error_pct: float | None
) -> None:
    assert summed(figures).error_pct == error_pct


def test_the_most_of_several_is_the_largest_that_is_known() -> None:
    assert most_of([FIRST, BLIND, SECOND, FIRST]) == SECOND
    assert most_of([off(0.0, None), BLIND]) == off(0.0, None)


def test_who_never_had_a_slot_costs_what_is_known_at_once() -> None:
    told: list[Cost] = []
    without_slot(told.append)
    (cost,) = told
    assert (cost.cpu_ms.value, cost.cpu_ms.note) == (None, NO_SLOT)
