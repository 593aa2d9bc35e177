"""Units that a coin chose to be judged, where no rule can grade an answer.

Whoever judges only what strikes them judges one side otherwise than the other, so such judgements
never count. The coin falls when a conversation is assigned, by its name alone: before there is an
answer, and the same for both sides. A unit that it chose waits for its first judgement, and those
behind it wait too. One that is not judged in time scores 0, in either arm alike: a version whose
answers nobody can bear to judge is not better for that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256

from arbiter.refs import DecisionId, RolloutId
from arbiter.storage.database import Statement
from arbiter.swap.basis import UnitRow


def is_chosen(salt: str, unit: str, share: float) -> bool:
    """Whether the coin of this rollout chose a unit; always the same, with this chance.

    Independent of `arbiter.swap.rollout.assign`, which hashes the same salt otherwise.

    >>> is_chosen("s", "u", 0.0), is_chosen("s", "u", 1.0)
    (False, True)
    """
    if not share:
        return False
    drawn = sha256(f"{salt}\0judge\0{unit}".encode(errors="surrogatepass")).digest()
    return (int.from_bytes(drawn[:8]) >> 11) / (1 << 53) < share


_MOST_EXPECTED = 1_000


@dataclass(slots=True)
class Wait:
    """A unit that waits for a judgement. left_s: seconds of monotonic time until it is too late."""

    row: UnitRow
    left_s: float

    def judged(self, score: float) -> UnitRow:
        """Its row with the score that it was given."""
        return (*self.row[:5], score, *self.row[6:])


class Waits:
    """Every unit of one rollout that waits for a judgement."""

    __slots__ = ("_all", "_expected")

    def __init__(self) -> None:
        self._all: dict[DecisionId, Wait] = {}
        self._expected: deque[DecisionId] = deque(maxlen=_MOST_EXPECTED)

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[DecisionId]:
        return iter(self._all)

    def add(self, decision: DecisionId, wait: Wait) -> None:
        """A unit begins to wait."""
        self._all[decision] = wait

    def get(self, decision: DecisionId) -> Wait | None:
        """The unit of this decision, if it waits."""
        return self._all.get(decision)

    def pop(self, decision: DecisionId) -> Wait | None:
        """The unit of this decision, which waits no longer; None: it did not wait."""
        return self._all.pop(decision, None)

    def expect(self, decision: DecisionId) -> None:
        """This one was judged before its unit was on the disk, if it ever comes to wait."""
        self._expected.append(decision)

    def expected(self) -> tuple[DecisionId, ...]:
        """Which of them wait by now."""
        return tuple(one for one in self._expected if one in self._all)

    def late(self, elapsed_s: float) -> tuple[DecisionId, ...]:
        """Let so many seconds pass; which units nobody judged in time."""
        for wait in self._all.values():
            wait.left_s -= elapsed_s
        return tuple(one for one, wait in self._all.items() if wait.left_s <= 0.0)


def judging(rollout: RolloutId, position: int, *, at: str, is_late: bool) -> Statement:
    """The first judgement of a waiting unit becomes its score; 0 where there is none by then.

    Gives back the score, or nothing while there is none.
    """
    return Statement(query="judge_unit", parameters=(at, rollout, position, int(is_late)))
