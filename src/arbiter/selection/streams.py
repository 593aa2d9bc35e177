"""Where the scores of a cell come from, and how much each source counts.

A cell's scores are kept apart by source: graded cases, grades of live answers, and what each caller
says, by the kind of its word. Each source fades by its own scores, so nobody can make what others
said older by saying much. What a source counts is asked for whenever the cell changes: a source
that turns out worse than thought counts less in everything that it ever said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from arbiter.knowledge.scores import Source, Weigh


@dataclass(slots=True, kw_only=True)
class Stream:
    """The scores of one source in a cell: how many and their sum, older ones fading.

    count: scores ever. early_n, early_good: the part since the change test of the cell last saw no
    loss; late_n, late_good: since that of the version did.
    """

    count: float = 0.0
    n: float = 0.0
    good: float = 0.0
    early_n: float = 0.0
    early_good: float = 0.0
    late_n: float = 0.0
    late_good: float = 0.0

    def take(self, score: float, keep: float) -> None:
        """One more score. keep: what fading leaves of the older ones."""
        self.n = self.n * keep + 1.0
        self.good = self.good * keep + score

    def take_early(self, score: float, keep: float) -> None:
        """The same among those since the loss began that the cell's test suspects."""
        self.early_n = self.early_n * keep + 1.0
        self.early_good = self.early_good * keep + score

    def take_late(self, score: float, keep: float) -> None:
        """The same among those since the loss began that the version's test suspects."""
        self.late_n = self.late_n * keep + 1.0
        self.late_good = self.late_good * keep + score

    def shift(self, count: float, total: float) -> None:
        """Scores whose order is not known; a changed one has the count 0."""
        self.count = max(0.0, self.count + count)
        self.n = max(0.0, self.n + count)
        self.good = max(0.0, min(self.n, self.good + total))
        # what came since a loss is a part of the whole, in good scores as in bad ones
        self.early_n, self.early_good = self._part(self.early_n, self.early_good)
        self.late_n, self.late_good = self._part(self.late_n, self.late_good)

    def _part(self, n: float, good: float) -> tuple[float, float]:
        n = min(n, self.n)
        return n, min(max(good, n - (self.n - self.good)), self.good)


def counted(amounts: Mapping[Source, float], weigh: Weigh) -> Mapping[Source, float]:
    """What a score of each source counts; what the house measured counts in full.

    amounts: how many scores each source has.

    >>> from arbiter.knowledge.scores import GRADES
    >>> half = lambda said, house: dict.fromkeys(said, 0.5)
    >>> counted({GRADES: 3.0, ("ann", "judge"): 2.0}, half)
    {('', 'grades'): 1.0, ('ann', 'judge'): 0.5}
    """
    found = {source: 1.0 for source in amounts if not source[0]}
    if len(found) < len(amounts):
        said = {source: amount for source, amount in amounts.items() if source[0]}
        found.update(weigh(said, sum(amounts[source] for source in found)))
    return found
