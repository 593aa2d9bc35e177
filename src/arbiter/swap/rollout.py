"""A rollout as a value: its plan, its phase, and every step it may take.

    validating ──▶ progressing ◀──▶ paused
        │               └──────┬──────┘
        ▼                      ▼
     blocked      promoted ──▶ undone,   rolled_back,   aborted

A worse candidate and a failing one are rolled back from progressing and from paused alike. Only
proof or a person promotes: at the last step a rollout waits, and when its time is over it pauses
and asks. While one of its versions is not to be had it pauses of itself, takes no step, and goes
on when both are there; what a person paused stays paused. This module names the effects of a
step; it carries none out, reads no clock and counts nothing itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from hashlib import sha256
from itertools import pairwise
from math import inf
from typing import Self, assert_never

import msgspec

from arbiter.errors import Conflict
from arbiter.inference import Arm
from arbiter.refs import ModelName, RolloutId, VersionId, digest
from arbiter.swap.analysis import Judgement, Rule, Verdict

DAY_S = 86_400.0

WAITING = "waiting: "
"""How the reason of a rollout begins that paused of itself; a person's begins with their verb."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan(Rule):
    """What has to be proved, and the steps by which the candidate gets traffic meanwhile.

    steps: the candidate's share of new conversations, rising, at most one half: beyond that the
        stable version has too little traffic to be compared with.
    unproven_first_step: the share of one more step before the first, for a candidate that
        validation could neither pass nor block.
    soak_s: how long each step lasts at least, in seconds.
    min_units: how many graded candidate conversations each step needs at least.
    min_steps: how many of `steps` have to be soaked through before a promotion.
    expiry_s: how long to wait for a verdict before asking, in seconds of progressing.
    keep_s: how long the old version stays warm after a promotion, in seconds.
    """

    steps: tuple[float, ...] = (0.10, 0.20, 0.30, 0.40, 0.50)
    unproven_first_step: float = 0.05
    soak_s: float = 3600.0
    min_units: int = 20
    min_steps: int = 2
    expiry_s: float = 7 * DAY_S
    keep_s: float = 7 * DAY_S

    def __post_init__(self) -> None:
        Rule.__post_init__(self)
        if not self.steps or not all(0.001 <= step <= 0.5 for step in self.steps):
            raise ValueError(f"Steps are shares from 0.001 to 0.5, not {self.steps}.")
        if any(later <= earlier for earlier, later in pairwise(self.steps)):
            raise ValueError(f"Each step is larger than the one before; {self.steps} are not.")
        if not 0.001 <= self.unproven_first_step <= self.steps[0]:
            raise ValueError("unproven_first_step is from 0.001 up to the first of the steps.")
        if not (0.0 <= self.soak_s < inf and 0.0 <= self.keep_s < inf):
            raise ValueError("soak_s and keep_s are seconds, 0 or more.")
        if not self.soak_s < self.expiry_s < inf:
            raise ValueError("expiry_s is longer than soak_s: a step has to fit in.")
        if self.min_units < 1 or not 1 <= self.min_steps <= len(self.steps):
            raise ValueError("min_units is at least 1, and min_steps from 1 up to all steps.")

    @property
    def ladder(self) -> tuple[float, ...]:
        """Every share by index: the cautious first step at 0, then `steps` from 1."""
        return (self.unproven_first_step, *self.steps)

    @property
    def digest(self) -> str:
        """What identifies the plan: ``sha256:`` of its canonical form.

        >>> Plan(soak_s=60).digest == Plan(soak_s=60.0).digest != Plan(soak_s=61.0).digest
        True
        """
        return digest("arbiter.plan.v1", self.to_dict())

    def to_dict(self) -> dict[str, object]:
        """The plan as plain JSON values; `from_dict` takes it back."""
        plain: dict[str, object] = msgspec.to_builtins(self)
        for field in fields(self):
            if field.type == "float":
                plain[field.name] = float(getattr(self, field.name))
        plain["steps"] = [float(step) for step in self.steps]
        plain["tasks"] = list(self.tasks)
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, object]) -> Self:
        """A plan from plain values; what is not given takes its default.

        >>> Plan.from_dict({"steps": [0.1, 0.5]}).steps
        (0.1, 0.5)

        Raises:
            ValueError: a name is unknown, or a value is of the wrong kind or not allowed.
        """
        known = {field.name for field in fields(cls)}
        if unknown := [name for name in plain if name not in known]:
            raise ValueError(f"A plan has no {', '.join(unknown)}; it has {', '.join(known)}.")
        return msgspec.convert(dict(plain), cls)


