"""What callers say of answers, added up for each cell and weighed when somebody looks.

Kept are counts and sums only: for each cell by caller and source, and for each source of a caller
how often it agreed with a reference. A weight is never written down, so a source that turns out
better or worse than thought weighs differently at once, in everything that it ever said. Each
caller's sources are believed by themselves: nobody can spoil the name of another's judge.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from arbiter.knowledge.agreement import (
    PRIORS,
    Compared,
    Table,
    believed,
    class_of,
    shares,
)
from arbiter.knowledge.scores import Source
from arbiter.refs import TaskName, VersionId

OWNERS = frozenset({"local", "python"})
"""Callers without a key are whoever runs the house: there is nobody else whom a bound protects."""


NOTICEABLE = 0.02
"""A change of a weight below this changes nobody's mind about anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """How far a source of a caller is believed, and the pairs that say so.

    judgements: how many it made. pairs: in how many of them a reference judged the same answer.
    """

    source: str
    caller: str
    weight: float
    prior: float
    judgements: float
    pairs: float
    agreed: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """What feedback adds to a cell: how many whole judgements, and the sum of their scores."""

    graded: float = 0.0
    quality: float = 0.0


class Judgements:
    """All feedback, as counts. `arbiter.knowledge.profiles` is its only writer."""

    def __init__(self, owners: frozenset[str] = OWNERS) -> None:
        self.owners = owners
        self._cells: dict[VersionId, dict[TaskName, dict[tuple[str, str], Weighed]]] = {}
        self._pairs: dict[tuple[str, str], Table] = {}
        self._compared: set[Source] = set()
        self._told: dict[Source, float] = {}

    def add(
        self,
        version: VersionId,
        task: TaskName,
        *,
        caller: str,
        source: str,
        count: int,
        total: float,
    ) -> None:
        """Add so many judgements with this sum of scores to a cell; less than none takes away."""
        cells = self._cells.setdefault(version, {})
        cell = cells.setdefault(task, {})
        key = (caller, class_of(source))
        known = cell.get(key, Weighed())
        cell[key] = Weighed(graded=known.graded + count, quality=known.quality + total)
        if cell[key].graded <= 0:
            del cell[key]
        if not cell:
            del cells[task]

    def compare(self, pairs: Iterable[Compared], *, times: float = 1) -> bool:
        """Count pairs for their sources; whether any weight may have changed."""
        changed = False
        for pair in pairs:
            key = (pair.caller, pair.source)
            self._pairs[key] = self._pairs.get(key, Table()).plus(pair.table, times)
            self._compared.add(key)
            changed = True
        return changed

    def drifted(self) -> bool:
        """Whether any source is believed noticeably otherwise than when this last said so."""
        found = False
        for key in self._compared:
            weight = self._weight(*key)
            if abs(weight - self._told.get(key, PRIORS[key[1]])) >= NOTICEABLE:
                self._told[key], found = weight, True
        self._compared.clear()
        return found

    def touches(self, version: VersionId, task: TaskName) -> bool:
        """Whether anybody said anything of this cell."""
        return task in self._cells.get(version, {})

    def knows(self, version: VersionId) -> bool:
        """Whether anybody said anything of a version."""
        return version in self._cells

    def tasks_of(self, version: VersionId) -> tuple[TaskName, ...]:
        """The tasks at which anybody said anything of a version."""
        return tuple(self._cells.get(version, {}))

    def weigh(self, version: VersionId, task: TaskName, *, house: float) -> Weighed:
        """What feedback adds to a cell. house: judgements there that no caller made."""
        cell = self._cells.get(version, {}).get(task)
        if cell is None:
            return Weighed()
        weights = self.weights({key: one.graded for key, one in cell.items()}, house)
        graded = quality = 0.0
        for key, one in sorted(cell.items()):
            graded += weights[key] * one.graded
            quality += weights[key] * one.quality
        return Weighed(graded=graded, quality=quality)

    def weights(self, said: Mapping[Source, float], house: float) -> Mapping[Source, float]:
        """What a judgement of each caller's sources counts where they made so many of them.

        house: judgements there that no caller made.
        """
        believed_in = {key: self._weight(*key) for key in said}
        amounts: dict[str, float] = {}
        for key, count in said.items():
            amounts[key[0]] = amounts.get(key[0], 0.0) + believed_in[key] * count
        parts = shares(amounts, house=house, owners=self._owners_of(amounts))
        return {key: weight * parts[key[0]] for key, weight in believed_in.items()}

    def trust(self) -> tuple[Trust, ...]:
        """Every source that said something, the most believed first."""
        made: dict[tuple[str, str], float] = {}
        for cells in self._cells.values():
            for key, one in [pair for cell in cells.values() for pair in cell.items()]:
                made[key] = made.get(key, 0.0) + one.graded
        found = [
            Trust(
                source=source,
                caller=caller,
                weight=self._weight(caller, source),
                prior=PRIORS[source],
                judgements=count,
                pairs=self._pairs.get((caller, source), Table()).pairs,
                agreed=self._pairs.get((caller, source), Table()).agreed,
            )
            for (caller, source), count in made.items()
        ]
        return tuple(sorted(found, key=lambda one: (-one.weight, one.source, one.caller)))

    def _weight(self, caller: str, source: str) -> float:
        return believed(source, self._pairs.get((caller, source), Table()))

    def _owners_of(self, callers: Iterable[str]) -> frozenset[str]:
        """Those who run this house, or ran the one that their feedback was carried in from."""
        return frozenset(one for one in callers if one in self.owners or one.endswith("/owner"))
