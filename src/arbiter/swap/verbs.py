"""What people may do to a rollout: idempotent, each with who and why.

A verb that was said twice was said once, and what is over stays over. As in `arbiter.swap.rollout`
this names the effects of a step and carries none out.
"""

from __future__ import annotations

from msgspec.structs import replace

from arbiter.errors import Conflict
from arbiter.refs import RolloutId
from arbiter.swap.rollout import SPENT, Effect, Phase, Rollout, Taken, only_from, promoted, risen
from arbiter.swap.slices import slot_at


def pause(rollout: Rollout, who: str, why: str) -> Taken:
    """Keep the weight, and stop the time and the steps. Raises `Conflict` unless it is live."""
    if rollout.phase is Phase.PAUSED and not rollout.is_waiting:
        return rollout, ()
    only_from(rollout, "paused", Phase.PROGRESSING, Phase.PAUSED)
    return _said(rollout, Phase.PAUSED, who, why), ()


def resume(rollout: Rollout, who: str, why: str) -> Taken:
    """Go on at the same step; one whose time or budget was spent gets the whole of it again.

    Raises:
        Conflict: the rollout is not live.
    """
    if rollout.phase is Phase.PROGRESSING:
        return rollout, ()
    only_from(rollout, "resumed", Phase.PAUSED)
    on = _said(rollout, Phase.PROGRESSING, who, why)
    if rollout.reason.startswith(SPENT):
        on = replace(on, budgets=on.budgets + 1)
    if on.total_s >= on.plan.expiry_s:
        on = replace(on, total_s=0.0)
    return on, (Effect.SET_WEIGHT,)


def step(rollout: Rollout, who: str, why: str, *, to: int, candidate_units: int) -> Taken:
    """Take the next step on a person's word, before its time; to a step that was taken, nothing.

    to: the index of the step in the plan's ladder, so that saying it twice is saying it once.

    Raises:
        Conflict: the rollout is not progressing, or that is not its next step.
    """
    if rollout.phase.is_live and to <= rollout.index:
        return rollout, ()
    only_from(rollout, "stepped", Phase.PROGRESSING)
    if to >= len(rollout.plan.ladder):
        raise Conflict(
            "This rollout is at its last step.",
            hint=f"To go further is to promote it: arbiter rollouts promote {rollout.id}.",
        )
    if to != rollout.index + 1:
        raise Conflict(
            f"This rollout is at step {rollout.index}, and takes one step at a time.",
            hint=f"The next one is {rollout.index + 1}.",
        )
    words = f"stepped by {who}: {why}" if why else f"stepped by {who}"
    return risen(rollout, candidate_units, words)


def retry(
    rollout: Rollout,
    who: str,
    why: str,
    *,
    anew: RolloutId,
    candidate_units: int,
    is_proved_worse: bool,
) -> Rollout:
    """The same two versions once more, by the same plan, with the evidence there is.

    anew: the id of the new rollout. The old one stays what it is. candidate_units: graded
    candidate conversations so far. is_proved_worse: whether the evidence ever was enough to roll
    back; it stays so, because to try until it comes out right would make the error rate a lie.

    Raises:
        Conflict: the rollout is not over without a promotion, or the candidate is proved worse.
    """
    only_from(rollout, "retried", Phase.ROLLED_BACK, Phase.ABORTED, Phase.BLOCKED)
    if is_proved_worse:
        raise Conflict(
            "The candidate of this rollout is proved to be worse, and a retry goes on with that.",
            hint="Only another version is another question.",
        )
    return replace(
        rollout,
        id=anew,
        phase=Phase.VALIDATING,
        index=0,
        soaked_s=0.0,
        total_s=0.0,
        sliced_s=_next_edge(rollout),
        units_at_step=candidate_units,
        shadow_only=False,
        reason=f"retried by {who}: {why}" if why else f"retried by {who}",
        budgets=1,
        continues=rollout.id,
    )


def _next_edge(rollout: Rollout) -> float:
    """Where a retry goes on: the coins of windows that there have been are known by now."""
    if not rollout.sliced_s or rollout.plan.slice_s is None:
        return 0.0
    return (slot_at(rollout.sliced_s, rollout.plan.slice_s) + 1) * rollout.plan.slice_s


def promote(rollout: Rollout, who: str, why: str) -> Taken:
    """Promote on a person's word, without proof. Raises `Conflict` unless it is live."""
    if rollout.phase is Phase.PROMOTED:
        return rollout, ()
    only_from(rollout, "promoted", Phase.PROGRESSING, Phase.PAUSED)
    return promoted(rollout, _words(Phase.PROMOTED, who, why))


def abort(rollout: Rollout, who: str, why: str) -> Taken:
    """Return to the stable version on a person's word. Raises `Conflict` once it is over."""
    if rollout.phase is Phase.ABORTED:
        return rollout, ()
    only_from(rollout, "aborted", Phase.VALIDATING, Phase.PROGRESSING, Phase.PAUSED)
    return _said(rollout, Phase.ABORTED, who, why), (Effect.RESTORE_STABLE,)


def undo(rollout: Rollout, who: str, why: str) -> Taken:
    """Take a promotion back, without analysis. Raises `Conflict` unless it was promoted."""
    if rollout.phase is Phase.UNDONE:
        return rollout, ()
    only_from(rollout, "undone", Phase.PROMOTED)
    return _said(rollout, Phase.UNDONE, who, why), (Effect.RESTORE_STABLE,)


def _said(rollout: Rollout, phase: Phase, who: str, why: str) -> Rollout:
    return replace(rollout, phase=phase, reason=_words(phase, who, why))


def _words(phase: Phase, who: str, why: str) -> str:
    verb = "resumed" if phase is Phase.PROGRESSING else phase.value
    return f"{verb} by {who}: {why}" if why else f"{verb} by {who}"
