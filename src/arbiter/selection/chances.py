"""With what probability each version is picked, and by whom: foresighted, bounded, sticky.

An arm is taken at its mean and at what a few scores of it may bring to the picks that are still to
come at the task (`arbiter.stats.lookahead`). So what may yet turn out best is tried early, what
cannot is not, and a try ends where it would change nothing. Neglect, the scores that others had for
each of an arm's own, lengthens what a try may pay for and, later, its doubt: bad luck is never for
ever.

Of arms that are close in that, none is sure: each is picked with the chance that it is the first
when its belief counts `TEMPER` times (probability matching, Thompson 1933, on a sharpened belief;
Chapelle & Li, NeurIPS 2011). That number grows with the arm's own scores, because a belief that
rests on its kin alone is the less to be relied on, and falls with neglect. The arm with the best
mean keeps up to `KEPT` of the traffic, whatever is hoped of others. Arms whose chance is below
`REACH` are out of reach and get nothing, unless they keep it; those within it get at least
``FLOOR / K`` of K. The vector is worked out, never sampled: what is logged is what was drawn from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from heapq import nlargest
from math import inf, log, sqrt

from arbiter.stats.estimators import best_chances
from arbiter.stats.lookahead import foresight

HORIZON = 35.0
"""Scores at a new task that what is learned by trying an arm is to pay for.

How many will come nobody knows; from 30 to 100 it makes little difference (docs/why.md). As many as
came so far would be none when it matters most, so these come first.
"""

GROWS = 2.0
"""How much longer an arm's horizon is for each score that others had for each of its own.