class ValidationVerdict(StrEnum):
    """What validation on recorded cases said before any traffic."""

    PASS = "pass"  # noqa: S105  # the verdict, not a password
    UNPROVEN = "unproven"
    BLOCK = "block"


class Phase(StrEnum):
    """Where a rollout is."""

    VALIDATING = "validating"
    PROGRESSING = "progressing"
    PAUSED = "paused"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    BLOCKED = "blocked"
    ABORTED = "aborted"
    UNDONE = "undone"

    @property
    def is_live(self) -> bool:
        """Whether the candidate gets traffic."""
        return self in {Phase.PROGRESSING, Phase.PAUSED}

    @property
    def is_final(self) -> bool:
        """Whether nothing follows, but for undoing a promotion."""
        return not self.is_live and self is not Phase.VALIDATING


class Effect(StrEnum):
    """What has to be done once the new state is written down. All may be done twice."""

    SET_WEIGHT = "set_weight"
    """Draw new conversations with the rollout's weight."""
    MOVE_ALIAS = "move_alias"
    """Let the alias stand for the candidate, and keep the old version for the plan's keep_s."""
    RESTORE_STABLE = "restore_stable"
    """Let the alias stand for the stable version alone."""
    ASK_OPERATOR = "ask_operator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """One candidate's way in front of one alias.

    salt: what draws this rollout's conversations; another rollout draws others.
    index: the step in the plan's ladder; 0 is the cautious one.
    soaked_s, total_s: seconds of progressing in this step, and since beginning or resuming late.
    units_at_step: how many graded candidate conversations there were when this step began.
    """

    id: RolloutId
    alias: ModelName
    stable: VersionId
    candidate: VersionId
    plan: Plan
    salt: str
    phase: Phase = Phase.VALIDATING
    index: int = 0
    soaked_s: float = 0.0
    total_s: float = 0.0
    units_at_step: int = 0
    reason: str = ""

    def __post_init__(self) -> None:
        if self.stable == self.candidate:
            raise ValueError("The candidate is the stable version already.")
        if not 0 <= self.index < len(self.plan.ladder):
            raise ValueError(f"The plan has no step {self.index}.")
        if not (self.soaked_s >= 0.0 and self.total_s >= 0.0 and self.units_at_step >= 0):
            raise ValueError("Times and counts of a rollout are 0 or more.")

    @property
    def weight(self) -> float:
        """The candidate's share of new conversations now; a pause keeps it."""
        return self.plan.ladder[self.index] if self.phase.is_live else 0.0

    @property
    def is_waiting(self) -> bool:
        """Whether it paused of itself, because one of its versions was not there."""
        return self.phase is Phase.PAUSED and self.reason.startswith(WAITING)


Taken = tuple[Rollout, tuple[Effect, ...]]
"""The rollout after a step, and what has to be done once it is written down."""


def begin(rollout: Rollout, validation: ValidationVerdict, reason: str) -> Taken:
    """Leave validation: into the steps, into the cautious step before them, or not at all.

    Raises:
        Conflict: the rollout has left validation before.
    """
    _only_from(rollout, "begun", Phase.VALIDATING)
    match validation:
        case ValidationVerdict.PASS:
            begun = replace(rollout, phase=Phase.PROGRESSING, index=1, reason=reason)
        case ValidationVerdict.UNPROVEN:
            begun = replace(rollout, phase=Phase.PROGRESSING, index=0, reason=reason)
        case ValidationVerdict.BLOCK:
            return replace(rollout, phase=Phase.BLOCKED, reason=reason), ()
        case _:
            assert_never(validation)
    return begun, (Effect.SET_WEIGHT,)


