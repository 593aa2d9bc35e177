"""A table's evidence survives being written down, and nothing else is taken for one."""

from __future__ import annotations

import json

import pytest

from arbiter.refs import TaskName, VersionId
from arbiter.selection.cells import Cell, Column, Row
from arbiter.selection.states import FORMAT, state_of, take_state

SUMS, POEMS = TaskName("sums"), TaskName("poems")
OLD, NEW = VersionId("old"), VersionId("new")


class Places:
    """Cells by task and version, made when they are first asked for."""

    def __init__(self) -> None:
        self.rows: dict[TaskName, Row] = {}
        self.columns: dict[VersionId, Column] = {}

    def cell(self, task: TaskName, version: VersionId) -> Cell:
        row = self.rows.setdefault(task, Row(task=task))
        column = self.columns.setdefault(version, Column(version=version))
        if version not in row.cells:
            row.cells[version] = column.cells[task] = Cell(row=row, column=column)
        return row.cells[version]


def filled() -> Places:
    """Every number another one, so that none can stand for its neighbour."""
    places, numbers = Places(), iter(range(1, 10_000))
    for task, version in ((SUMS, OLD), (SUMS, NEW), (POEMS, NEW)):
        cell = places.cell(task, version)
        for tested in (cell, cell.column):
            tested.alarm, tested.heard = next(numbers) / 4, next(numbers) / 4
            tested.since, tested.epoch = f"dec_{next(numbers)}", next(numbers)
            tested.said = {"ann": next(numbers) / 4, "bob": next(numbers) / 4}
        cell.column.wary = next(numbers) / 4
        for source in (("", "grades"), ("ann", "judge")):
            stream = cell.stream(source)
            for name in ("count", "n", "good", "early_n", "early_good", "late_n", "late_good"):
                setattr(stream, name, next(numbers) / 4)
    return places


def test_what_was_written_down_is_what_is_taken_up() -> None:
    before, after = filled(), Places()
    told = state_of(before.columns.values())
    take_state(json.loads(json.dumps(told)), after.cell)
    assert state_of(after.columns.values()) == told
    old, new = before.cell(POEMS, NEW), after.cell(POEMS, NEW)
    assert new.streams == old.streams
    for one, other in ((old, new), (old.column, new.column)):
        assert (other.alarm, other.since, other.epoch) == (one.alarm, one.since, one.epoch)
        assert (other.heard, other.said) == (one.heard, one.said)
    assert new.column.wary == old.column.wary


def test_what_is_written_down_changes_no_more_when_the_table_learns() -> None:
    places = filled()
    told = state_of(places.columns.values())
    kept = json.dumps(told)
    places.cell(SUMS, OLD).said["ann"] = 99.0
    assert json.dumps(told) == kept


def test_nothing_at_all_is_a_state_too() -> None:
    told = state_of([])
    assert told == {"format": FORMAT, "versions": [], "cells": [], "streams": []}
    take_state(told, Places().cell)


@pytest.mark.parametrize("name", ["versions", "cells", "streams"])
@pytest.mark.parametrize("wrong", [None, "text", [1.0], [["sums"]], {}])
def test_what_is_no_list_of_such_rows_is_refused(name: str, wrong: object) -> None:
    told = {**state_of(filled().columns.values()), name: wrong}
    with pytest.raises(ValueError, match="this is no state of a table"):
        take_state(told, Places().cell)


@pytest.mark.parametrize("wrong", ["7", None, float("nan"), float("inf"), [1.0]])
@pytest.mark.parametrize(("name", "place"), [("cells", 2), ("streams", 5), ("versions", 1)])
def test_what_is_no_number_is_refused(name: str, place: int, wrong: object) -> None:
    told = json.loads(json.dumps(state_of(filled().columns.values())))
    told[name][0][place] = wrong
    with pytest.raises(ValueError, match="this is no state of a table"):
        take_state(told, Places().cell)


@pytest.mark.parametrize("name", ["cells", "streams", "versions"])
def test_a_row_with_a_value_more_or_less_is_refused(name: str) -> None:
    for change in (lambda row: [*row, 1.0], lambda row: row[:-1]):
        told = json.loads(json.dumps(state_of(filled().columns.values())))
        told[name][0] = change(told[name][0])
        with pytest.raises(ValueError, match="this is no state of a table"):
            take_state(told, Places().cell)


def test_a_version_without_a_cell_is_refused() -> None:
    told = json.loads(json.dumps(state_of(filled().columns.values())))
    told["versions"][0][0] = "somebody"
    with pytest.raises(ValueError, match="this is no state of a table"):
        take_state(told, Places().cell)


def test_what_callers_said_is_by_caller() -> None:
    told = json.loads(json.dumps(state_of(filled().columns.values())))
    told["cells"][0][-1] = [1.0]
    with pytest.raises(ValueError, match="this is no state of a table"):
        take_state(told, Places().cell)


@pytest.mark.parametrize("wrong", [{}, {"format": FORMAT + 1}, {"format": str(FORMAT)}])
def test_another_format_is_refused_as_such(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="another format"):
        take_state(wrong, Places().cell)
