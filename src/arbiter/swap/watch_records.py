"""A watched promotion as rows, and as the ledger is told of it."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from arbiter.ledger import Kind, Note
from arbiter.refs import RolloutId
from arbiter.stats.evalues import from_log
from arbiter.storage.database import Row, Statement
from arbiter.swap.basis import Basis
from arbiter.swap.plan import OnDrift
from arbiter.swap.rollout import Rollout
from arbiter.swap.watch import Alarm, Before, Sign


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A watched promotion read back.

    left_s: how long yet, in seconds of an open house. ended_at, why: None while it goes on.
    """

    rollout: RolloutId
    before: Before
    left_s: float
    ended_at: str | None
    why: str | None


def watched(row: Row) -> Watched:
    """A row of the query ``get_watch``."""
    rollout, before, left, ended, why = row
    return Watched(
        rollout=RolloutId(str(rollout)),
        before=Before.from_json(str(before)),
        left_s=float(left or 0.0),
        ended_at=None if ended is None else str(ended),
        why=None if why is None else str(why),
    )


def watch_added(rollout: Rollout, before: Before) -> Statement:
    """To stand in the write that promotes."""
    return Statement(
        query="add_watch",
        parameters=(rollout.id, before.to_json(), rollout.plan.keep_s),
        must_change=True,
    )


def watch_counted(rollout: RolloutId, left_s: float) -> Statement:
    """How long it is watched yet; refused once it is watched no longer."""
    return Statement(query="count_watch", parameters=(left_s, rollout), must_change=True)


def watch_ended(rollout: RolloutId, why: str, *, at: str, once: bool = False) -> Statement:
    """It is watched no longer. once: refused if that is written already."""
    return Statement(query="end_watch", parameters=(at, why, rollout), must_change=once)


def alarm_added(rollout: RolloutId, alarm: Alarm, *, at: str) -> Statement:
    """An alarm went off; refused if that is written already."""
    return Statement(
        query="add_alarm",
        parameters=(rollout, alarm.sign.value, alarm.sentence, alarm.basis.to_json(), at),
        must_change=True,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarmed:
    """An alarm read back."""

    sign: Sign
    sentence: str
    basis: Basis
    at: str


def alarmed(row: Row) -> Alarmed:
    """A row of the query ``list_alarms``."""
    sign, sentence, basis, at = row
    return Alarmed(
        sign=Sign(str(sign)),
        sentence=str(sentence),
        basis=Basis.from_json(str(basis)),
        at=str(at),
    )


def drift_note(
    rollout: Rollout, alarm: Alarm, *, who: str, follows: OnDrift = OnDrift.UNDO
) -> Note:
    """What the ledger is told of an alarm that may take a promotion back, and what follows."""
    e = from_log(alarm.log_e)
    return Note(
        kind=Kind.ROLLOUT_DRIFTED,
        who=who,
        body={
            **_parts(rollout),
            "reason": alarm.sentence,
            "evidence": e if isfinite(e) else str(e),
            "needed": 1.0 / rollout.plan.alpha_drift,
            "until": alarm.until,
            "rows": alarm.rows,
            "follows": follows.value,
        },
    )


def retired_note(rollout: Rollout, why: str, *, who: str) -> Note:
    """What the ledger is told when a promotion is watched no longer."""
    return Note(kind=Kind.ROLLOUT_RETIRED, who=who, body={**_parts(rollout), "reason": why})


def _parts(rollout: Rollout) -> dict[str, object]:
    return {
        "rollout": rollout.id,
        "alias": rollout.alias,
        "stable": rollout.stable,
        "candidate": rollout.candidate,
        "plan": rollout.plan.digest,
    }
