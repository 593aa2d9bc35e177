"""A rollout as a value: its plan, its phase, and every step it may take.

    validating ──▶ progressing ◀──▶ paused
        │               └──────┬──────┘
        ▼                      ▼
     blocked      promoted ──▶ undone,   rolled_back,   aborted

A plan that keeps its two versions apart goes from validating to promoted, or is blocked.

One that validation could not tell is progressing too while it is only asked beside the stable
version (`shadow_only`), at a share of nothing. A worse candidate and a failing one are rolled back
from progressing and from paused alike. Only proof or a person promotes, or the clock where the
plan says so: at the last step a rollout waits, and when its time is over, or its budget is spent,
it pauses and asks. While one of its versions is not to be had it pauses of itself, takes no step,
and goes on when both are there; what a person paused stays paused. What has ended stays ended: to
retry is a new rollout that goes on with the evidence of the one before. This module names the
effects of a step; it carries none out, reads no clock and counts nothing itself.
"""

from __future__ import annotations

from enum import StrEnum
from hashlib import sha256
from math import inf
from typing import assert_never

import msgspec
from msgspec.structs import replace

from arbiter.errors import Conflict
from arbiter.inference import Arm
from arbiter.refs import ModelName, RolloutId, VersionId
from arbiter.swap.analysis import Judgement, Verdict
from arbiter.swap.budget import overspent
from arbiter.swap.plan import Apart, Over, Plan, Schedule

WAITING = "waiting: "
"""How the reason of a rollout begins that paused of itself; a person's begins with their verb."""

SPENT = "The budget is spent: "
"""How the reason of a rollout begins that asks because its budget is spent."""

LATE = "No verdict in time. "
"""How the reason of a rollout begins that asks because its time is over."""


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
        # asked several times a request, and a set of members hashes each of them in Python
        return self is Phase.PROGRESSING or self is Phase.PAUSED

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


class Rollout(msgspec.Struct, frozen=True, kw_only=True):
    """One candidate's way in front of one alias.

    salt: what draws this rollout's conversations; another rollout draws others.
    index: the step in the plan's ladder; 0 is the cautious one.
    soaked_s, total_s: seconds of progressing in this step, and since beginning or resuming late.
    sliced_s: seconds of time slices, with those of the rollouts that it continues; see
        `arbiter.swap.slices`.
    units_at_step: how many graded candidate conversations there were when this step began.
    budgets: how many budgets it may spend: one, and one more each time that it was resumed after.
    continues: the rollout of the same two versions whose evidence it goes on with.
    shadow_only: whether the candidate answers nobody yet, and is only asked beside the stable one:
        at first, when validation could neither pass nor block it, and the plan asks both.
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
    sliced_s: float = 0.0
    units_at_step: int = 0
    reason: str = ""
    budgets: int = 1
    continues: RolloutId | None = None
    shadow_only: bool = False

    def __post_init__(self) -> None:
        if self.stable == self.candidate:
            raise ValueError("The candidate is the stable version already.")
        if not 0 <= self.index <= len(self.plan.steps):
            raise ValueError(f"The plan has no step {self.index}.")
        if not (self.soaked_s >= 0.0 and self.total_s >= 0.0 and self.sliced_s >= 0.0):
            raise ValueError("Times of a rollout are 0 or more.")
        if self.units_at_step < 0:
            raise ValueError("Counts of a rollout are 0 or more.")
        if self.budgets < 1 or self.continues == self.id:
            raise ValueError("A rollout has one budget at least, and goes on with another one.")

    @property
    def weight(self) -> float:
        """The candidate's share of new conversations now; a pause keeps it."""
        if self.shadow_only or not self.phase.is_live:
            return 0.0
        return self.plan.share(self.index)

    @property
    def is_in_turn(self) -> bool:
        """Whether one of its versions has a turn now: nobody has while it is paused."""
        return self.plan.of_windows and self.phase is Phase.PROGRESSING

    @property
    def is_waiting(self) -> bool:
        """Whether it paused of itself, because one of its versions was not there."""
        return self.phase is Phase.PAUSED and self.reason.startswith(WAITING)


Taken = tuple[Rollout, tuple[Effect, ...]]
"""The rollout after a step, and what has to be done once it is written down."""


