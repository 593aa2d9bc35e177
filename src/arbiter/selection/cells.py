"""The parts of the learner's table: cells, and the effects of their rows and columns.

A cell's logit is ``mu + a[task] + b[version] + e[task, version]``, each part normal around 0 with a
variance that is itself estimated (empirical Bayes; Gelman et al., Bayesian Data Analysis, ch. 15).
Scores are linearised at the cell's mode, and the parts are fitted one after another, so that one
more score costs one row and one column, never the table. Nothing here decides anything.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from arbiter.knowledge.scores import Fall, Source, Weigh
from arbiter.refs import TaskName, VersionId
from arbiter.selection.streams import Stream, counted
from arbiter.stats.estimators import logistic

KINSHIP = 0.8
"""How much of a parent task's effects its child shares; the rest is its own."""

_KIN2 = KINSHIP * KINSHIP
_STEP = 1.5
"""The longest Newton step on a logit."""

_FAR = 4.0
"""No cell is expected further out than this on the logit scale before its own evidence."""

_MOST_PART = 0.6
"""The largest part of an effect that is taken to be a single cell's doing."""


@dataclass(slots=True, kw_only=True)
class Cell:
    """The evidence of one version at one task.

    count: scores ever. n, good: scores and their sum, older ones fading; early_n and the like: see
    `arbiter.selection.streams.Stream`. All of them are what the streams count together. since:
    when the loss began that the cell's change test suspects, as whoever tells the scores knows it;
    heard, said: what the test took since, of all and of each bounded caller.
    """

    row: Row
    column: Column
    streams: dict[Source, Stream] = field(default_factory=dict)
    count: float = 0.0
    n: float = 0.0
    good: float = 0.0
    alarm: float = 0.0
    since: str = ""
    heard: float = 0.0
    said: dict[str, float] = field(default_factory=dict)
    early_n: float = 0.0
    early_good: float = 0.0
    late_n: float = 0.0
    late_good: float = 0.0
    epoch: int = 0
    mode: float = 0.0
    weight: float = 0.0
    seen: float = 0.0
    """The linearised observation on the logit scale, and `weight` its precision, less `e`."""
    stamp: int = 0

    def stream(self, source: Source) -> Stream:
        """The scores of a source."""
        found = self.streams.get(source)
        if found is None:
            found = self.streams[source] = Stream()
        return found

    def recount(self, weigh: Weigh) -> None:
        """Add up what the streams count now."""
        streams = self.streams
        weight = counted({source: stream.n for source, stream in streams.items()}, weigh)
        n = good = early_n = early_good = late_n = late_good = 0.0
        for source, stream in streams.items():
            part = weight[source]
            n += part * stream.n
            good += part * stream.good
            early_n += part * stream.early_n
            early_good += part * stream.early_good
            late_n += part * stream.late_n
            late_good += part * stream.late_good
        self.n, self.good = n, good
        self.early_n, self.early_good = early_n, early_good
        self.late_n, self.late_good = late_n, late_good

    def worth(self, source: Source, weigh: Weigh) -> float:
        """How many scores those of a source ever counted here, fading aside.

        It is bounded where what a caller may add is, however much it says: change tests and the
        numbers of scores go by this.
        """
        amounts = {source: stream.count for source, stream in self.streams.items()}
        return counted(amounts, weigh)[source] * amounts[source] if source in amounts else 0.0

    def linearise(self, eta: float, spread: float) -> None:
        """Take one Newton step towards the cell's mode; spread: the variance of ``e``."""
        n, good, mode = self.n, self.good, self.mode
        for _ in range(2):
            share = logistic(mode)
            slope = good - n * share - (mode - eta) / spread
            step = slope / (n * share * (1.0 - share) + 1.0 / spread)
            mode += max(-_STEP, min(_STEP, step))
        share = logistic(mode)
        precision = n * share * (1.0 - share)
        self.mode = mode
        self.seen = mode + ((good - n * share) / precision if precision > 1e-9 else 0.0)
        self.weight = precision / (1.0 + precision * spread)


@dataclass(slots=True, kw_only=True)
class Row:
    """A task: how hard it is, and what its cells say of each version.

    clock: scores at this task. due: at which clock to fit again.
    """

    task: TaskName
    parent: Row | None = None
    cells: dict[VersionId, Cell] = field(default_factory=dict)
    clock: float = 0.0
    due: float = 0.0
    effect: float = 0.0
    variance: float = 1.0
    stamp: int = 0
    about_mu: tuple[float, float] = (0.0, 0.0)
    about_rest: tuple[float, float] = (0.0, 0.0)
    about_effect: tuple[float, float] = (0.0, 0.0)


@dataclass(slots=True, kw_only=True)
class Column:
    """A version: how good it is in general.

    alarm, since, epoch, heard, said: its change test, as in `Cell`. wary: scores for which its
    cells are watched closely. fell: the latest fall that its change tests noticed.
    """

    version: VersionId
    cells: dict[TaskName, Cell] = field(default_factory=dict)
    count: float = 0.0
    due: float = 0.0
    effect: float = 0.0
    variance: float = 0.5
    stamp: int = 0
    alarm: float = 0.0
    since: str = ""
    epoch: int = 0
    wary: float = 0.0
    fell: Fall | None = None
    heard: float = 0.0
    said: dict[str, float] = field(default_factory=dict)
    about_effect: tuple[float, float] = (0.0, 0.0)


