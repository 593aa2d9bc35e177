"""What a successor may take over from its predecessor, and when it is dropped.

At each task the successor's prior is a mixture (robust MAP; Schmidli et al., Biometrics 2014):
with weight .8 it follows its predecessor at the predecessor's mean, moved by one shift for all
tasks and worth a handful of results; with weight .2 it is any version, as the table expects one.
Evidence moves the shift, and the weights of the task and of the version together: a successor that
is worse everywhere shifts, one that lost a single task keeps the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp

from arbiter.stats.estimators import Beta, logistic, logit

WORTH = 8.0
"""Pseudo-results that a predecessor's mean is worth at a task; never more than it has earned."""

FOLLOWS = 0.8
SHIFT = 0.8
"""The standard deviation of the shift, on the logit scale."""

_FIRM = 2.0
"""How many tasks' evidence the weight `FOLLOWS` is worth."""


@dataclass(frozen=True, slots=True)
class Kin:
    """One task: the predecessor's belief, the successor's own prior and its evidence."""

    before: Beta
    alone: Beta
    n: float
    good: float


@dataclass(frozen=True, slots=True)
class Bond:
    """What binds a successor to its predecessor. follows: the weight, before a task's own say."""

    follows: float = FOLLOWS
    shift: float = 0.0
    variance: float = SHIFT * SHIFT


def bond(kin: Sequence[Kin]) -> Bond:
    """What the evidence at all tasks says together.

    >>> bond([]).follows, bond([]).shift
    (0.8, 0.0)
    >>> worse = bond([Kin(Beta(80.0, 20.0), Beta(2.0, 2.0), 20.0, 10.0)] * 3)
    >>> worse.shift < -0.5
    True
    """
    shift, whole = 0.0, 1.0 / (SHIFT * SHIFT)
    seen = [one for one in kin if one.n > 0.0]
    for _ in range(3):
        slope, whole = -shift / (SHIFT * SHIFT), 1.0 / (SHIFT * SHIFT)
        for one in seen:
            share = logistic(logit(one.before.mean) + shift)
            thin = 1.0 / (1.0 + one.n / WORTH)
            slope += thin * (one.good - one.n * share)
            whole += thin * one.n * share * (1.0 - share)
        shift += max(-1.0, min(1.0, slope / whole))
    found = Bond(FOLLOWS, shift, 1.0 / whole)
    odds = [(_ratio(one, found), one.n / (one.n + 1.0)) for one in seen]
    follows = FOLLOWS
    for _ in range(4):
        told = sum(heard * _weight(follows, ratio) for ratio, heard in odds)
        follows = (_FIRM * FOLLOWS + told) / (_FIRM + sum(heard for _, heard in odds))
        follows = max(0.02, min(0.95, follows))
    return Bond(follows, shift, 1.0 / whole)


def succeed(one: Kin, tie: Bond) -> tuple[float, float]:
    """Mean and variance of the successor's quality at a task, its own evidence included.

    >>> mean, _ = succeed(Kin(Beta(80.0, 20.0), Beta(1.0, 1.0), 0.0, 0.0), Bond(0.8, 0.0, 0.0))
    >>> round(mean, 2)
    0.74
    """
    weight = _weight(tie.follows, _ratio(one, tie))
    bad = one.n - one.good
    heir, stranger = _heir(one, tie).after(one.good, bad), one.alone.after(one.good, bad)
    mean = weight * heir.mean + (1.0 - weight) * stranger.mean
    square = weight * (heir.variance + heir.mean**2) + (1.0 - weight) * (
        stranger.variance + stranger.mean**2
    )
    return mean, max(1e-9, square - mean * mean)


def _heir(one: Kin, tie: Bond) -> Beta:
    share = max(0.005, min(0.995, logistic(logit(one.before.mean) + tie.shift)))
    spread = share * (1.0 - share)
    worth = min(WORTH, one.before.a + one.before.b)
    # an uncertain shift makes the inherited mean worth less
    worth = max(0.5, 1.0 / (1.0 / (worth + 1.0) + spread * tie.variance) - 1.0)
    return Beta(share * worth, (1.0 - share) * worth)


def _ratio(one: Kin, tie: Bond) -> float:
    """How much better, as a logarithm, the heir's prior foresaw the evidence."""
    bad = one.n - one.good
    return _heir(one, tie).log_evidence(one.good, bad) - one.alone.log_evidence(one.good, bad)


def _weight(follows: float, ratio: float) -> float:
    return 1.0 / (1.0 + (1.0 - follows) / follows * exp(max(-50.0, min(50.0, -ratio))))