A task where others were picked for so long is taken to go on for long (Lindy's law), so an arm that
was unlucky is tried again where that pays. Doubt alone would have to grow so soon that hopeless
ones are tried again too; a horizon that grows with the task would have an arm that fell tried for
longer, which has had many scores and is not neglected (docs/why.md).
"""

TEMPER = 200.0
"""How many times a belief counts that rests on no score of the arm's own."""

TEMPER_EACH = 20.0
"""How much that grows with each score, up to `TEMPER_UPTO` scores."""

TEMPER_UPTO = 20.0
REACH = 0.05
FLOOR = 0.02

PATIENCE = 120.0
"""Scores of others for each of its own after which an arm's variance counts twice.

It grows with their square from there: hardly at first, and without end.
"""

KEPT = 0.8
"""The part of the traffic that the arm with the best mean keeps in any case if its scores are many.

So whatever is hoped of a newcomer, it is tried on a part of the conversations only, also where
nobody ever judges an answer.
"""

KEPT_HALF = 20.0
"""Scores of that arm with which it keeps half of that."""

NEGLECT = 10.0
"""Scores of others for each of its own after which a belief counts half as much."""

FAR = 1.7**2
"""Square of how many deviations behind the first leave a chance below 0.045: out of reach."""

LEAST_WORTH = 0.3
"""Scores that any belief is worth at least."""

MOST = 6
"""Arms that share a task's traffic at once; one that is not among the most promising waits."""


@dataclass(frozen=True, slots=True)
class Arm:
    """What an arm is worth: mean and standard deviation of its utility; the rest as in `Belief`.

    worth: how many scores the belief is worth; None: as many as one about a share would be.
    horizon: scores to come that a try may pay for. widened: the standard deviation with what
    neglect adds. sharpened: the one that is picked with.
    promise: what it may well be worth, for telling who is to be compared at all.
    """

    mean: float
    deviation: float
    neglect: float = 0.0
    samples: float = 0.0
    worth: float | None = None
    horizon: float = field(init=False)
    widened: float = field(init=False)
    sharpened: float = field(init=False)
    promise: float = field(init=False)

    def __post_init__(self) -> None:
        # worked out once: a vector is asked for far more often than a belief changes
        temper = TEMPER + TEMPER_EACH * min(self.samples, TEMPER_UPTO)
        sharpened = self.deviation * sqrt((1.0 + self.neglect / NEGLECT) / temper)
        widened = self.deviation * sqrt(1.0 + (self.neglect / PATIENCE) ** 2)
        object.__setattr__(self, "horizon", HORIZON + GROWS * self.neglect)
        object.__setattr__(self, "sharpened", max(1e-6, sharpened))
        object.__setattr__(self, "widened", max(1e-9, widened))
        object.__setattr__(self, "promise", self.mean + 2.0 * self.widened)

    @property
    def scores(self) -> float:
        """How many scores the belief is worth."""
        if self.worth is not None:
            return self.worth
        return worth_of(self.mean, self.deviation**2)

    def is_near(self, old: Arm, part: float) -> bool:
        """Whether what it is picked by moved by no more than this part of what it was unsure by.

        Neglect alone may move it, with mean and deviation as they were.
        """
        return (
            abs(self.mean - old.mean) <= part * old.sharpened
            and abs(self.deviation - old.deviation) <= part * old.deviation
            and abs(self.widened - old.widened) <= part * old.widened
            and abs(self.sharpened - old.sharpened) <= part * old.sharpened
            and abs(self.horizon - old.horizon) <= part * old.horizon
        )


def worth_of(mean: float, variance: float) -> float:
    """How many scores a belief about a share is worth, as a Beta belief would be.

    >>> round(worth_of(0.5, 0.05), 9), worth_of(0.5, 10.0)
    (4.0, 0.3)
    """
    return max(LEAST_WORTH, mean * (1.0 - mean) / max(variance, 1e-12) - 1.0)


def hopes(arms: Sequence[Arm]) -> list[float]:
    """What each arm is taken at: its mean, and what trying it may bring.

    >>> [round(hope, 2) for hope in hopes([Arm(0.6, 0.02), Arm(0.5, 0.2), Arm(0.1, 0.02)])]
    [0.6, 0.65, 0.1]
    """
    best, second, first = -inf, -inf, -1
    for place, arm in enumerate(arms):
        if arm.mean > best:
            best, second, first = arm.mean, best, place
        elif arm.mean > second:
            second = arm.mean
    found = []
    for place, arm in enumerate(arms):
        gap = (best - second) if place == first else (best - arm.mean)
        found.append(arm.mean + foresight(gap, arm.widened, arm.scores, arm.horizon))
    return found


def chances(arms: Sequence[Arm]) -> list[float]:
    """The probability of each arm; they sum to 1.

    >>> chances([Arm(0.8, 0.05), Arm(0.5, 0.05)])
    [1.0, 0.0]
    >>> chances([Arm(0.5, 0.1), Arm(0.5, 0.1)])
    [0.5, 0.5]

    Raises:
        ValueError: there is no arm.
    """
    hoped = hopes(arms)
    top = max(hoped)
    # of several that are first, the least sure one, whatever their order
    wide = max([arm.sharpened for arm, hope in zip(arms, hoped, strict=True) if hope == top]) ** 2
    places: Sequence[int] = [
        k
        for k, (arm, hope) in enumerate(zip(arms, hoped, strict=True))
        if (top - hope) ** 2 <= FAR * (wide + arm.sharpened**2)
    ]
    if len(places) > MOST:
        places = sorted(nlargest(MOST, places, key=hoped.__getitem__))
    found = best_chances([hoped[k] for k in places], [arms[k].sharpened for k in places])
    owed = _owed(arms)
    shares = _kept(dict(zip(places, found, strict=True)), owed)
    reach = min(REACH, max(shares.values()) / 2.0)
    within = {k: p for k, p in shares.items() if p >= min(reach, owed.get(k, reach))}
    least = FLOOR / len(within)
    whole = sum(within.values())
    spare = 1.0 - FLOOR
    vector = [0.0] * len(arms)
    for k, p in within.items():
        vector[k] = least + spare * p / whole if len(within) > 1 else 1.0
    return vector


def _owed(arms: Sequence[Arm]) -> dict[int, float]:
    """The arms of the best mean, each with the share that it keeps in any case, if it keeps any."""
    top = max([arm.mean for arm in arms])
    best = [k for k, arm in enumerate(arms) if arm.mean >= top]
    samples = max([arms[k].samples for k in best])
    least = KEPT * samples / (samples + KEPT_HALF)
    return dict.fromkeys(best, least / len(best)) if least > 0.0 else {}


def _kept(shares: dict[int, float], owed: dict[int, float]) -> dict[int, float]:
    """The shares after the arms of the best mean have got what is theirs in any case."""
    theirs, least = sum([shares.get(k, 0.0) for k in owed]), sum(owed.values())
    if theirs >= least:
        return shares
    kept = {k: p * (1.0 - least) / (1.0 - theirs) for k, p in shares.items()}
    return kept | owed


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
