"""Repeats what followed a promotion from its record alone: who was held back, and the alarms.

Every row is drawn again, the rows before each alarm are folded again, and an alarm has to come out
at the same row, with the same evidence and in the same words.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from arbiter.inference import Arm
from arbiter.ledger import Kind
from arbiter.swap.basis import UnitRow
from arbiter.swap.records import Entry
from arbiter.swap.rollout import Phase, Rollout
from arbiter.swap.watch import Before, Sign, held_back, since_of
from arbiter.swap.watch_records import Alarmed, Watched

NOTES = (Kind.ROLLOUT_DRIFTED, Kind.ROLLOUT_RETIRED)
"""What the ledger says of a promotion, beside the changes of its rollout."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Following:
    """What followed a promotion, as it is on disk.

    units: in the order of positions. notes: what the ledger says of it.
    """

    watch: Watched
    units: Sequence[UnitRow]
    alarms: Sequence[Alarmed]
    notes: Sequence[Mapping[str, object]]


def differs_since(
    rollout: Rollout,
    following: Following,
    *,
    before: Before,
    began: Collection[str],
    log: Sequence[Entry],
) -> str | None:
    """What is not as recorded since a promotion, in words; None when everything is.

    before: what the grades had come to by then. began: the conversations of its rollout.
    log: everything that was done to the rollout.
    """
    if following.watch.before != before:
        return "What is compared with since the promotion is not what was known when it came."
    return (
        _of_rows(rollout, following.units, began)
        or _of_alarms(rollout, following)
        or _of_return(following, log)
        or _of_notes(following)
    )


def _of_rows(rollout: Rollout, rows: Sequence[UnitRow], began: Collection[str]) -> str | None:
    drawn = 1.0 - rollout.plan.holdback
    for position, unit, _, arm, chance, score, *_ in rows:
        where = f"The conversation at position {position} since the promotion"
        if unit in began:
            return f"{where} began before it."
        if chance not in {drawn, 1.0}:
            return f"{where} has a share of {chance}, and there was none such."
        is_back = chance < 1.0 and held_back(rollout.salt, unit, rollout.plan.holdback)
        if (Arm.HOLDBACK if is_back else Arm.PROMOTED) is not Arm(arm):
            return f"{where} is on the {arm} side, and was not drawn for it."
        if score is not None and not 0.0 <= score <= 1.0:
            return f"{where} has a score of {score}, which no grader gives."
    return None


def _of_alarms(rollout: Rollout, following: Following) -> str | None:
    since = since_of(rollout.plan, following.watch.before, following.units)
    for told in following.alarms:
        alarm = since.alarms.get(told.sign)
        if alarm is None:
            return f"The alarm {told.sign} does not follow from the conversations."
        if (alarm.basis, alarm.sentence) != (told.basis, told.sentence):
            return f"The alarm {told.sign} is not the one that follows from the conversations."
    return None


def _of_return(following: Following, log: Sequence[Entry]) -> str | None:
    """A promotion that the house took back itself was taken back for an alarm, and no other."""
    for entry in log:
        if entry.phase is not Phase.UNDONE:
            continue
        alarm = next((one for one in following.alarms if one.sign is Sign.DRIFTED), None)
        said = f"undone by arbiter: {'' if alarm is None else alarm.sentence}"
        by_house = entry.who == "arbiter"
        if by_house and (alarm is None or (entry.reason, entry.basis) != (said, alarm.basis)):
            return "It was taken back by no alarm that is on record."
    return None


def _of_notes(following: Following) -> str | None:
    drifted = [one for one in following.notes if one.get("kind") == Kind.ROLLOUT_DRIFTED]
    noted = [(one.get("reason"), one.get("rows"), one.get("until")) for one in drifted]
    told = [
        (one.sentence, one.basis.rows, one.basis.until)
        for one in following.alarms
        if one.sign is Sign.DRIFTED
    ]
    if noted != told:
        return "The ledger tells of another alarm than the record."
    retired = [one.get("reason") for one in following.notes if one not in drifted]
    if retired and retired != [following.watch.why]:
        return "The ledger says otherwise why it is watched no longer."
    return None
