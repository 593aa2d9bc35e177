"""Noticing that a version silently got worse, and what of its evidence is then dropped.

Two change tests run on every score: one of the cell, for a loss at one task, and one of the
version over all its tasks, which finds a general loss sooner. A version that fell at one task is
watched more closely at the others for a while: a loss seldom comes alone. Each test compares with
the scores from before the suspected loss, less their uncertainty. On an alarm only the scores since
the loss began are kept: what was true before is not true of the version that runs now.
"""

from __future__ import annotations

from math import log, sqrt

from arbiter.knowledge.scores import Fall, Source
from arbiter.selection.cells import Cell, Column
from arbiter.stats.change import ALARM, worse_step

WARY = log(15.0)
"""The alarm of a cell whose version has just fallen elsewhere."""

WARY_FOR = 300.0
"""Scores of the version for which this lasts."""

TRUSTED = 20.0
"""Scores below which there is no level that a cell could fall from.

With fewer, the cell that is picked is often one that was lucky at first, and luck that ends is no
loss. Cells that are hardly used do not thin out the version's test either.
"""

DOUBT = 1.5
"""Standard deviations below its mean that a cell is sure to have been at."""


BURST = 2.0
"""Scores of a bounded caller that a test takes at once."""

PART = 0.1
"""How many more, as a part of what others said since the loss began: nobody can feign one alone."""


def suspect(
    cell: Cell, score: float, *, weight: float, mark: str, bounded: str | None = None
) -> Fall | None:
    """Take a score into both tests, before it is counted.

    weight: how far the score is believed. mark: when it came, as whoever tells it knows that.
    bounded: the caller who said it, if what one caller may say is bounded.
    """
    column = cell.column
    if cell.epoch != column.epoch:
        _forget_late(cell)
        cell.epoch = column.epoch
    level = _level(cell.n - cell.early_n, cell.good - cell.early_good)
    if level is not None:
        cell.since = cell.since if cell.alarm > 0.0 else mark
        cell.alarm = worse_step(cell.alarm, score, level, _taken(cell, bounded, weight))
    level = _level(cell.n - cell.late_n, cell.good - cell.late_good)
    if level is not None:
        column.since = column.since if column.alarm > 0.0 else mark
        column.alarm = worse_step(column.alarm, score, level, _taken(column, bounded, weight))
    if column.alarm > ALARM:
        return Fall(version=column.version, task=None, since=column.since)
    if cell.alarm > (WARY if column.wary > 0.0 else ALARM):
        return Fall(version=column.version, task=cell.row.task, since=cell.since)
    return None


def dropped(cell: Cell, fall: Fall) -> tuple[Cell, ...]:
    """Drop what came before the loss; the cells that it concerns."""
    column = cell.column
    column.wary, column.fell = WARY_FOR, fall
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
    column.wary = max(0.0, column.wary - 1.0)
    if cell.alarm <= 0.0:
        cell.alarm = cell.heard = 0.0
        cell.said.clear()
        for one in cell.streams.values():
            one.early_n = one.early_good = 0.0
    else:
        stream.take_early(score, keep)
    if column.alarm <= 0.0:
        # an epoch of the version ends: what its cells hold of it is out of date at once
        column.alarm, column.heard, column.epoch = 0.0, 0.0, column.epoch + 1
        column.said.clear()
    else:
        stream.take_late(score, keep)


def _taken(test: Cell | Column, bounded: str | None, weight: float) -> float:
    """How much of a score a test takes: of a bounded caller a few, and a part of the others'."""
    if bounded is not None:
        own = test.said.get(bounded, 0.0)
        weight = max(0.0, min(weight, BURST + PART * (test.heard - own) - own))
        test.said[bounded] = own + weight
    test.heard += weight
    return weight


def _forget_late(cell: Cell) -> None:
    cell.late_n = cell.late_good = 0.0
    for stream in cell.streams.values():
        stream.late_n = stream.late_good = 0.0


def _level(n: float, good: float) -> float | None:
    """A lower estimate of the mean of these scores."""
    if n < TRUSTED:
        return None
    mean = (good + 0.5) / (n + 1.0)
    return max(0.02, mean - DOUBT * sqrt(mean * (1.0 - mean) / (n + 2.0)))
