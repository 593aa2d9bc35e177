"""With what probability each version is picked, and by whom: tempered, bounded, sticky.

Probability matching on a sharpened belief (Thompson 1933; tempering: Chapelle & Li, NeurIPS 2011):
an arm is picked with the chance that it is the best one when its belief counts `TEMPER` times, so
little is explored where little can be won. That number grows with the arm's own scores, because a
belief that rests on its kin alone is the less to be relied on, and falls with the scores that
others had for each of its own, so that bad luck is never for ever. Arms whose chance is below
`REACH` are out of reach and get nothing; those within it get at least ``FLOOR / K`` of K. The
vector is worked out, never sampled: what is logged is what was drawn from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from heapq import nlargest
from math import log, sqrt

from arbiter.stats.estimators import best_chances

TEMPER = 10.0
"""How many times a belief counts that rests on no score of the arm's own."""

TEMPER_EACH = 1.0
"""How much that grows with each score, up to `TEMPER_UPTO` scores."""

TEMPER_UPTO = 20.0
REACH = 0.05
FLOOR = 0.02

NEGLECT = 10.0
"""Scores of others for each of its own after which a belief counts half as much."""

MOST = 24
"""Arms that are compared exactly; one that is not among the most promising is out of reach."""


@dataclass(frozen=True, slots=True)
class Arm:
    """What an arm is worth: mean and standard deviation of its utility; the rest as in `Belief`."""

    mean: float
    deviation: float
    neglect: float = 0.0
    samples: float = 0.0

    @property
    def promise(self) -> float:
        """What it may turn out to be worth, for telling who is to be compared at all."""
        return self.mean + 2.0 * self.sharpened

    @property
    def sharpened(self) -> float:
        """The standard deviation that is explored with."""
        temper = TEMPER + TEMPER_EACH * min(self.samples, TEMPER_UPTO)
        return max(1e-6, self.deviation * sqrt((1.0 + self.neglect / NEGLECT) / temper))


def chances(arms: Sequence[Arm]) -> list[float]:
    """The probability of each arm; they sum to 1.

    >>> chances([Arm(0.8, 0.05), Arm(0.5, 0.05)])
    [1.0, 0.0]
    >>> chances([Arm(0.5, 0.1), Arm(0.5, 0.1)])
    [0.5, 0.5]

    Raises:
        ValueError: there is no arm.
    """
    spreads = [arm.sharpened for arm in arms]
    places: Sequence[int] = range(len(arms))
    if len(arms) > MOST:
        places = sorted(nlargest(MOST, places, key=lambda k: arms[k].mean + 2.0 * spreads[k]))
    found = best_chances([arms[k].mean for k in places], [spreads[k] for k in places])
    reach = min(REACH, max(found) / 2.0)
    within = {k: p for k, p in zip(places, found, strict=True) if p >= reach}
    least = FLOOR / len(within)
    whole = sum(within.values())
    spare = 1.0 - FLOOR
    vector = [0.0] * len(arms)
    for k, p in within.items():
        vector[k] = least + spare * p / whole if len(within) > 1 else 1.0
    return vector


def drawn(names: Sequence[str], vector: Sequence[float], conversation: str) -> int:
    """Whom a conversation gets: each arm with exactly its probability over conversations.

    Weighted rendezvous hashing (an exponential race): the same conversation stays with its arm as
    long as the probabilities do, and an arm that is added takes its share and moves nobody else.

    >>> drawn(["a", "b"], [0.0, 1.0], "anyone")
    1
    """
    best, first = -1, 0.0
    for place, (name, share) in enumerate(zip(names, vector, strict=True)):
        if share >= 1.0:
            return place
        if share > 0.0:
            raw = blake2b(f"{conversation}\0{name}".encode(), digest_size=7).digest()
            time = -log((int.from_bytes(raw, "big") + 0.5) / 2**56) / share
            if best < 0 or time < first:
                best, first = place, time
    return best
