"""Pairs: one prompt, both versions' answers. What is a pair, who is drawn for one, what it proves.

A share of new conversations is drawn, by a coin of its own, to be asked of both versions: the arm
that the conversation was drawn for answers, and the other version is asked the same afterwards, for
the record alone. Luck with prompts cancels out in a pair, so a pair says several times as much as
two conversations on two sides.

A conversation is a pair or a unit of the randomised test, never both, and which of the two is
settled before anything is seen of it. So the e-values of both may be multiplied: each conversation
brings one factor. The coin does not depend on the arm, so the share that the randomised test is
told is still the true one. This module knows no queue, no model and no clock;
`arbiter.swap.shadowing` does the asking.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

from arbiter.inference import Arm
from arbiter.refs import TaskName
from arbiter.stats.bets import Side
from arbiter.stats.interval import PairInterval
from arbiter.stats.pairs import PairE

RIGHT = 0.5
"""The score from which an answer is called right, where answers are counted for people."""

EQUAL = 200.0
"""How firmly the bets for the candidate go on its being as good, in pairs (see `PairE`)."""


class PairRow(NamedTuple):
    """A row of the record: what was written of one pair.

    position: that of its conversation among all that were assigned. arm: whose answer was served.
    share: the chance of being drawn for a pair. old, new: the scores of stable and candidate.
    """

    position: int
    unit: str
    task: str
    arm: str
    share: float
    old: float
    new: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Both versions' scores of one conversation's first request, in [0, 1].

    served: whose answer the client got. An answer that failed counts as 0.
    """

    task: TaskName
    served: Arm
    old: float
    new: float


def is_drawn(salt: str, unit: str, share: float) -> bool:
    """Whether a conversation is to be asked of both versions: always the same at the same share.

    The first 53 bits of ``sha256(salt NUL "pair" NUL unit)`` are a uniform number, independent of
    the one that draws the arm, and those below the share are drawn.

    >>> is_drawn("s", "c", 0.0), is_drawn("s", "c", 1.0)
    (False, True)
    """
    if not share:
        return False
    drawn = sha256(f"{salt}\0pair\0{unit}".encode(errors="surrogatepass")).digest()
    return (int.from_bytes(drawn[:8]) >> 11) / (1 << 53) < share


def pair_of(row: PairRow) -> Pair:
    """What a row says as evidence."""
    return Pair(task=TaskName(row.task), served=Arm(row.arm), old=row.old, new=row.new)


class PairTests:
    """The three tests of `arbiter.swap.analysis`, on pairs: harm, harm beyond the margin, no harm.

    Each is an e-process (`arbiter.stats.pairs.PairE`), and may be multiplied with the one of the
    same null on the randomised stream.

    >>> tests = PairTests(0.05)
    >>> for _ in range(20):
    ...     tests.update(1.0, 0.0)
    >>> tests.log_harm > 3.0 > tests.log_not_worse
    True
    """

    __slots__ = ("_harm", "_not_worse", "_strict")

    def __init__(self, margin: float) -> None:
        self._harm = PairE(side=Side.WORSE, margin=0.0)
        self._strict = PairE(side=Side.WORSE, margin=margin)
        self._not_worse = PairE(side=Side.NOT_WORSE, margin=margin, equal=EQUAL)

    def update(self, old: float, new: float) -> None:
        """Take the next pair, in the order of assignment. Raises what `PairE.update` raises."""
        self._harm.update(old, new)
        self._strict.update(old, new)
        self._not_worse.update(old, new)

    @property
    def log_harm(self) -> float:
        """The logarithm of the evidence that the candidate is worse at all."""
        return self._harm.log_e

    @property
    def log_strict(self) -> float:
        """The logarithm of the evidence that it is worse by more than the margin."""
        return self._strict.log_e

    @property
    def log_not_worse(self) -> float:
        """The logarithm of the evidence that it is not worse by the margin."""
        return self._not_worse.log_e


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How often the versions were right on the same prompts.

    interval: where candidate minus stable lies, with a chance of 95 % at all times at once.
    """

    both: int = 0
    only_stable: int = 0
    only_candidate: int = 0
    neither: int = 0
    interval: tuple[float, float] | None = None

    @property
    def pairs(self) -> int:
        """How many there are."""
        return self.both + self.only_stable + self.only_candidate + self.neither


NO_PAIRS = Agreement()
"""Nothing was asked of both."""


class Agreeing:
    """Counts agreement, to show: no verdict reads it. The interval is folded when somebody looks.

    >>> agreeing = Agreeing()
    >>> agreeing.update(Pair(task=TaskName("sum"), served=Arm.STABLE, old=1.0, new=0.2))
    >>> agreeing.get().only_stable
    1
    """

    __slots__ = ("_counts", "_interval", "_unfolded")

    def __init__(self) -> None:
        self._counts = {(old, new): 0 for old in (False, True) for new in (False, True)}
        self._interval = PairInterval()
        self._unfolded: list[Pair] = []

    def update(self, pair: Pair) -> None:
        """Take the next pair, in the order of assignment."""
        self._counts[pair.old >= RIGHT, pair.new >= RIGHT] += 1
        self._unfolded.append(pair)

    def get(self) -> Agreement:
        """What is known by now."""
        for pair in self._unfolded:
            self._interval.update(pair.old, pair.new)
        self._unfolded.clear()
        ends = (self._interval.low, self._interval.high)
        return Agreement(
            both=self._counts[True, True],
            only_stable=self._counts[True, False],
            only_candidate=self._counts[False, True],
            neither=self._counts[False, False],
            interval=ends if any(self._counts.values()) else None,
        )
