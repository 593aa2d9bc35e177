"""Units that a coin chose to be judged, where no rule can grade an answer.

Whoever judges only what strikes them judges one side otherwise than the other, so such judgements
never count. The coin falls when a conversation is assigned, by its name alone: before there is an
answer, and the same for both sides. A unit that it chose waits for its first judgement, and those
behind it wait too.

What nobody judges in time counts alike in either arm. While a candidate is rolled out it scores 0:
a version whose answers nobody can bear to judge is not better for that, and whoever asked for the
judgements is waiting for the verdict. After a promotion it counts for nothing: the watch lasts for
days in which people stop judging, and that is no fall of any model. `Judged` says so then.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from math import log

from arbiter.inference import Arm
from arbiter.refs import DecisionId, RolloutId
from arbiter.stats.arrivals import SampleRatio
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

    def judged(self, score: float | None) -> UnitRow:
        """Its row with the score that it was given; None: it was given none."""
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

    def __getitem__(self, decision: DecisionId) -> Wait:
        return self._all[decision]

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


STOPPED = 10
"""So many answers one after the other that nobody judged, and it looks as if judging had stopped:
where half of them are judged, that comes by chance once in a thousand."""

_LOPSIDED_ALPHA = 0.001
"""The chance of crying out over judgements that one side lacks when none does."""


class Judged:
    """What became of the answers that were to be judged after a promotion, in order, to say.

    No alarm reads it. What is not judged is left out on both sides alike, so an alarm keeps its
    rate as long as whether an answer is judged does not hang on the version that gave it. If it
    does, the judged ones do not divide over the sides as they were drawn: that is found here.

    >>> judged = Judged()
    >>> for n in range(STOPPED):
    ...     judged.update((n, f"u{n}", "chat", "promoted", 0.95, None, "answered", 10.0))
    >>> judged.has_stopped, judged.in_words(0)[0][:47]
    (True, 'Of 10 answers that were to be judged, 0 were in')
    """

    __slots__ = ("_arrivals", "_by_arm", "late_in_a_row")

    def __init__(self) -> None:
        self._by_arm = {arm: [0, 0] for arm in (Arm.PROMOTED, Arm.HOLDBACK)}
        self._arrivals = SampleRatio()
        self.late_in_a_row = 0
        """How many of the last were not judged."""

    def update(self, row: UnitRow) -> None:
        """Take the next one that was to be judged; its score is None where nobody did in time."""
        _, _, _, arm, chance, score, *_ = row
        self._by_arm[Arm(arm)][score is not None] += 1
        self.late_in_a_row = self.late_in_a_row + 1 if score is None else 0
        if score is not None and 0.0 < chance < 1.0:
            self._arrivals.update(arm == Arm.PROMOTED, chance)

    @property
    def judged(self) -> int:
        """How many were judged in time."""
        return sum(judged for _, judged in self._by_arm.values())

    @property
    def unjudged(self) -> int:
        """How many were not."""
        return sum(late for late, _ in self._by_arm.values())

    @property
    def has_stopped(self) -> bool:
        """Whether nobody seems to judge any more."""
        return self.late_in_a_row >= STOPPED

    @property
    def is_lopsided(self) -> bool:
        """Whether the judged ones are not divided over both sides as they were drawn."""
        return self._arrivals.log_e >= -log(_LOPSIDED_ALPHA)

    def in_words(self, waiting: int) -> tuple[str, ...]:
        """How it stands; nothing where none was to be judged. waiting: those that still wait."""
        if not (self.judged or self.unjudged or waiting):
            return ()
        told = [
            (
                f"Of {self.judged + self.unjudged} answers that were to be judged, {self.judged}"
                f" were in time; the others count for nothing, on either side. {waiting} wait."
            )
        ]
        if self.has_stopped:
            told.append(
                f"Nobody judged the last {self.late_in_a_row} of them. Judgements tell the alarms"
                " nothing until somebody goes on."
            )
        if self.is_lopsided:
            new, old = self._by_arm[Arm.PROMOTED][1], self._by_arm[Arm.HOLDBACK][1]
            told.append(
                f"{new} answers of the new version were judged and {old} of the old one, which is"
                " not as they were drawn: a fall may be hidden by that, or made up."
            )
        return tuple(told)


def judging(
    rollout: RolloutId, position: int, *, at: str, is_late: bool, after: bool = False
) -> Statement:
    """The first judgement of a waiting unit becomes its score; is_late: or what stands for none.

    after: the unit began after the promotion. Gives back the score, or nothing while it waits.
    """
    parameters = (at, rollout, position, int(is_late))
    if after:
        return Statement(query="judge_after_unit", parameters=parameters)
    return Statement(query="judge_unit", parameters=parameters)
