"""Rows on their way to evidence: taken up in the order of assignment, each once it is durable.

What is in flight, and what waits to be judged, holds back what was assigned after it. So what is in
memory never differs from a replay of the rows, and what comes slowly cannot arrive after the
verdict that it should have shaped. This module does not know what a row proves.
"""

from __future__ import annotations

from collections.abc import Callable

from arbiter.refs import DecisionId
from arbiter.swap.basis import UnitRow
from arbiter.swap.judging import Wait, Waits


class InOrder:
    """The positions of one rollout, or of one watched promotion.

    fold: told of each row that is taken up. within_s: how long a judgement may take, in seconds.

    >>> found = []
    >>> order = InOrder(found.append, within_s=3600.0)
    >>> first, second = order.give(), order.give()
    >>> order.end(second, (second, "u", "sum", "stable", 0.9, 1.0, "answered", 12.5))
    >>> found
    []
    >>> order.end(first, None)
    >>> len(found), order.until
    (1, 2)
    """

    __slots__ = ("_ended", "_fold", "_given", "_within_s", "until", "waits")

    def __init__(self, fold: Callable[[UnitRow], None], *, within_s: float) -> None:
        self.until = 0
        """Every row with a smaller position was taken up, and no other."""
        self.waits = Waits()
        """The units that are to be judged and are not."""
        self._fold = fold
        self._within_s = within_s
        self._given = 0
        self._ended: dict[int, UnitRow | None] = {}

    def give(self) -> int:
        """A position for a conversation that is assigned now."""
        self._given += 1
        return self._given - 1

    def gave(self, count: int) -> None:
        """So many positions were given at least: no other conversation may get one of them."""
        self._given = max(self._given, count)

    def know(self, row: UnitRow, waits: DecisionId | None) -> None:
        """A row of the record; waits: the decision that is to be judged, if it still is."""
        self.gave(row[0] + 1)
        if waits is None:
            self._ended[row[0]] = row
        else:
            self.waits.add(waits, Wait(row=row, left_s=self._within_s))

    def resume(self) -> None:
        """Take up what is known. Positions without a row were in flight when the house died."""
        waiting = {self.waits[decision].row[0] for decision in self.waits}
        for lost in range(self.until, self._given):
            if lost not in waiting:
                self._ended.setdefault(lost, None)
        self._settle()

    def storing(self, row: UnitRow, decision: DecisionId, *, waits: bool) -> Callable[[bool], None]:
        """What to call once a row is durable, or lost. waits: whether it is to be judged."""

        def stored(durable: bool) -> None:
            if durable and waits:
                self.waits.add(decision, Wait(row=row, left_s=self._within_s))
            else:
                self.end(row[0], row if durable else None)

        return stored

    def end(self, position: int, row: UnitRow | None) -> None:
        """A position has its row, which is durable; None: it has none, and never will."""
        self._ended[position] = row
        self._settle()

    def judged(self, decision: DecisionId, score: float | None) -> UnitRow | None:
        """A unit that waited has its score, or will have none; its row then, if it did wait."""
        wait = self.waits.pop(decision)
        if wait is None:
            return None
        row = wait.judged(score)
        self.end(row[0], row)
        return row

    def _settle(self) -> None:
        while self.until in self._ended:
            row = self._ended.pop(self.until)
            self.until += 1
            if row is not None:
                self._fold(row)
