"""After a promotion, as values: who is held back, and what conversations have said since.

A few conversations stay with the old version, drawn by the rollout's own coin. Two alarms look at
the grades of all that began since:

* *beside*: the new version against the old one, which answers meanwhile. Traffic that gets harder
  is harder for both, so it cannot be taken for a fall. This one takes the promotion back.
* *before*: the new version against its own mean when it was promoted. It needs no old version and
  finds a fall several times sooner, but takes harder traffic for one. This one only tells.

Both are e-CUSUMs (`arbiter.stats.drift`): while nothing is wrong, the mean number of graded
conversations to a false alarm is ``1 / alpha_drift`` or more. Each is heard once and stays heard:
an alarm is a matter of the rows, not of when somebody looked. This module decides nothing about a
rollout and reads no clock: `arbiter.swap.watching` acts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from math import log, sqrt

import msgspec

from arbiter.inference import Arm
from arbiter.stats.bets import HARM
from arbiter.stats.drift import HoldbackAlarm, ReferenceAlarm
from arbiter.stats.evalues import from_log
from arbiter.swap.analysis import Evidence
from arbiter.swap.basis import Basis, Chain, UnitRow
from arbiter.swap.plan import Plan
from arbiter.swap.rollout import assign

PRIOR_UNITS = 50
"""What is known of the old version's mean at the promotion counts as so many units at most."""

LEAST_BEFORE = 20
"""Graded conversations of the new version before its promotion that make a mean to compare with."""

SLACK = 0.02
"""How much below its mean from before, as a share of it, the new version may be in any case."""

_CERTAIN = 1.0
"""The chance of a conversation that was not drawn: while nobody can be held back."""