class Effects:
    """The fit: the mean, the variances, and one row or column at a time.

    The starting variances count as 2, 2 and 4 observations of themselves.
    """

    TASK, VERSION, REST, MEAN = 1.0, 0.5, 0.6, 4.0

    def __init__(self) -> None:
        self.mu = 0.0
        self.task = self.TASK
        self.version = self.VERSION
        self.rest = self.REST
        self._mu = (0.0, 0.0)
        self._task = (0.0, 0.0)
        self._version = (0.0, 0.0)
        self._rest = (0.0, 0.0)

    @property
    def whole(self) -> tuple[float, ...]:
        """The mean and the variances: when they rest, so does the fit."""
        return self.mu, self.task, self.version, self.rest

    def row_prior(self, row: Row | None) -> tuple[float, float]:
        """Where a task's effect is believed to be before its own evidence, and the variance."""
        if row is None or row.parent is None:
            return 0.0, self.task
        above = row.parent
        return KINSHIP * above.effect, (1.0 - _KIN2) * self.task + _KIN2 * above.variance

    def rest_prior(self, row: Row | None, version: VersionId) -> tuple[float, float]:
        """The same for ``e``: a child task takes its parent's, as far as that is known."""
        above = None if row is None or row.parent is None else row.parent.cells.get(version)
        if above is None or above.weight <= 0.0:
            return 0.0, self.rest
        residual = above.seen - self.mu - above.row.effect - above.column.effect
        share = above.weight * self.rest  # W v / (1 + W v)
        return KINSHIP * share * residual, self.rest * (1.0 - _KIN2 * share)

    def fit_row(self, row: Row) -> None:
        """Fit a task's effect, and what it says of the mean and of the variances."""
        start, variance = self.row_prior(row)
        whole, pull = 1.0 / variance, start / variance
        to_mu = to_mu_pull = 0.0
        parts: list[tuple[Cell, float, float]] = []
        for version, cell in row.cells.items():
            offset, spread = self.rest_prior(row, version)
            base = self.mu + cell.column.effect + offset
            cell.linearise(base + row.effect, spread)
            whole += cell.weight
            pull += cell.weight * (cell.seen - base)
            parts.append((cell, base, spread))
        row.effect, row.variance = pull / whole, 1.0 / whole
        square = known = 0.0
        for cell, base, spread in parts:
            if cell.weight > 0.0:
                left = cell.seen - base - row.effect
                share = cell.weight * spread
                doubt = row.variance + cell.column.variance
                square += share * share * (left * left + doubt) + spread * (1.0 - share)
                known += 1.0
                to_mu += cell.weight
                to_mu_pull += cell.weight * (left + self.mu)
        self._mu = _exchange(self._mu, row.about_mu, (to_mu, to_mu_pull))
        row.about_mu = (to_mu, to_mu_pull)
        self._rest = _exchange(self._rest, row.about_rest, (known, square))
        row.about_rest = (known, square)
        own = row.effect - start
        mine = (1.0, (own * own + row.variance) * self.task / variance) if known else (0.0, 0.0)
        self._task = _exchange(self._task, row.about_effect, mine)
        row.about_effect = mine
        self.mu = self._mu[1] / (self._mu[0] + 1.0 / self.MEAN)
        self.task = (self._task[1] + 2.0 * self.TASK) / (self._task[0] + 2.0)
        rest = (self._rest[1] + 4.0 * self.REST) / (self._rest[0] + 4.0)
        self.rest = max(0.05, min(4.0, rest))
        row.stamp += 1

    def fit_column(self, column: Column) -> None:
        """Fit a version's effect and its variance."""
        whole, pull = 1.0 / self.version, 0.0
        for cell in column.cells.values():
            offset, _ = self.rest_prior(cell.row, column.version)
            whole += cell.weight
            pull += cell.weight * (cell.seen - self.mu - cell.row.effect - offset)
        column.effect, column.variance = pull / whole, 1.0 / whole
        mine = (1.0, column.effect * column.effect + column.variance)
        self._version = _exchange(self._version, column.about_effect, mine)
        column.about_effect = mine
        self.version = (self._version[1] + 2.0 * self.VERSION) / (self._version[0] + 2.0)
        column.stamp += 1

    def expected(self, row: Row | None, column: Column | None, cell: Cell | None,
                 version: VersionId) -> tuple[float, float]:  # fmt: skip
        """Mean and variance of a cell's logit before the cell's own evidence."""
        offset, spread = self.rest_prior(row, version)
        effect, doubt = (
            self.row_prior(row) if row is None or not row.cells else (row.effect, row.variance)
        )
        eta = self.mu + effect + offset + (0.0 if column is None else column.effect)
        doubt += self.version if column is None else column.variance
        if cell is not None and cell.weight > 1e-9:
            # the effects were fitted with this cell in them: take its own part out again
            part = min(_MOST_PART, cell.weight * doubt)
            eta -= part * (cell.seen - eta) / (1.0 - part)
            doubt /= 1.0 - part
        return max(-_FAR, min(_FAR, eta)), doubt + spread


def _exchange(
    whole: tuple[float, float], before: tuple[float, float], now: tuple[float, float]
) -> tuple[float, float]:
    return whole[0] - before[0] + now[0], whole[1] - before[1] + now[1]
