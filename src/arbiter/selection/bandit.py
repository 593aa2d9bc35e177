"""What scores say of every version at every task: a hierarchical Bayesian table.

`update` takes one score, `get` tells what is believed of a cell. A cell borrows from the version's
other tasks, from the task's other versions, from the parent task and from the predecessor, and
each the less the more scores of its own it has. Old scores fade, and a version whose scores
suddenly fall is taken at what they have been since (`arbiter.stats.change`).

The table is deterministic: the same scores in the same order give the same beliefs. It knows no
clock, no engine and no request; lineage and the parents of tasks are told to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isfinite, sqrt

from arbiter.refs import TaskName, VersionId
from arbiter.selection.cells import Cell, Column, Effects, Row
from arbiter.selection.falls import fallen
from arbiter.selection.succession import Bond, Kin, bond, succeed
from arbiter.stats.estimators import (
    Beta,
    beta_from,
    logistic,
    logit,
    normal_quantile,
    share_moments,
)

HALF_LIFE = 300.0
"""Scores of a cell after which an old one counts half."""

MOST_PRIOR = 50.0
"""Scores that the rest of the table may be worth to a cell, however alike its cells are."""

_DEEP = 4
"""Predecessors of predecessors that are looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Belief:
    """What is believed of a version at a task.

    mean, variance: of its quality in [0, 1]. samples: scores it ever had there, cases included.
    neglect: scores that
    others had at the task for each of its own.
    """

    mean: float
    variance: float
    samples: float = 0.0
    neglect: float = 0.0

    @property
    def deviation(self) -> float:
        """The standard deviation."""
        return sqrt(self.variance)

    def interval(self, level: float = 0.9) -> tuple[float, float]:
        """The credible interval, with a belief that is normal on the logit scale."""
        inside = max(1e-4, min(1.0 - 1e-4, self.mean))
        reach = normal_quantile(0.5 + level / 2.0) * self.deviation / (inside * (1.0 - inside))
        return logistic(logit(inside) - reach), logistic(logit(inside) + reach)