def begin(rollout: Rollout, validation: ValidationVerdict, reason: str) -> Taken:
    """Leave validation: into the steps, into the cautious step before them, or not at all.

    Where the plan keeps the two versions apart there are no steps: a pass is the promotion, and
    what is unproven is blocked, because nothing could prove it later.

    At the cautious step a candidate is only asked beside the stable version at first, if the plan
    asks both: what nobody knows anything of is tried where it cannot hurt.

    Raises:
        Conflict: the rollout has left validation before.
    """
    only_from(rollout, "begun", Phase.VALIDATING)
    if rollout.plan.apart is Apart.REPLAY and validation is not ValidationVerdict.BLOCK:
        if validation is ValidationVerdict.PASS:
            return promoted(rollout, f"Promoted on recorded cases, without traffic. {reason}")
        reason = f"Recorded cases alone were to decide, and they do not. {reason}"
        return replace(rollout, phase=Phase.BLOCKED, reason=reason), ()
    match validation:
        case ValidationVerdict.PASS:
            begun = replace(rollout, phase=Phase.PROGRESSING, index=1, reason=reason)
        case ValidationVerdict.UNPROVEN:
            begun = replace(
                rollout,
                phase=Phase.PROGRESSING,
                index=0,
                shadow_only=rollout.plan.shadow > 0.0,
                reason=reason,
            )
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
    blocked: str | None = None,
) -> Taken:
    """Take one step, or none.

    elapsed_s: monotonic seconds since the last call, which the caller caps at its tick so that a
        machine that slept has not soaked.
    candidate_units: graded candidate conversations since the rollout began.
    tripped: why the candidate is taken out without statistics, from `arbiter.swap.tripping`.
    absent: why one of its versions cannot be had now, whichever it is; no step is taken then, not
        even back: the other one answers meanwhile.
    blocked: why the candidate must not get more traffic now, if a hook says so; it can still be
        rolled back, and its time still runs out.

    A paused rollout gathers evidence but no time: it can still be rolled back, and nothing else.

    Raises:
        ValueError: time or the count runs backwards.
    """
    _check_forward(rollout, elapsed_s, candidate_units)
    if not rollout.phase.is_live:
        return rollout, ()
    if absent is not None or rollout.is_waiting:
        return _wait(rollout, absent)
    if tripped is not None:
        return _back(rollout, tripped)
    if judgement.verdict is Verdict.WORSE:
        return _back(rollout, judgement.reason)
    spent = _spent(rollout, judgement)
    if spent is not None and rollout.plan.over_budget is Over.ABORT:
        return _back(rollout, spent)
    if rollout.phase is Phase.PAUSED:
        return rollout, ()
    timed = replace(
        rollout,
        soaked_s=rollout.soaked_s + elapsed_s,
        total_s=rollout.total_s + elapsed_s,
        sliced_s=rollout.sliced_s + elapsed_s if rollout.plan.slice_s is not None else 0.0,
    )
    if spent is not None:
        return _asking(timed, spent)
    return _progress(timed, judgement, candidate_units, blocked)


def _check_forward(rollout: Rollout, elapsed_s: float, candidate_units: int) -> None:
    if not 0.0 <= elapsed_s < inf:
        raise ValueError(f"elapsed_s is seconds, 0 or more, not {elapsed_s}")
    if rollout.phase.is_live and candidate_units < rollout.units_at_step:
        raise ValueError(f"there were {rollout.units_at_step} units, so not {candidate_units} now")


def _spent(rollout: Rollout, judgement: Judgement) -> str | None:
    budget = rollout.plan.budget
    why = overspent(judgement, None if budget is None else budget * rollout.budgets)
    return None if why is None else f"{SPENT}{why}"


def _wait(rollout: Rollout, absent: str | None) -> Taken:
    if absent is None:
        reason = "going on: both versions are there again"
        return replace(rollout, phase=Phase.PROGRESSING, reason=reason), (Effect.SET_WEIGHT,)
    if rollout.phase is Phase.PAUSED:
        return rollout, ()
    return replace(rollout, phase=Phase.PAUSED, reason=f"{WAITING}{absent}"), ()


