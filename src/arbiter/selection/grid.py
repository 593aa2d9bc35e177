"""Every cell of the learner's table, in rows and columns, and what is fitted to them.

It counts and fits, and nothing here believes or decides: see `arbiter.selection.beliefs` and
`arbiter.selection.bandit`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from arbiter.knowledge.scores import Weigh
from arbiter.refs import TaskName, VersionId
from arbiter.selection.cells import Cell, Column, Effects, Row

MOST_ROUNDS = 12
"""Rounds of fitting everything; each costs 25 microseconds a cell."""

RESTED = 1e-3
"""A fit rests when no variance nor the mean moves by more in a round."""


class Grid:
    """Rows are tasks, columns are versions. One writer: the table that it is part of.

    epoch: another one when what was learned elsewhere has had time to matter everywhere.
    """

    def __init__(self) -> None:
        self.rows: dict[TaskName, Row] = {}
        self.columns: dict[VersionId, Column] = {}
        self.effects = Effects()
        self.epoch = 0
        self._scores = 0.0
        self._next_epoch = 0.0

    def row(self, task: TaskName) -> Row:
        """The row of a task, which it has from now on."""
        row = self.rows.get(task)
        if row is None:
            row = self.rows[task] = Row(task=task)
        return row

    def cell(self, task: TaskName, version: VersionId) -> Cell:
        """The cell of a version at a task, which is there from now on."""
        row = self.row(task)
        cell = row.cells.get(version)
        if cell is None:
            column = self.columns.get(version)
            if column is None:
                column = self.columns[version] = Column(version=version)
            cell = Cell(row=row, column=column, mode=self.effects.mu + row.effect + column.effect)
            row.cells[version] = column.cells[task] = cell
        return cell

    def touched(self, cell: Cell, count: float, *, many: bool = False) -> None:
        """Fit what so many more scores of a cell make due; many: now, however few they count."""
        row, column = cell.row, cell.column
        cell.stamp += 1
        self._scores += count
        if row.clock >= row.due or many:
            self.effects.fit_row(row)
            row.due = row.clock * 1.05
        if column.count >= column.due or many:
            self.effects.fit_column(column)
            column.due = column.count * 1.02
        if self._scores >= self._next_epoch:
            self.turn()

    def lost(self, column: Column, cells: Sequence[Cell], weigh: Weigh) -> None:
        """Fit again what evidence was dropped of."""
        for cell in cells:
            cell.recount(weigh)
            self.effects.fit_row(cell.row)
            cell.stamp += 1
        if cells:
            self.effects.fit_column(column)
            self.turn()

    def turn(self) -> None:
        """Let every task look again: what was learned elsewhere has had time to matter."""
        self.epoch += 1
        self._next_epoch = self._scores + max(20.0, 0.03 * self._scores)

    def settling(self, weigh: Weigh) -> Iterator[None]:
        """Count and fit everything until it rests, in steps of a row or a column."""
        self._scores = 0.0
        for column in self.columns.values():
            column.count = 0.0
        for row in self.rows.values():
            row.clock = 0.0
            for cell in row.cells.values():
                cell.recount(weigh)
                cell.count = sum(cell.worth(source, weigh) for source in cell.streams)
                cell.stamp += 1
                row.clock += cell.count
                cell.column.count += cell.count
            self._scores += row.clock
            yield
        before: tuple[float, ...] = ()
        for _ in range(MOST_ROUNDS):
            for row in self.rows.values():
                self.effects.fit_row(row)
                yield
            for column in self.columns.values():
                self.effects.fit_column(column)
                yield
            now = self.effects.whole
            if before and max(abs(b - a) for a, b in zip(before, now, strict=True)) < RESTED:
                break
            before = now
        self.turn()

    def become(self, other: Grid) -> None:
        """Hold what another one holds, which is used up by it. The epochs go on from here."""
        self.rows, self.columns, self.effects = other.rows, other.columns, other.effects
        self._scores = other._scores