def advance(
    rollout: Rollout,
    judgement: Judgement,
    *,
    elapsed_s: float,
    candidate_units: int,
    tripped: str | None = None,
    absent: str | None = None,
) -> Taken:
    """Take one step, or none.

    elapsed_s: monotonic seconds since the last call, which the caller caps at its tick so that a
        machine that slept has not soaked.
    candidate_units: graded candidate conversations since the rollout began.
    tripped: why the candidate is taken out without statistics, from `analysis.tripped`.
    absent: why one of its versions cannot be had now, whichever it is; no step is taken then, not
        even back: the other one answers meanwhile.

    A paused rollout gathers evidence but no time: it can still be rolled back, and nothing else.

    Raises:
        ValueError: time or the count runs backwards.
    """
    if not 0.0 <= elapsed_s < inf:
        raise ValueError(f"elapsed_s is seconds, 0 or more, not {elapsed_s}")
    if not rollout.phase.is_live:
        return rollout, ()
    if candidate_units < rollout.units_at_step:
        raise ValueError(f"there were {rollout.units_at_step} units, so not {candidate_units} now")
    if absent is not None or rollout.is_waiting:
        return _wait(rollout, absent)
    if tripped is not None:
        return _back(rollout, tripped)
    match judgement.verdict:
        case Verdict.WORSE:
            return _back(rollout, judgement.reason)
        case Verdict.NOT_WORSE | Verdict.INCONCLUSIVE | Verdict.ERROR:
            if rollout.phase is Phase.PAUSED:
                return rollout, ()
            timed = replace(
                rollout,
                soaked_s=rollout.soaked_s + elapsed_s,
                total_s=rollout.total_s + elapsed_s,
            )
            return _progress(timed, judgement, candidate_units)
        case _:
            assert_never(judgement.verdict)


def _wait(rollout: Rollout, absent: str | None) -> Taken:
    if absent is None:
        reason = "going on: both versions are there again"
        return replace(rollout, phase=Phase.PROGRESSING, reason=reason), (Effect.SET_WEIGHT,)
    if rollout.phase is Phase.PAUSED:
        return rollout, ()
    return replace(rollout, phase=Phase.PAUSED, reason=f"{WAITING}{absent}"), ()


def _progress(rollout: Rollout, judgement: Judgement, candidate_units: int) -> Taken:
    plan = rollout.plan
    may_rise = (
        rollout.soaked_s >= plan.soak_s
        and candidate_units - rollout.units_at_step >= plan.min_units
        and not judgement.hold
        and judgement.verdict is not Verdict.ERROR
    )
    if may_rise and judgement.verdict is Verdict.NOT_WORSE and rollout.index >= plan.min_steps:
        return _promoted(rollout, judgement.reason)
    if rollout.total_s >= plan.expiry_s:
        reason = f"No verdict in time. {judgement.reason}"
        return replace(rollout, phase=Phase.PAUSED, reason=reason), (Effect.ASK_OPERATOR,)
    if may_rise and rollout.index + 1 < len(plan.ladder):
        risen = replace(
            rollout,
            index=rollout.index + 1,
            soaked_s=0.0,
            units_at_step=candidate_units,
            reason=judgement.reason,
        )
        return risen, (Effect.SET_WEIGHT,)
    return rollout, ()


def pause(rollout: Rollout, who: str, why: str) -> Taken:
    """Keep the weight, and stop the time and the steps. Raises `Conflict` unless it is live."""
    if rollout.phase is Phase.PAUSED and not rollout.is_waiting:
        return rollout, ()
    _only_from(rollout, "paused", Phase.PROGRESSING, Phase.PAUSED)
    return _said(rollout, Phase.PAUSED, who, why), ()


