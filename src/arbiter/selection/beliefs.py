"""What is believed of each cell: by the table around it, by its own scores, by a predecessor's.

What was worked out is kept until something that it rests on is another. See
`arbiter.selection.succession` for how a successor takes after its predecessor.
"""

from __future__ import annotations

from collections.abc import Mapping

from arbiter.refs import TaskName, VersionId
from arbiter.selection.belief import Belief
from arbiter.selection.cells import Cell, Column, Row
from arbiter.selection.grid import Grid
from arbiter.selection.succession import Bond, Kin, bond, succeed
from arbiter.stats.estimators import Beta, beta_from, share_moments

MOST_PRIOR = 50.0
"""Scores that the rest of the table may be worth to a cell, however alike its cells are."""

_DEEP = 4
"""Predecessors of predecessors that are looked at."""


class Beliefs:
    """Beliefs about the cells of a grid. predecessors: which version each one succeeded."""

    def __init__(self, grid: Grid) -> None:
        self.predecessors: Mapping[VersionId, VersionId] = {}
        self._grid = grid
        self._bonds: dict[VersionId, tuple[tuple[int, float], Bond]] = {}
        self._known: dict[tuple[TaskName, VersionId], tuple[tuple[int, ...], Belief]] = {}

    def relate(self, predecessors: Mapping[VersionId, VersionId]) -> None:
        """Tell which version each one succeeded."""
        self.predecessors = {new: old for new, old in predecessors.items() if new != old}
        self._bonds.clear()

    def forget(self) -> None:
        """Work all of them out again: the grid holds something else now."""
        self._known = {}

    def get(self, task: TaskName, version: VersionId) -> Belief:
        """What is believed now, of unknown versions and tasks too."""
        return self._believe(task, version, _DEEP)

    def _believe(self, task: TaskName, version: VersionId, deep: int) -> Belief:
        grid = self._grid
        row, column = grid.rows.get(task), grid.columns.get(version)
        cell = None if row is None else row.cells.get(version)
        follows = deep > 0 and version in self.predecessors
        above = None if row is None else row.parent
        stamps = (
            grid.epoch,
            0 if row is None else row.stamp,
            0 if above is None else above.stamp,
            0 if column is None else column.stamp,
            0 if cell is None else cell.stamp,
        )
        known = self._known.get((task, version))
        if known is not None and known[0] == stamps:
            belief = known[1]
        else:
            belief = self._work_out((task, version), cell, deep=deep if follows else 0)
            self._known[task, version] = (stamps, belief)
        neglect = 0.0 if row is None else row.clock / (belief.samples + 1.0)
        if belief.neglect == neglect:
            return belief
        return Belief(
            mean=belief.mean, variance=belief.variance, samples=belief.samples, neglect=neglect
        )

    def _work_out(
        self, where: tuple[TaskName, VersionId], cell: Cell | None, *, deep: int
    ) -> Belief:
        task, version = where
        row, column = self._grid.rows.get(task), self._grid.columns.get(version)
        alone = self._alone(row, column, cell, version)
        n, good, count = (0.0, 0.0, 0.0) if cell is None else (cell.n, cell.good, cell.count)
        if deep:
            old = self._believe(task, self.predecessors[version], deep - 1)
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
        mean, variance = share_moments(*self._grid.effects.expected(row, column, cell, version))
        return beta_from(mean, max(variance, mean * (1.0 - mean) / (1.0 + MOST_PRIOR)))

    def _bond(self, version: VersionId, deep: int) -> Bond:
        """What the successor's evidence at all its tasks says of its likeness."""
        column = self._grid.columns.get(version)
        if column is None:
            return Bond()
        known = self._bonds.get(version)
        if known is None or known[0] != (self._grid.epoch, column.count):
            kin = []
            for task, cell in column.cells.items():
                if cell.n > 0.0:
                    old = self._believe(task, self.predecessors[version], deep - 1)
                    alone = self._alone(cell.row, column, cell, version)
                    kin.append(Kin(beta_from(old.mean, old.variance), alone, cell.n, cell.good))
            known = self._bonds[version] = ((self._grid.epoch, column.count), bond(kin))
        return known[1]
