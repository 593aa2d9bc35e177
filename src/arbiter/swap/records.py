"""A rollout as rows: how it is written down and read back."""

from __future__ import annotations

import json
from dataclasses import dataclass

import msgspec

from arbiter.refs import ModelName, RolloutId, VersionId
from arbiter.storage.database import Row, Statement
from arbiter.swap.basis import Basis
from arbiter.swap.findings import Finding
from arbiter.swap.plan import Plan
from arbiter.swap.rollout import Phase, Rollout


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A rollout with what is kept beside it.

    knowledge_before, knowledge_after: the digest of tasks and rules at its start and end; a swap
        changes neither, and this shows it.
    """

    rollout: Rollout
    findings: tuple[Finding, ...]
    knowledge_before: str
    knowledge_after: str | None
    started_at: str
    ended_at: str | None


def _findings(findings: tuple[Finding, ...]) -> str:
    return msgspec.json.encode([finding.to_dict() for finding in findings]).decode()


def added(found: Stored) -> Statement:
    """The row of a new rollout."""
    rollout = found.rollout
    return Statement(
        query="add_rollout",
        parameters=(
            rollout.id,
            rollout.alias,
            rollout.stable,
            rollout.candidate,
            json.dumps(rollout.plan.to_dict()),
            rollout.plan.digest,
            rollout.salt,
            rollout.phase.value,
            rollout.index,
            rollout.soaked_s,
            rollout.total_s,
            rollout.sliced_s,
            rollout.units_at_step,
            int(rollout.shadow_only),
            rollout.budgets,
            rollout.continues,
            rollout.reason,
            _findings(found.findings),
            found.knowledge_before,
            found.started_at,
        ),
        must_change=True,
    )


def saved(found: Stored, *, was: Phase) -> Statement:
    """The new state of a rollout that was in this phase; refused if it no longer is."""
    rollout = found.rollout
    return Statement(
        query="save_rollout",
        parameters=(
            rollout.phase.value,
            rollout.index,
            rollout.soaked_s,
            rollout.total_s,
            rollout.sliced_s,
            rollout.units_at_step,
            int(rollout.shadow_only),
            rollout.budgets,
            rollout.reason,
            _findings(found.findings),
            found.knowledge_after,
            found.ended_at,
            rollout.id,
            was.value,
        ),
        must_change=True,
    )


def logged(
    rollout: Rollout, *, units: int, who: str, at: str, basis: Basis | None = None
) -> Statement:
    """What was done to a rollout, by whom and why.

    basis: what it was decided on; None where no evidence is looked at.
    """
    return Statement(
        query="log_rollout",
        parameters=(
            rollout.id,
            rollout.phase.value,
            rollout.index,
            rollout.weight,
            units,
            who,
            rollout.reason,
            (basis or Basis()).to_json(),
            at,
        ),
    )


def stored(row: Row) -> Stored:
    """A rollout read back."""
    (rollout, alias, stable, candidate, plan, salt, phase, step) = row[:8]
    (soaked, total, sliced, units, shadow_only, budgets, continues, reason, findings) = row[8:17]
    (before, after, started, ended) = row[17:]
    return Stored(
        rollout=Rollout(
            id=RolloutId(str(rollout)),
            alias=ModelName(str(alias)),
            stable=VersionId(str(stable)),
            candidate=VersionId(str(candidate)),
            plan=Plan.from_dict(json.loads(str(plan))),
            salt=str(salt),
            phase=Phase(str(phase)),
            index=int(step or 0),
            soaked_s=float(soaked or 0.0),
            total_s=float(total or 0.0),
            sliced_s=float(sliced or 0.0),
            units_at_step=int(units or 0),
            shadow_only=bool(shadow_only),
            budgets=int(budgets or 1),
            continues=None if continues is None else RolloutId(str(continues)),
            reason=str(reason),
        ),
        findings=tuple(Finding.from_dict(one) for one in json.loads(str(findings))),
        knowledge_before=str(before),
        knowledge_after=None if after is None else str(after),
        started_at=str(started),
        ended_at=None if ended is None else str(ended),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Something that was done to a rollout.

    units: candidate conversations graded by then. basis: what it was decided on.
    """

    phase: Phase
    step: int
    weight: float
    units: int
    who: str
    reason: str
    basis: Basis
    at: str


def entry(row: Row) -> Entry:
    """An entry of the log read back."""
    phase, step, weight, units, who, reason, basis, at = row
    return Entry(
        phase=Phase(str(phase)),
        step=int(step or 0),
        weight=float(weight or 0.0),
        units=int(units or 0),
        who=str(who),
        reason=str(reason),
        basis=Basis.from_json(str(basis)),
        at=str(at),
    )