def resume(rollout: Rollout, who: str, why: str) -> Taken:
    """Go on at the same step; one that had run out of time gets its whole time again.

    Raises:
        Conflict: the rollout is not live.
    """
    if rollout.phase is Phase.PROGRESSING:
        return rollout, ()
    _only_from(rollout, "resumed", Phase.PAUSED)
    on = _said(rollout, Phase.PROGRESSING, who, why)
    if on.total_s >= on.plan.expiry_s:
        on = replace(on, total_s=0.0)
    return on, (Effect.SET_WEIGHT,)


def promote(rollout: Rollout, who: str, why: str) -> Taken:
    """Promote on a person's word, without proof. Raises `Conflict` unless it is live."""
    if rollout.phase is Phase.PROMOTED:
        return rollout, ()
    _only_from(rollout, "promoted", Phase.PROGRESSING, Phase.PAUSED)
    return _promoted(rollout, _words(Phase.PROMOTED, who, why))


def abort(rollout: Rollout, who: str, why: str) -> Taken:
    """Return to the stable version on a person's word. Raises `Conflict` once it is over."""
    if rollout.phase is Phase.ABORTED:
        return rollout, ()
    _only_from(rollout, "aborted", Phase.VALIDATING, Phase.PROGRESSING, Phase.PAUSED)
    return _said(rollout, Phase.ABORTED, who, why), (Effect.RESTORE_STABLE,)


def undo(rollout: Rollout, who: str, why: str) -> Taken:
    """Take a promotion back, without analysis. Raises `Conflict` unless it was promoted."""
    if rollout.phase is Phase.UNDONE:
        return rollout, ()
    _only_from(rollout, "undone", Phase.PROMOTED)
    return _said(rollout, Phase.UNDONE, who, why), (Effect.RESTORE_STABLE,)


def assign(salt: str, conversation: str, weight: float) -> Arm:
    """The arm a conversation is drawn for: always the same while the weight is.

    The first 53 bits of ``sha256(salt NUL conversation)`` are a uniform number, and the candidate
    gets those below the weight, so `weight` is the exact probability to log. A conversation keeps
    its candidate when the weight rises.

    >>> assign("s", "c", 0.0), assign("s", "c", 1.0)
    (<Arm.STABLE: 'stable'>, <Arm.CANDIDATE: 'candidate'>)

    Raises:
        ValueError: the weight is outside [0, 1].
    """
    if not 0.0 <= weight <= 1.0:
        raise ValueError(f"a weight lies in [0, 1], not {weight}")
    drawn = sha256(f"{salt}\0{conversation}".encode(errors="surrogatepass")).digest()
    uniform = (int.from_bytes(drawn[:8]) >> 11) / (1 << 53)
    return Arm.CANDIDATE if uniform < weight else Arm.STABLE


def _back(rollout: Rollout, reason: str) -> Taken:
    return replace(rollout, phase=Phase.ROLLED_BACK, reason=reason), (Effect.RESTORE_STABLE,)


def _promoted(rollout: Rollout, reason: str) -> Taken:
    done = replace(rollout, phase=Phase.PROMOTED, reason=reason)
    return done, (Effect.MOVE_ALIAS,)


def _said(rollout: Rollout, phase: Phase, who: str, why: str) -> Rollout:
    return replace(rollout, phase=phase, reason=_words(phase, who, why))


def _words(phase: Phase, who: str, why: str) -> str:
    verb = "resumed" if phase is Phase.PROGRESSING else phase.value
    return f"{verb} by {who}: {why}" if why else f"{verb} by {who}"


def _only_from(rollout: Rollout, verb: str, *phases: Phase) -> None:
    if rollout.phase not in phases:
        raise Conflict(
            f"This rollout is {rollout.phase.replace('_', ' ')} and cannot be {verb}.",
            hint=f"Only one that is {' or '.join(phases)} can be."
            + (" Start a new rollout instead." if rollout.phase.is_final else ""),
        )
