"""The plan of a rollout as data: what has to be proved, and the steps meanwhile.

A plan is fixed when its rollout starts, and its digest is on every decision of the rollout. Another
plan is another rollout.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from itertools import pairwise
from math import inf
from typing import Self

import msgspec

from arbiter.refs import digest
from arbiter.swap.analysis import Rule
from arbiter.swap.metrics import LATENCY, RELIABILITY, Guard, Metrics, Mode

DAY_S = 86_400.0

LEAST_STEP = 0.001
"""The smallest share of conversations that a step may be."""

CLOCK_STEPS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""The steps of the schedule ``clock``, before all of the traffic."""


class Schedule(StrEnum):
    """What makes the candidate's share rise to all of the traffic."""

    PROVED = "proved"
    """Proof: at most half of the traffic until a promotion is proved, however long that takes."""
    CLOCK = "clock"
    """Time: a step an hour, then promoted, unless there is evidence against it."""


class Over(StrEnum):
    """What follows when the budget of bad answers is spent."""

    ASK = "ask"
    """Pause, and wait for a person."""
    ABORT = "abort"
    """Go back to the stable version."""


class Apart(StrEnum):
    """What decides when both versions cannot be loaded together."""

    NO = "no"
    """Nothing: they share the traffic, so both must be loaded, or the swap is blocked."""
    REPLAY = "replay"
    """Recorded cases alone, one version loaded after the other; no traffic is shared."""
    SLICES = "slices"
    """Traffic: they take turns, a window of time each, and a window is one unit."""


