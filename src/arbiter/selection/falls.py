"""Noticing that a version silently got worse, and what of its evidence is then dropped.

Two change tests run on every score: one of the cell, for a loss at one task, and one of the
version over all its tasks, which finds a general loss sooner. A version that fell at one task is
watched more closely at the others for a while: a loss seldom comes alone. Each test compares with
the scores from before the suspected loss, less their uncertainty. On an alarm only the scores since
the loss began are kept: what was true before is not true of the version that runs now.
"""

from __future__ import annotations

from math import log, sqrt

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


def fallen(cell: Cell, score: float, *, keep: float) -> tuple[Cell, ...]:
    """Take a score into both tests, before it is counted; the cells that lost their evidence.

    keep: what fading leaves of older scores at each new one.
    """
    column = cell.column
    if cell.epoch != column.epoch:
        cell.epoch, cell.late_n, cell.late_good = column.epoch, 0.0, 0.0
    level = _level(cell.n - cell.early_n, cell.good - cell.early_good)
    if level is not None:
        cell.alarm = worse_step(cell.alarm, score, level)
    level = _level(cell.n - cell.late_n, cell.good - cell.late_good)
    if level is not None:
        column.alarm = worse_step(column.alarm, score, level)
    lost: tuple[Cell, ...] = ()
    if column.alarm > ALARM:
        lost = _drop_version(column)
    elif cell.alarm > (WARY if column.wary > 0.0 else ALARM):
        cell.n, cell.good, cell.alarm = cell.early_n, cell.early_good, 0.0
        lost = (cell,)
    column.wary = WARY_FOR if lost else max(0.0, column.wary - 1.0)
    if cell.alarm <= 0.0:
        cell.alarm = cell.early_n = cell.early_good = 0.0
    else:
        cell.early_n, cell.early_good = cell.early_n * keep + 1.0, cell.early_good * keep + score
    if column.alarm <= 0.0:
        column.alarm, column.epoch = 0.0, column.epoch + 1
    else:
        cell.late_n, cell.late_good = cell.late_n * keep + 1.0, cell.late_good * keep + score
    return lost


def _drop_version(column: Column) -> tuple[Cell, ...]:
    for cell in column.cells.values():
        is_late = cell.epoch == column.epoch
        cell.n, cell.good = (cell.late_n, cell.late_good) if is_late else (0.0, 0.0)
        cell.alarm = 0.0
    column.alarm = 0.0
    return tuple(column.cells.values())


def _level(n: float, good: float) -> float | None:
    """A lower estimate of the mean of these scores."""
    if n < TRUSTED:
        return None
    mean = (good + 0.5) / (n + 1.0)
    return max(0.02, mean - DOUBT * sqrt(mean * (1.0 - mean) / (n + 2.0)))