def _progress(
    rollout: Rollout, judgement: Judgement, candidate_units: int, blocked: str | None
) -> Taken:
    plan = rollout.plan
    if rollout.shadow_only:
        return _served_at_last(rollout, judgement, candidate_units, blocked)
    may_rise = _may_rise(rollout, judgement, candidate_units)
    why = _promotion(rollout, judgement, candidate_units, may_rise=may_rise)
    if why is not None and blocked is None:
        return promoted(rollout, why)
    if rollout.total_s >= plan.expiry_s:
        return _asking(rollout, f"{LATE}{judgement.reason}")
    if not may_rise or (why is None and rollout.index + 1 == len(plan.ladder)):
        return rollout, ()
    if blocked is not None:
        return replace(rollout, reason=blocked), ()
    return risen(rollout, candidate_units, judgement.reason)


def _served_at_last(
    rollout: Rollout, judgement: Judgement, candidate_units: int, blocked: str | None
) -> Taken:
    """From asking the candidate beside the stable version to letting it answer, when it is time.

    That is after `min_units` pairs, or after `soak_s`: on a machine that is never quiet there are
    no pairs, and the cautious step is cautious without them.
    """
    plan = rollout.plan
    pairs = candidate_units - rollout.units_at_step
    if rollout.total_s >= plan.expiry_s:
        return _asking(rollout, f"{LATE}{judgement.reason}")
    if pairs < plan.min_units and rollout.soaked_s < plan.soak_s:
        return rollout, ()
    if blocked is not None:
        return replace(rollout, reason=blocked), ()
    begun = replace(
        rollout,
        shadow_only=False,
        soaked_s=0.0,
        units_at_step=candidate_units,
        reason=f"Asked beside the stable version {pairs} times. {judgement.reason}",
    )
    return begun, (Effect.SET_WEIGHT,)


def _may_rise(rollout: Rollout, judgement: Judgement, candidate_units: int) -> bool:
    plan = rollout.plan
    if rollout.soaked_s < plan.soak_s or judgement.verdict is Verdict.ERROR:
        return False
    if plan.schedule is Schedule.CLOCK:
        return True
    return candidate_units - rollout.units_at_step >= plan.min_units


def _promotion(
    rollout: Rollout, judgement: Judgement, candidate_units: int, *, may_rise: bool
) -> str | None:
    """Why it may be promoted now; None while it may not.

    Proof may come at any time once enough steps are soaked through: to look at it every hour alone
    would be to wait for nothing, because the chance of being wrong is that of all times at once.
    """
    plan = rollout.plan
    if judgement.hold or candidate_units < plan.min_units:
        return None
    soaked = rollout.index if may_rise else rollout.index - 1
    if judgement.verdict is Verdict.NOT_WORSE and soaked >= plan.min_steps:
        return judgement.reason
    if may_rise and plan.schedule is Schedule.CLOCK and rollout.index + 1 == len(plan.ladder):
        return f"Promoted by the clock, without proof. {judgement.reason}"
    return None


def risen(rollout: Rollout, candidate_units: int, reason: str) -> Taken:
    """The next step."""
    risen = replace(
        rollout,
        index=rollout.index + 1,
        shadow_only=False,
        soaked_s=0.0,
        units_at_step=candidate_units,
        reason=reason,
    )
    return risen, (Effect.SET_WEIGHT,)


def _asking(rollout: Rollout, reason: str) -> Taken:
    return replace(rollout, phase=Phase.PAUSED, reason=reason), (Effect.ASK_OPERATOR,)


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


def promoted(rollout: Rollout, reason: str) -> Taken:
    """The promotion."""
    done = replace(rollout, phase=Phase.PROMOTED, reason=reason)
    return done, (Effect.MOVE_ALIAS,)


def only_from(rollout: Rollout, verb: str, *phases: Phase) -> None:
    """Raises `Conflict` unless the rollout is in one of these phases. verb: what was to be done."""
    if rollout.phase not in phases:
        raise Conflict(
            f"This rollout is {rollout.phase.replace('_', ' ')} and cannot be {verb}.",
            hint=f"Only one that is {' or '.join(phases).replace('_', ' ')} can be."
            + (" Start a new rollout instead." if rollout.phase.is_final else ""),
        )