class Table:
    """The learner. One writer: whoever calls `update`.

    half_life: scores of a cell after which an old one counts half; None: nothing fades.
    watchful: whether a version's fall is looked for.
    """

    def __init__(self, *, half_life: float | None = HALF_LIFE, watchful: bool = True) -> None:
        self.half_life = half_life
        self.watchful = watchful
        self._keep = 1.0 if half_life is None else 0.5 ** (1.0 / half_life)
        self._rows: dict[TaskName, Row] = {}
        self._columns: dict[VersionId, Column] = {}
        self._effects = Effects()
        self._before: dict[VersionId, VersionId] = {}
        self._bonds: dict[VersionId, tuple[tuple[int, float], Bond]] = {}
        self._beliefs: dict[tuple[TaskName, VersionId], tuple[tuple[int, ...], Belief]] = {}
        self._scores = 0.0
        self._epoch = 0
        self._next_epoch = 0.0

    def relate(self, *, predecessors: Mapping[VersionId, VersionId],
               parents: Mapping[TaskName, TaskName]) -> None:  # fmt: skip
        """Tell which version each one succeeded, and which task each is a finer kind of."""
        self._before = {new: old for new, old in predecessors.items() if new != old}
        for name, above in parents.items():
            if not self._is_above(name, above, parents):
                self._row(name).parent = self._row(above)
        for row in self._rows.values():
            if row.task not in parents:
                row.parent = None
        self._bonds.clear()
        self._turn()

    @staticmethod
    def _is_above(name: TaskName, above: TaskName, parents: Mapping[TaskName, TaskName]) -> bool:
        """Whether a task is above its own parent: such a ring is no relation at all."""
        seen = {above}
        while above != name and above in parents and parents[above] not in seen:
            above = parents[above]
            seen.add(above)
        return above == name

    def update(self, task: TaskName, version: VersionId, score: float) -> bool:
        """Take one score in [0, 1]. True: the version fell, and its earlier scores were dropped.

        Raises:
            ValueError: the score is outside [0, 1].
        """
        if not 0.0 <= score <= 1.0:
            raise ValueError(f"a score lies in [0, 1], not {score}")
        cell = self._cell(task, version)
        row, column = cell.row, cell.column
        keep = self._keep
        lost = fallen(cell, score, keep=keep) if self.watchful else ()
        cell.n = cell.n * keep + 1.0
        cell.good = cell.good * keep + score
        row.clock += 1.0
        cell.count += 1.0
        column.count += 1.0
        for other in lost:
            self._effects.fit_row(other.row)
            other.stamp += 1
        if lost:
            self._effects.fit_column(column)
            self._turn()
        self._touched(cell, 1.0)
        return bool(lost)

    def add(self, task: TaskName, version: VersionId, *, count: float, total: float) -> None:
        """Add scores whose order is not known (or take some away): no fall is looked for in them.

        A changed score is ``count=0`` with the difference.
        """
        cell = self._cell(task, version)
        cell.n = max(0.0, cell.n + count)
        cell.good = max(0.0, min(cell.n, cell.good + total))
        cell.count = max(0.0, cell.count + count)
        cell.row.clock += max(0.0, count)
        cell.column.count = max(0.0, cell.column.count + count)
        self._touched(cell, abs(count) or 1.0)

    def get(self, task: TaskName, version: VersionId) -> Belief:
        """What is believed now, of unknown versions and tasks too."""
        return self._believe(task, version, _DEEP)

    def revision(self, task: TaskName) -> tuple[int, int]:
        """Another one when all beliefs at the task are worth another look.

        A cell's own scores are not in it: whoever adds one knows whose it is.
        """
        row = self._rows.get(task)
        return self._epoch, 0 if row is None else row.stamp

    def _row(self, task: TaskName) -> Row:
        row = self._rows.get(task)
        if row is None:
            row = self._rows[task] = Row(task=task)
        return row

    def _cell(self, task: TaskName, version: VersionId) -> Cell:
        row = self._row(task)
        cell = row.cells.get(version)
        if cell is None:
            column = self._columns.get(version)
            if column is None:
                column = self._columns[version] = Column(version=version)
            cell = Cell(row=row, column=column, mode=self._effects.mu + row.effect + column.effect)
            row.cells[version] = column.cells[task] = cell
        return cell

    def _touched(self, cell: Cell, count: float) -> None:
        row, column = cell.row, cell.column
        cell.stamp += 1
        self._scores += count
        if row.clock >= row.due or count != 1.0:
            self._effects.fit_row(row)
            row.due = row.clock * 1.05
        if column.count >= column.due or count != 1.0:
            self._effects.fit_column(column)
            column.due = column.count * 1.02
        if self._scores >= self._next_epoch:
            self._turn()

    def _turn(self) -> None:
        """Let every task look again: what was learned elsewhere has had time to matter."""
        self._epoch += 1
        self._next_epoch = self._scores + max(20.0, 0.03 * self._scores)

    def _believe(self, task: TaskName, version: VersionId, deep: int) -> Belief:
        row, column = self._rows.get(task), self._columns.get(version)
        cell = None if row is None else row.cells.get(version)
        follows = deep > 0 and version in self._before
        stamps = (
            self._epoch if follows else 0,
            0 if row is None else row.stamp,
            0 if column is None else column.stamp,
            0 if cell is None else cell.stamp,
        )
        known = self._beliefs.get((task, version))
        if known is not None and known[0] == stamps:
            belief = known[1]
        else:
            belief = self._work_out((task, version), cell, deep=deep if follows else 0)
            self._beliefs[task, version] = (stamps, belief)
        neglect = 0.0 if row is None else row.clock / (belief.samples + 1.0)
        return belief if belief.neglect == neglect else replace(belief, neglect=neglect)

    def _work_out(
        self, where: tuple[TaskName, VersionId], cell: Cell | None, *, deep: int
    ) -> Belief:
        task, version = where
        row, column = self._rows.get(task), self._columns.get(version)
        alone = self._alone(row, column, cell, version)
        n, good, count = (0.0, 0.0, 0.0) if cell is None else (cell.n, cell.good, cell.count)
        if deep:
            old = self._believe(task, self._before[version], deep - 1)
            kin = Kin(beta_from(old.mean, old.variance), alone, n, good)
            mean, variance = succeed(kin, self._bond(version, deep))
        else:
            after = alone.after(good, n - good)
            mean, variance = after.mean, after.variance
        return Belief(mean=mean, variance=variance, samples=count)

    def _alone(
        self, row: Row | None, column: Column | None, cell: Cell | None, version: VersionId
    ) -> Beta:
        """The prior of a cell from the table alone, worth `MOST_PRIOR` scores at most."""
        mean, variance = share_moments(*self._effects.expected(row, column, cell, version))
        return beta_from(mean, max(variance, mean * (1.0 - mean) / (1.0 + MOST_PRIOR)))

    def _bond(self, version: VersionId, deep: int) -> Bond:
        """What the successor's evidence at all its tasks says of its likeness."""
        column = self._columns.get(version)
        if column is None:
            return Bond()
        known = self._bonds.get(version)
        if known is None or known[0] != (self._epoch, column.count):
            kin = []
            for task, cell in column.cells.items():
                if cell.n > 0.0:
                    old = self._believe(task, self._before[version], deep - 1)
                    alone = self._alone(cell.row, column, cell, version)
                    kin.append(Kin(beta_from(old.mean, old.variance), alone, cell.n, cell.good))
            known = self._bonds[version] = ((self._epoch, column.count), bond(kin))
        return known[1]

    def settle(self) -> None:
        """Fit everything until it rests: after a load or a merge."""
        for _ in range(12):
            for row in self._rows.values():
                self._effects.fit_row(row)
            for column in self._columns.values():
                self._effects.fit_column(column)
        self._turn()

    def merge(self, other: Table) -> None:
        """Take over the evidence of another table, as if its scores had come here as well."""
        for row in other._rows.values():
            for version, theirs in row.cells.items():
                cell = self._cell(row.task, version)
                cell.n += theirs.n
                cell.good += theirs.good
                cell.count += theirs.count
                cell.stamp += 1
                cell.column.count += theirs.count
                self._scores += theirs.count
            mine = self._row(row.task)
            mine.clock += row.clock
        self.settle()

    def to_state(self) -> dict[str, object]:
        """All evidence as plain JSON; the fit follows from it."""
        return {
            "format": 1,
            "tasks": [[row.task, row.clock] for row in self._rows.values()],
            "versions": [[c.version, c.alarm, c.epoch, c.wary] for c in self._columns.values()],
            "cells": [
                [row.task, version, *(getattr(cell, name) for name in _KEPT)]
                for row in self._rows.values()
                for version, cell in row.cells.items()
            ],
        }

    @classmethod
    def from_state(cls, state: Mapping[str, object], *, half_life: float | None = HALF_LIFE,
                   watchful: bool = True) -> Table:  # fmt: skip
        """A table with this evidence. Raises ValueError for what `to_state` did not make."""
        table = cls(half_life=half_life, watchful=watchful)
        if state.get("format") != 1:
            raise ValueError("this is no state of a table, or one of another format")
        try:
            for task, version, *kept in _lists(state["cells"]):
                cell = table._cell(TaskName(str(task)), VersionId(str(version)))
                for name, value in zip(_KEPT, kept, strict=True):
                    setattr(cell, name, int(_number(value)) if name == "epoch" else _number(value))
                cell.column.count += cell.count
                table._scores += cell.count
            for task, clock in _lists(state["tasks"]):
                table._row(TaskName(str(task))).clock = _number(clock)
            for version, alarm, epoch, wary in _lists(state["versions"]):
                column = table._columns[VersionId(str(version))]
                column.alarm, column.epoch = _number(alarm), int(_number(epoch))
                column.wary = _number(wary)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError("this is no state of a table") from error
        table.settle()
        return table


_KEPT = (
    "count", "n", "good", "alarm", "early_n", "early_good", "late_n", "late_good", "epoch",
)  # fmt: skip


def _lists(value: object) -> list[list[object]]:
    if not isinstance(value, list) or not all(isinstance(one, list) for one in value):
        raise TypeError("a list of lists was expected")
    return value


def _number(value: object) -> float:
    if not isinstance(value, int | float) or not isfinite(value):
        raise TypeError("a number was expected")
    return float(value)
