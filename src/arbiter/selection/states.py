"""The evidence of a table as plain JSON, and back: all that a fit follows from, and suspicions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import isfinite

from arbiter.refs import TaskName, VersionId
from arbiter.selection.cells import Cell, Column

FORMAT = 1

_STREAM = ("count", "n", "good", "early_n", "early_good", "late_n", "late_good")
_TEST = ("alarm", "since", "epoch", "heard", "said")
_COLUMN = (*_TEST, "wary")


def state_of(columns: Iterable[Column]) -> dict[str, object]:
    """What cells and versions hold."""
    found = list(columns)
    cells = [cell for column in found for cell in column.cells.values()]
    return {
        "format": FORMAT,
        "versions": [[c.version, *(_kept(c, name) for name in _COLUMN)] for c in found],
        "cells": [
            [cell.row.task, cell.column.version, *(_kept(cell, name) for name in _TEST)]
            for cell in cells
        ],
        "streams": [
            [cell.row.task, cell.column.version, *source, *(_kept(stream, k) for k in _STREAM)]
            for cell in cells
            for source, stream in cell.streams.items()
        ],
    }


def take_state(state: Mapping[str, object], cell_of: Callable[[TaskName, VersionId], Cell]) -> None:
    """Let cells hold what `state_of` told. Raises ValueError for anything else."""
    if state.get("format") != FORMAT:
        raise ValueError("this is no state of a table, or one of another format")
    try:
        columns: dict[str, Column] = {}
        for task, version, *kept in _lists(state["cells"]):
            cell = cell_of(TaskName(str(task)), VersionId(str(version)))
            columns[str(version)] = cell.column
            _take(cell, _TEST, kept)
        for task, version, caller, kind, *kept in _lists(state["streams"]):
            cell = cell_of(TaskName(str(task)), VersionId(str(version)))
            _take(cell.stream((str(caller), str(kind))), _STREAM, kept)
        for version, *kept in _lists(state["versions"]):
            _take(columns[str(version)], _COLUMN, kept)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError("this is no state of a table") from error


def _kept(one: object, name: str) -> object:
    value = getattr(one, name)
    return dict(value) if isinstance(value, dict) else value


def _take(one: object, names: tuple[str, ...], values: list[object]) -> None:
    for name, value in zip(names, values, strict=True):
        match name:
            case "since":
                setattr(one, name, str(value))
            case "epoch":
                setattr(one, name, int(_number(value)))
            case "said":
                if not isinstance(value, dict):
                    raise TypeError("what callers said was expected")
                setattr(one, name, {str(who): _number(much) for who, much in value.items()})
            case _:
                setattr(one, name, _number(value))


def _lists(value: object) -> list[list[object]]:
    if not isinstance(value, list) or not all(isinstance(one, list) for one in value):
        raise TypeError("a list of lists was expected")
    return value


def _number(value: object) -> float:
    if not isinstance(value, int | float) or not isfinite(value):
        raise TypeError("a number was expected")
    return float(value)
