"""Noticing that a version silently got worse, and what of its evidence is then dropped.

Two change tests run on every score: one of the cell, for a loss at one task, and one of the
version over all its tasks, which finds a general loss sooner. Each compares with the scores from
before the suspected loss, less their uncertainty. On an alarm only the scores since the loss began
are kept: what was true before is not true of the version that runs now.
"""

from __future__ import annotations

from math import sqrt

from arbiter.knowledge.scores import Fall, Source
from arbiter.selection.cells import Cell
from arbiter.stats.change import ALARM, worse_step

TRUSTED = 6.0
"""Scores below which there is no level that a cell could fall from."""


def suspect(cell: Cell, score: float, *, weight: float, mark: str) -> Fall | None:
    """Take a score into both tests, before it is counted.

    weight: how far the score is believed. mark: when it came, as whoever tells it knows that.
    """
    column = cell.column
    if cell.epoch != column.epoch:
        _forget_late(cell)
        cell.epoch = column.epoch
    level = _level(cell.n - cell.early_n, cell.good - cell.early_good)
    if level is not None:
        cell.since = cell.since if cell.alarm > 0.0 else mark
        cell.alarm = worse_step(cell.alarm, score, level, weight)
    level = _level(cell.n - cell.late_n, cell.good - cell.late_good)
    if level is not None:
        column.since = column.since if column.alarm > 0.0 else mark
        column.alarm = worse_step(column.alarm, score, level, weight)
    if column.alarm > ALARM:
        return Fall(version=column.version, task=None, since=column.since)
    if cell.alarm > ALARM:
        return Fall(version=column.version, task=cell.row.task, since=cell.since)
    return None


def dropped(cell: Cell, fall: Fall) -> tuple[Cell, ...]:
    """Drop what came before the loss; the cells that it concerns."""
    column = cell.column
    if fall.task is not None:
        for stream in cell.streams.values():
            stream.n, stream.good = stream.early_n, stream.early_good
        cell.alarm = 0.0
        return (cell,)
    for other in column.cells.values():
        is_late = other.epoch == column.epoch
        for stream in other.streams.values():
            stream.n, stream.good = (stream.late_n, stream.late_good) if is_late else (0.0, 0.0)
            stream.early_n = stream.early_good = 0.0
        other.alarm = 0.0
    column.alarm = 0.0
    return tuple(column.cells.values())


def note(cell: Cell, source: Source, score: float, *, keep: float) -> None:
    """Remember a score as one since the suspected losses began, if any is suspected.

    keep: what fading leaves of older scores at each new one.
    """
    column, stream = cell.column, cell.stream(source)
    if cell.alarm <= 0.0:
        cell.alarm = 0.0
        for one in cell.streams.values():
            one.early_n = one.early_good = 0.0
    else:
        stream.take_early(score, keep)
    if column.alarm <= 0.0:
        # an epoch of the version ends: what its cells hold of it is out of date at once
        column.alarm, column.epoch = 0.0, column.epoch + 1
    else:
        stream.take_late(score, keep)


def _forget_late(cell: Cell) -> None:
    cell.late_n = cell.late_good = 0.0
    for stream in cell.streams.values():
        stream.late_n = stream.late_good = 0.0


def _level(n: float, good: float) -> float | None:
    """A lower estimate of the mean of these scores: one standard deviation down."""
    if n < TRUSTED:
        return None
    mean = (good + 0.5) / (n + 1.0)
    return max(0.02, mean - sqrt(mean * (1.0 - mean) / (n + 2.0)))