class Sign(StrEnum):
    """What an alarm says. The values are kinds of events after ``rollout.``."""

    DRIFTED = "drifted"
    """Worse than the old version beside it."""
    SUSPECTED = "drift_suspected"
    """Worse than it was itself; or the traffic is harder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """What grades had come to when the new version was promoted. None: nothing was graded."""

    stable: float | None = None
    n_stable: int = 0
    candidate: float | None = None
    n_candidate: int = 0

    def to_json(self) -> str:
        """As it is stored; numbers keep every bit."""
        return json.dumps(asdict(self), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Before:
        """As it was stored. Raises `ValueError` when it is not one."""
        return msgspec.json.decode(text, type=cls)


def before_of(evidence: Evidence) -> Before:
    """What the grades of a rollout have come to."""
    means = evidence.means
    return Before(
        stable=means.old, n_stable=means.n_old, candidate=means.new, n_candidate=means.n_new
    )


def held_back(salt: str, unit: str, share: float) -> bool:
    """Whether a conversation stays with the old version, where this share of them does.

    One number a conversation, drawn from the salt, decides everything: it goes over to the new
    version once the new one's share has reached that number. The last share is ``1 - share``, so
    those that are held back are among those that were with the old version all the time.

    >>> held_back("s", "c", 0.0), held_back("s", "c", 1.0)
    (False, True)
    """
    return assign(salt, unit, 1.0 - share) is Arm.STABLE


def chance_after(share: float, weight: float) -> float:
    """The chance that a conversation is with the new version now, if it was with the old before.

    weight: the new version's share of conversations when this one began.

    >>> chance_after(0.05, 0.0), chance_after(0.05, 0.5)
    (0.95, 0.9)
    """
    return max(0.0, 1.0 - share / (1.0 - weight))


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """An alarm that went off.

    until: one more than the position of the row that set it off. rows: the hash of the rows up to
    there. log_e: the logarithm of the evidence then. sentence: with the numbers of that moment.
    """

    sign: Sign
    until: int
    rows: str
    log_e: float
    sentence: str

    @property
    def basis(self) -> Basis:
        """As it is kept beside what follows from it."""
        return Basis(until=self.until, rows=self.rows, log_worse=self.log_e)


class Mean:
    """The mean of scores."""

    __slots__ = ("count", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0

    def update(self, score: float) -> None:
        """Take one more."""
        self.count += 1
        self.total += score

    @property
    def value(self) -> float | None:
        """None before the first."""
        return self.total / self.count if self.count else None


class Since:
    """Everything that conversations have said since a promotion, one row at a time.

    Kept by folding, so folding the same rows again gives the same bits.

    >>> since = Since(Plan(), Before(stable=0.9, n_stable=100, candidate=0.9, n_candidate=60))
    >>> for n in range(200):
    ...     row = (n, f"u{n}", "sum", "promoted", 0.95, float(n % 3 > 0), "answered", 10.0)
    ...     since.update(row)
    >>> [sign.value for sign in since.alarms]
    ['drift_suspected']
    """

    __slots__ = (
        "_before", "_beside", "_chain", "_level", "alarms", "new", "old", "plan", "reference",
    )  # fmt: skip

    def __init__(self, plan: Plan, before: Before) -> None:
        self.plan = plan
        self.alarms: dict[Sign, Alarm] = {}
        """Those that have gone off."""
        self.new, self.old = Mean(), Mean()
        self._chain = Chain()
        self._level = -log(plan.alpha_drift)
        self._beside = HoldbackAlarm(
            HARM,
            prior_mean=_inside(before.stable, before.n_stable),
            prior_weight=float(max(1, min(PRIOR_UNITS, before.n_stable))),
        )
        self.reference = _reference(before)
        """The new version's mean when it was promoted; None when too little was known."""
        self._before = (
            None
            if self.reference is None
            else ReferenceAlarm(self.reference, margin=_slack(self.reference, before.n_candidate))
        )

    def update(self, row: UnitRow) -> None:
        """Take the next row, in the order of positions."""
        self._chain.update(row)
        position, _, _, arm, chance, score, *_ = row
        if score is None:
            return
        is_new = arm == Arm.PROMOTED
        (self.new if is_new else self.old).update(score)
        if chance < _CERTAIN:
            self._beside.update(score, is_new, chance)
            self._hear(Sign.DRIFTED, self._beside.log_e, position)
        if is_new and self._before is not None:
            self._before.update(score)
            self._hear(Sign.SUSPECTED, self._before.log_e, position)

    def _hear(self, sign: Sign, log_e: float, position: int) -> None:
        if log_e < self._level or sign in self.alarms:
            return
        self.alarms[sign] = Alarm(
            sign=sign,
            until=position + 1,
            rows=self._chain.get(),
            log_e=log_e,
            sentence=self._sentence(sign, log_e),
        )

    def _sentence(self, sign: Sign, log_e: float) -> str:
        now = f"{_number(self.new.value)}, after {self.new.count} graded conversations"
        if sign is Sign.DRIFTED:
            said = (
                f"Since its promotion it has become worse than the old version: {now}, against"
                f" {_number(self.old.value)} of the old version, after {self.old.count}"
            )
        else:
            said = (
                f"Since its promotion it answers worse than before, or its traffic is harder:"
                f" {now}, against {_number(self.reference)} when it was promoted"
            )
        return f"{said}; evidence {_size(log_e)} of {self.needed:.0f}."

    @property
    def needed(self) -> float:
        """The evidence at which an alarm goes off, and the least mean run without a cause."""
        return 1.0 / self.plan.alpha_drift

    @property
    def log_beside(self) -> float:
        """The logarithm of the evidence against the old version beside it, now."""
        return self._beside.log_e

    @property
    def log_before(self) -> float | None:
        """The logarithm of the evidence against its own mean from before; None: it had none."""
        return None if self._before is None else self._before.log_e

    @property
    def in_words(self) -> tuple[str, ...]:
        """How both alarms stand, next to what they take and how often they would be wrong."""
        needed, told = self.needed, []
        if self.new.count or self.old.count:
            told.append(
                f"Since the promotion: {_number(self.new.value)} of {self.new.count} graded"
                f" conversations, and {_number(self.old.value)} of {self.old.count} of the old"
                " version."
            )
        if self.plan.holdback:
            told.append(
                f"The alarm beside the old version stands at {_size(self.log_beside)} of the"
                f" {needed:.0f} that it takes. While the new version is not worse, it goes off"
                f" once in {needed:.0f} graded conversations or less often, however the traffic"
                " changes."
            )
        if self.log_before is None:
            told.append("Too little was graded before the promotion to compare it with itself.")
        else:
            told.append(
                f"Against its own mean when it was promoted, {_number(self.reference)}:"
                f" {_size(self.log_before)} of {needed:.0f}. Harder traffic sets this one off as"
                " well, so it only tells."
            )
        return (*told, *(alarm.sentence for alarm in self.alarms.values()))


def since_of(plan: Plan, before: Before, rows: Iterable[UnitRow]) -> Since:
    """What these rows say, from the first on."""
    since = Since(plan, before)
    for row in rows:
        since.update(row)
    return since


def _inside(mean: float | None, count: int) -> float:
    """A mean with half a success and half a failure added, so that it lies inside (0, 1)."""
    return ((mean or 0.0) * count + 0.5) / (count + 1.0)


def _reference(before: Before) -> float | None:
    if before.candidate is None or before.n_candidate < LEAST_BEFORE:
        return None
    return _inside(before.candidate, before.n_candidate)


def _slack(mean: float, count: int) -> float:
    """`SLACK` and one standard error of the mean: what a reference may be off by is no fall."""
    return min(0.9, SLACK + sqrt(mean * (1.0 - mean) / count) / mean)


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"


def _size(log_e: float) -> str:
    e = from_log(log_e)
    if e > 1e6:
        return "over 1000000"
    return f"{e:.0f}" if e >= 100.0 else f"{e:.1f}"
