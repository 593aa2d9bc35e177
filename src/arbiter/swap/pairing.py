"""The pairs of a rollout while it goes on: drawn, awaited, taken up in the order of assignment.

A pair that was drawn and is not complete holds back the pairs behind it, so a candidate that takes
long over what it gets wrong cannot be ahead of itself. How many may be open is bounded, and the
bound is looked at before the draw: what is drawn is never given up for want of room. The house that
dies loses those that were open; rows that are durable are folded again in the same order.
"""

from __future__ import annotations

from collections.abc import Callable

from arbiter.swap.basis import PAIRS, Chain
from arbiter.swap.shadow import Agreeing, PairRow, is_drawn, pair_of

MOST_OPEN = 16
"""Pairs that may be open in one rollout, with their prompts in memory. While there are so many, a
new conversation is not drawn and is a unit of the randomised test like any other."""


def never() -> bool:
    """For a request that cannot make a pair."""
    return False


class Pairing:
    """What of one rollout's pairs is open, and what was taken up.

    fold: told of each row that is taken up, in order.
    """

    __slots__ = ("_chain", "_fold", "_open", "_settled", "_until", "agreeing")

    def __init__(self, fold: Callable[[PairRow], None]) -> None:
        self.agreeing = Agreeing()
        self._fold = fold
        self._open: dict[int, str] = {}
        """The unit of each open position, in the order of assignment."""
        self._settled: dict[int, PairRow | None] = {}
        self._until = 0
        self._chain = Chain(PAIRS)

    @property
    def open(self) -> int:
        """How many were drawn and are not taken up."""
        return len(self._open)

    @property
    def until(self) -> int:
        """Every pair with a smaller position was taken up, and no other."""
        return self._until

    @property
    def rows(self) -> str:
        """The hash of every row that was taken up."""
        return self._chain.get()

    def draw(
        self, position: int, unit: str, *, salt: str, share: float, may: Callable[[], bool]
    ) -> bool:
        """Whether this conversation is to be asked of both versions; it is open then.

        may: whether its request can make a pair; asked of those only that the coin has drawn.
        """
        if len(self._open) >= MOST_OPEN or not is_drawn(salt, unit, share) or not may():
            return False
        self._open[position] = unit
        return True

    def is_open(self, position: int, unit: str) -> bool:
        """Whether it is waited for: not when the rollout was taken up anew since."""
        return self._open.get(position) == unit and position not in self._settled

    def settle(self, position: int, row: PairRow | None) -> None:
        """It has become a pair, whose row is durable; or none, and never will."""
        self._settled[position] = row
        while self._open:
            first = next(iter(self._open))
            if first not in self._settled:
                return
            del self._open[first]
            found = self._settled.pop(first)
            self._until = first + 1
            if found is not None:
                self.take(found)

    def take(self, row: PairRow) -> None:
        """Take the next row of the record."""
        self._chain.update(row)
        self.agreeing.update(pair_of(row))
        self._fold(row)

    def take_again(self, row: PairRow) -> None:
        """As `take`, of a row that this rollout wrote before."""
        self.take(row)
        self._until = row.position + 1
