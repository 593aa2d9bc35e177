"""What scores say of every version at every task: a hierarchical Bayesian table.

`update` takes one score, `get` tells what is believed of a cell. A cell borrows from the version's
other tasks, from the task's other versions, from the parent task and from the predecessor, and
each the less the more scores of its own it has. Old scores fade, and a version whose scores
suddenly fall is taken at what they have been since (`arbiter.stats.change`).

The table is deterministic: the same scores in the same order give the same beliefs. It knows no
clock, no engine and no request; lineage and the parents of tasks are told to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Self

from arbiter.knowledge.scores import (
    CARRIED,
    CASES,
    GRADES,
    Again,
    Doubt,
    Fall,
    Source,
    Weigh,
    in_full,
)
from arbiter.refs import TaskName, VersionId
from arbiter.selection.belief import Belief
from arbiter.selection.cells import Cell, Column, Effects, Row
from arbiter.selection.doubts import SUSPICION, doubt, is_suspicious, shown
from arbiter.selection.falls import dropped, note, suspect
from arbiter.selection.states import state_of, take_state
from arbiter.selection.succession import Bond, Kin, bond, succeed
from arbiter.stats.estimators import (
    Beta,
    beta_from,
    share_moments,
)

HALF_LIFE = 300.0
"""Scores of a cell after which an old one counts half."""

MOST_PRIOR = 50.0
"""Scores that the rest of the table may be worth to a cell, however alike its cells are."""

MUCH = 1e6
"""More scores than any caller is let say."""

MOST_ROUNDS = 12
"""Rounds of fitting everything; each costs 25 microseconds a cell."""

RESTED = 1e-3
"""A fit rests when no variance nor the mean moves by more in a round."""

_Known = Callable[[Fall], bool]


def _whichever(_: Fall) -> bool:
    return True


_DEEP = 4
"""Predecessors of predecessors that are looked at."""


class Table:
    """The learner. One writer: whoever calls `update`.

    half_life: scores of a source in a cell after which an old one counts half; None: nothing fades.
    watchful: whether a version's fall is looked for. weigh: how much what callers say counts.
    """

    def __init__(
        self,
        *,
        half_life: float | None = HALF_LIFE,
        watchful: bool = True,
        weigh: Weigh = in_full,
    ) -> None:
        self.half_life = half_life
        self.watchful = watchful
        self._weigh = weigh
        self.keep = 1.0 if half_life is None else 0.5 ** (1.0 / half_life)
        self._rows: dict[TaskName, Row] = {}
        self._columns: dict[VersionId, Column] = {}
        self._effects = Effects()
        self._before: dict[VersionId, VersionId] = {}
        self._parents: dict[TaskName, TaskName] = {}
        self._bonds: dict[VersionId, tuple[tuple[int, float], Bond]] = {}
        self._beliefs: dict[tuple[TaskName, VersionId], tuple[tuple[int, ...], Belief]] = {}
        self._doubted: set[VersionId] = set()
        """Versions that a change test has suspected; some of them no longer."""
        self._scores = 0.0
        self._epoch = 0
        self._next_epoch = 0.0

    def relate(self, *, predecessors: Mapping[VersionId, VersionId],
               parents: Mapping[TaskName, TaskName]) -> None:  # fmt: skip
        """Tell which version each one succeeded, and which task each is a finer kind of."""
        self._before = {new: old for new, old in predecessors.items() if new != old}
        self._parents = dict(parents)
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

    def update(self, task: TaskName, version: VersionId, score: float, *,
               source: Source = GRADES, mark: str = "") -> Fall | None:  # fmt: skip
        """Take one score in [0, 1]; the fall of the version that it shows, if it shows one.

        After a fall only the scores since it began are kept. mark: when the score came, as the
        caller knows it; a fall is told with the mark of its first score.

        Raises:
            ValueError: the score is outside [0, 1].
        """
        if not 0.0 <= score <= 1.0:
            raise ValueError(f"a score lies in [0, 1], not {score}")
        cell = self._cell(task, version)
        row, column = cell.row, cell.column
        weight = self._counted_once_more(cell, source)
        fall, lost = self._suspected(cell, score, source=source, weight=weight, mark=mark)
        cell.stream(source).take(score, self.keep)
        cell.recount(self._weigh)
        row.clock += weight
        cell.count += weight
        column.count += weight
        if fall is not None or max(cell.alarm, column.alarm) > SUSPICION:
            self._doubted.add(version)
        self._lost(column, lost)
        self._touched(cell, weight)
        return fall

    def _lost(self, column: Column, cells: Sequence[Cell]) -> None:
        """Fit again what evidence was dropped of."""
        for other in cells:
            other.recount(self._weigh)
            self._effects.fit_row(other.row)
            other.stamp += 1
        if cells:
            self._effects.fit_column(column)
            self._turn()

    def doubts(self, cleared: Mapping[VersionId, str]) -> tuple[Doubt, ...]:
        """Versions that may have got worse, the surest first: see `arbiter.selection.doubts`.

        cleared: when a version's cases were last run again; a suspicion from before is no news.
        """
        columns = [self._columns[version] for version in sorted(self._doubted)]
        self._doubted = {one.version for one in columns if is_suspicious(one)}
        found = [doubt(column, cleared.get(column.version, "")) for column in columns]
        return tuple(sorted(filter(None, found), key=lambda one: -one.odds))

    def shown(self, version: VersionId, results: Mapping[TaskName, Sequence[Again]], *,
              began: str) -> Fall | None:  # fmt: skip
        """The fall that cases show which were run again, and nothing is taken in.

        began: when the first of them was run, as marks are told.
        """
        column = self._columns.get(version)
        if column is None or not self.watchful:
            return None
        return shown(column, results, began=began)

    def examined(self, version: VersionId, results: Mapping[TaskName, Sequence[Again]], *,
                 fall: Fall | None, source: Source = CASES) -> None:  # fmt: skip
        """Take cases that were run again, each instead of its earlier result.

        fall: what they showed; nothing from before it counts. source: where earlier results are.
        """
        column = self._columns.get(version)
        if column is not None and fall is not None:
            self._lost(column, dropped(next(iter(column.cells.values())), fall))
            column.fell = None  # its cases have just been run
        for task, again in results.items():
            counted = [] if fall is not None else [one.before for one in again if one.is_counted]
            self.add(
                task,
                version,
                count=float(len(again) - len(counted)),
                total=sum(one.now for one in again) - sum(counted),
                source=source,
            )

    def _suspected(
        self, cell: Cell, score: float, *, source: Source, weight: float, mark: str,
        known: _Known = _whichever,
    ) -> tuple[Fall | None, tuple[Cell, ...]]:  # fmt: skip
        """Let the change tests see a score before it is counted; a fall, and the cells it concerns.

        known: which falls there may be.
        """
        if not self.watchful:
            return None, ()
        bounded = source[0] if source[0] and self._is_bounded(source) else None
        fall = suspect(cell, score, weight=weight, mark=mark, bounded=bounded)
        if fall is not None and not known(fall):
            fall = None
        lost = () if fall is None else dropped(cell, fall)
        note(cell, source, score, keep=self.keep)
        return fall, lost

    def recall(self, task: TaskName, version: VersionId, score: float, *, source: Source,
               mark: str, fell: Fall | None = None) -> bool:  # fmt: skip
        """Take a score as `update` once took it; `settle` follows the last of them.

        No fall is noticed but the one that is known to have been (fell); whether this score shows
        it. So whatever fell then has fallen now, and a suspicion stands where it stood.
        """
        cell = self._cell(task, version)
        weight = self._counted_once_more(cell, source)
        fall, lost = self._suspected(
            cell, score, source=source, weight=weight, mark=mark,
            known=lambda fall: fell is not None and fall.task == fell.task,
        )  # fmt: skip
        cell.stream(source).take(score, self.keep)
        cell.recount(self._weigh)
        for other in lost:
            other.recount(self._weigh)
        return fall is not None

    def recall_shift(self, task: TaskName, version: VersionId, *, count: float, total: float,
                     source: Source) -> None:  # fmt: skip
        """Take scores as `add` once took them; `settle` follows the last of them."""
        cell = self._cell(task, version)
        cell.stream(source).shift(count, total)
        cell.recount(self._weigh)

    def recall_fall(self, fall: Fall) -> None:
        """Take a fall as known that no score shows any more."""
        column = self._columns.get(fall.version)
        cells = {} if column is None else column.cells
        cell = cells.get(fall.task) if fall.task is not None else next(iter(cells.values()), None)
        for other in () if cell is None else dropped(cell, fall):
            other.recount(self._weigh)

    def _is_bounded(self, source: Source) -> bool:
        """Whether what the caller says counts less, the more it says."""
        return self._weigh({source: 1.0}, 0.0)[source] > self._weigh({source: MUCH}, 0.0)[source]

    def _counted_once_more(self, cell: Cell, source: Source) -> float:
        """Count one more score of a source; how much more it counts now than before."""
        stream = cell.stream(source)
        if not source[0]:
            stream.count += 1.0
            return 1.0
        before = cell.worth(source, self._weigh)
        stream.count += 1.0
        return max(0.0, min(1.0, cell.worth(source, self._weigh) - before))

    def add(self, task: TaskName, version: VersionId, *, count: float, total: float,
            source: Source = CARRIED) -> None:  # fmt: skip
        """Add scores whose order is not known (or take some away): no fall is looked for in them.

        A changed score is ``count=0`` with the difference.
        """
        cell = self._cell(task, version)
        before = cell.worth(source, self._weigh)
        cell.stream(source).shift(count, total)
        cell.recount(self._weigh)
        more = cell.worth(source, self._weigh) - before
        cell.count = max(0.0, cell.count + more)
        cell.row.clock += max(0.0, more)
        cell.column.count = max(0.0, cell.column.count + more)
        self._touched(cell, abs(more), many=count != 0.0)

    def put(
        self, task: TaskName, version: VersionId, source: Source, *, count: float, n: float,
        good: float,
    ) -> None:  # fmt: skip
        """Hold more that a source has said in a cell; `settle` follows the last of it.

        count: scores ever. n, good: how many are left when older ones fade, and their sum.
        """
        cell = self._cell(task, version)
        stream = cell.stream(source)
        stream.count += count
        stream.n += n
        stream.good += max(0.0, min(n, good))
        cell.recount(self._weigh)

    def fresh(self) -> Self:
        """A table that has heard nothing; the same settings, lineage and parents of tasks."""
        other = type(self)(half_life=self.half_life, watchful=self.watchful, weigh=self._weigh)
        other.relate(predecessors=self._before, parents=self._parents)
        return other

    def become(self, other: Self) -> None:
        """Believe what another table does, instead of what was learned here.

        What was told meanwhile of lineage and parents stays. The other one is used up by it.
        """
        self._rows, self._columns, self._effects = other._rows, other._columns, other._effects
        self._beliefs, self._scores, self._doubted = {}, other._scores, other._doubted
        self.relate(predecessors=self._before, parents=self._parents)

    def reweigh(self) -> None:
        """Ask again how much what callers say counts: some are believed otherwise now."""
        for row in self._rows.values():
            for cell in row.cells.values():
                if any(source[0] for source in cell.streams):
                    cell.recount(self._weigh)
                    cell.stamp += 1
        self._turn()

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

    def _touched(self, cell: Cell, count: float, *, many: bool = False) -> None:
        row, column = cell.row, cell.column
        cell.stamp += 1
        self._scores += count
        if row.clock >= row.due or many:
            self._effects.fit_row(row)
            row.due = row.clock * 1.05
        if column.count >= column.due or many:
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
        above = None if row is None else row.parent
        stamps = (
            self._epoch,
            0 if row is None else row.stamp,
            0 if above is None else above.stamp,
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
        if belief.neglect == neglect:
            return belief
        return Belief(
            mean=belief.mean, variance=belief.variance, samples=belief.samples, neglect=neglect
        )

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
        """Count and fit everything until it rests: after many `put` or a merge."""
        for _ in self.settling():
            pass

    def settling(self) -> Iterator[None]:
        """`settle` in steps of a row or a column, for whoever has other things to do meanwhile."""
        self._scores = 0.0
        self._doubted = {version for version, one in self._columns.items() if is_suspicious(one)}
        for column in self._columns.values():
            column.count = 0.0
        for row in self._rows.values():
            row.clock = 0.0
            for cell in row.cells.values():
                cell.recount(self._weigh)
                cell.count = sum(cell.worth(source, self._weigh) for source in cell.streams)
                cell.stamp += 1
                row.clock += cell.count
                cell.column.count += cell.count
            self._scores += row.clock
            yield
        before: tuple[float, ...] = ()
        for _ in range(MOST_ROUNDS):
            for row in self._rows.values():
                self._effects.fit_row(row)
                yield
            for column in self._columns.values():
                self._effects.fit_column(column)
                yield
            now = self._effects.whole
            if before and max(abs(b - a) for a, b in zip(before, now, strict=True)) < RESTED:
                break
            before = now
        self._turn()

    def merge(self, other: Table) -> None:
        """Take over the evidence of another table, as if its scores had come here as well."""
        for row in other._rows.values():
            for version, theirs in row.cells.items():
                cell = self._cell(row.task, version)
                for source, stream in theirs.streams.items():
                    mine = cell.stream(source)
                    mine.count += stream.count
                    mine.n += stream.n
                    mine.good += stream.good
        self.settle()

    def to_state(self) -> dict[str, object]:
        """All evidence as plain JSON; the fit follows from it."""
        return state_of(self._columns.values())

    @classmethod
    def from_state(cls, state: Mapping[str, object], *, half_life: float | None = HALF_LIFE,
                   watchful: bool = True) -> Table:  # fmt: skip
        """A table with this evidence. Raises ValueError for what `to_state` did not make."""
        table = cls(half_life=half_life, watchful=watchful)
        take_state(state, table._cell)
        table.settle()
        return table