class OnDrift(StrEnum):
    """What follows when a promoted version has become worse than the old one beside it."""

    UNDO = "undo"
    """Go back to the old version."""
    ASK = "ask"
    """Say so, and leave it to a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan(Rule):
    """What has to be proved, and the steps by which the candidate gets traffic meanwhile.

    schedule: whether proof or time promotes.
    steps: the candidate's share of new conversations, rising; with the schedule ``proved`` at most
        one half: beyond that the stable version has too little traffic to be compared with.
    unproven_first_step: the share of one more step before the first, for a candidate that
        validation could neither pass nor block; with pairs it is only asked beside the stable
        version before that.
    soak_s: how long each step lasts at least, in seconds.
    min_units: how many graded candidate conversations each step needs at least; with the schedule
        ``clock``, all of them together before the promotion.
    min_steps: how many of `steps` have to be soaked through before a promotion.
    expiry_s: how long to wait for a verdict before asking, in seconds of progressing.
    keep_s: how long the old version stays warm after a promotion, and the new one is watched, in
        seconds in which a house is open.
    holdback: the share of conversations that stay with the old version meanwhile; 0 is none.
    alpha_drift: an alarm goes off without a cause once in ``1 / alpha_drift`` graded conversations
        or less often. on_drift: what follows when the new version is worse than the old beside it.
    budget: how many of its answers may be bad that the stable version would have got right, by
        estimate and of those that were graded; None is no bound. over_budget: what follows then.
    judge_share: the chance of a conversation to be chosen for judging where no rule can grade it.
    judge_within_s: how long its judgement may take, in seconds; it scores 0 then, and after a
        promotion it counts for nothing.
    shadow: the share of conversations whose first request is asked of both versions, by a coin that
        does not depend on the arm; the client gets one answer, and no more is ever served.
    quality: whether grades decide. reliability, latency: see `arbiter.swap.metrics`.
    apart: what decides when both cannot be loaded together.
    slice_s: with time slices, how long a window is, in seconds; None: not fixed yet. The shares are
        then shares of windows, and `min_units` counts graded windows.
    """

    schedule: Schedule = Schedule.PROVED
    steps: tuple[float, ...] = (0.10, 0.20, 0.30, 0.40, 0.50)
    unproven_first_step: float = 0.05
    soak_s: float = 3600.0
    min_units: int = 20
    min_steps: int = 2
    expiry_s: float = 7 * DAY_S
    keep_s: float = 7 * DAY_S
    holdback: float = 0.05
    alpha_drift: float = 0.0001
    on_drift: OnDrift = OnDrift.UNDO
    budget: float | None = 100.0
    over_budget: Over = Over.ASK
    judge_share: float = 0.0
    judge_within_s: float = 3600.0
    shadow: float = 0.2
    quality: Mode = Mode.CRITICAL
    reliability: Guard = RELIABILITY
    latency: Guard = LATENCY
    apart: Apart = Apart.NO
    slice_s: float | None = None

    def __post_init__(self) -> None:
        Rule.__post_init__(self)
        self._check_steps()
        if not (0.0 <= self.soak_s < inf and 0.0 <= self.keep_s < inf):
            raise ValueError("soak_s and keep_s are seconds, 0 or more.")
        if not self.soak_s < self.expiry_s < inf:
            raise ValueError("expiry_s is longer than soak_s: a step has to fit in.")
        if self.min_units < 1 or not 1 <= self.min_steps <= len(self.steps):
            raise ValueError("min_units is at least 1, and min_steps from 1 up to all steps.")
        self._check_shares()
        modes = (self.quality, self.reliability.mode, self.latency.mode)
        if Mode.CRITICAL not in modes:
            raise ValueError("One of quality, reliability and latency has to be critical.")
        if self.quality is Mode.OFF:
            raise ValueError("Quality is critical or a dry_run: grades are always looked at.")
        self._check_slices()

    def _check_shares(self) -> None:
        if not (0.0 <= self.judge_share <= 1.0 and 0.0 < self.judge_within_s < inf):
            raise ValueError("judge_share is a share from 0 to 1, judge_within_s seconds above 0.")
        if self.budget is not None and not 0.0 < self.budget < inf:
            raise ValueError("A budget is a number of bad answers, above 0.")
        if not 0.0 <= self.holdback <= 0.5:
            raise ValueError("holdback is a share of conversations, from 0 to 0.5.")
        if not 0.0 < self.alpha_drift <= 0.5:
            raise ValueError("An alpha is a chance of a wrong verdict; give one in (0, 0.5].")
        if not 0.0 <= self.shadow <= 1.0:
            raise ValueError(f"shadow is a share of conversations from 0 to 1, not {self.shadow}.")

    def _check_slices(self) -> None:
        if self.slice_s is not None and not 1.0 <= self.slice_s < inf:
            raise ValueError("slice_s is the seconds of a window, 1 or more.")
        if self.apart is not Apart.SLICES:
            if self.slice_s is not None:
                raise ValueError("slice_s is for versions that take turns: apart is slices.")
            return
        if self.shadow or self.holdback:
            raise ValueError("In time slices only one version is loaded: no shadow, no holdback.")
        if {self.reliability.mode, self.latency.mode} != {Mode.OFF}:
            raise ValueError("In time slices grades decide: reliability and latency are off.")
        if self.tasks:
            raise ValueError("In time slices a unit is a window, of all tasks: none is declared.")

    def _check_steps(self) -> None:
        most = 0.5 if self.schedule is Schedule.PROVED else 0.99
        if not self.steps or not all(LEAST_STEP <= step <= most for step in self.steps):
            raise ValueError(f"Steps are shares from {LEAST_STEP} to {most}, not {self.steps}.")
        if any(later <= earlier for earlier, later in pairwise(self.steps)):
            raise ValueError(f"Each step is larger than the one before; {self.steps} are not.")
        if not LEAST_STEP <= self.unproven_first_step <= self.steps[0]:
            raise ValueError("unproven_first_step is from 0.001 up to the first of the steps.")

    @property
    def of_windows(self) -> bool:
        """Whether a unit is a window of time, and its score the mean of many answers."""
        return self.apart is Apart.SLICES

    @property
    def ladder(self) -> tuple[float, ...]:
        """Every share by index: the cautious first step at 0, then `steps` from 1."""
        return (self.unproven_first_step, *self.steps)

    def share(self, index: int) -> float:
        """The share at a place of the ladder."""
        return self.steps[index - 1] if index else self.unproven_first_step

    @property
    def digest(self) -> str:
        """What identifies the plan: ``sha256:`` of its canonical form.

        >>> Plan(soak_s=60).digest == Plan(soak_s=60.0).digest != Plan(soak_s=61.0).digest
        True
        """
        return digest("arbiter.plan.v1", self.to_dict())

    def to_dict(self) -> dict[str, object]:
        """The plan as plain JSON values; `from_dict` takes it back."""
        plain = _floats(self)
        plain["steps"] = [float(step) for step in self.steps]
        plain["tasks"] = list(self.tasks)
        plain["reliability"] = _floats(self.reliability)
        plain["latency"] = _floats(self.latency)
        return plain

    @property
    def metrics(self) -> Metrics:
        """Nothing known yet, of every metric that the plan keeps."""
        return Metrics(quality=self.quality, reliability=self.reliability, latency=self.latency)

    @property
    def alpha_any_rollback(self) -> float:
        """The chance of ever rolling back a candidate that is not worse, over all metrics.

        >>> Plan().alpha_any_rollback
        0.05
        """
        guards = (self.reliability, self.latency)
        others = sum(one.alpha_rollback for one in guards if one.mode is Mode.CRITICAL)
        return others + (self.alpha_rollback if self.quality is Mode.CRITICAL else 0.0)

    @classmethod
    def from_dict(cls, plain: Mapping[str, object]) -> Self:
        """A plan from plain values; what is not given takes its default.

        >>> Plan.from_dict({"steps": [0.1, 0.5]}).steps
        (0.1, 0.5)

        Raises:
            ValueError: a name is unknown, or a value is of the wrong kind or not allowed.
        """
        _check_names("A plan", cls, plain)
        for metric in ("reliability", "latency"):
            inner = plain.get(metric)
            if isinstance(inner, Mapping):
                _check_names(metric, Guard, inner)
        return msgspec.convert(dict(plain), cls)


def _check_names(what: str, kind: type[Plan | Guard], plain: Mapping[str, object]) -> None:
    known = [field.name for field in fields(kind)]
    if unknown := [name for name in plain if name not in known]:
        raise ValueError(f"{what} has no {', '.join(unknown)}; it has {', '.join(known)}.")


def _floats(found: Plan | Guard) -> dict[str, object]:
    """Plain values, in which a whole number that stands for a fraction is a fraction."""
    plain: dict[str, object] = msgspec.to_builtins(found)
    for field in fields(found):
        value = getattr(found, field.name)
        if str(field.type).startswith("float") and value is not None:
            plain[field.name] = float(value)
    return plain
