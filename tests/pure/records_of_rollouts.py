"""Rollouts driven by the production code, and the records that they leave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random

from arbiter.inference import Arm
from arbiter.refs import DecisionId, ModelName, RolloutId, TaskName, VersionId
from arbiter.storage.database import Row
from arbiter.swap.assignment import Assignment
from arbiter.swap.audit import Recorded
from arbiter.swap.basis import UnitRow
from arbiter.swap.evidence_rows import Record, pair_row, unit_row
from arbiter.swap.findings import Compatibility, Finding
from arbiter.swap.metrics import Ending
from arbiter.swap.plan import Plan
from arbiter.swap.records import Entry, Stored
from arbiter.swap.rollout import Phase, Rollout, Taken, ValidationVerdict, advance, begin
from arbiter.swap.shadow import PairRow
from arbiter.swap.traffic import Track
from arbiter.swap.tripping import Failure

TASKS = (TaskName("sum"), TaskName("code"))
PLAN = Plan(tasks=TASKS, soak_s=10.0, min_units=10, expiry_s=1e6, shadow=0.0)


def fresh(plan: Plan = PLAN) -> Rollout:
    """A rollout that validates."""
    return Rollout(
        id=RolloutId("rol_" + "0" * 26),
        alias=ModelName("primary"),
        stable=VersionId("sha256:" + "a" * 64),
        candidate=VersionId("sha256:" + "b" * 64),
        plan=plan,
        salt="pepper",
        reason="validating on stored cases",
    )


UNPROVEN = Finding(
    about="quality", task=None, verdict=ValidationVerdict.UNPROVEN, sentence="Too few cases."
)


@dataclass
class Driven:
    """A rollout and everything that is written of it."""

    track: Track
    log: list[Entry] = field(default_factory=list)
    rows: list[UnitRow] = field(default_factory=list)
    pairs: list[PairRow] = field(default_factory=list)
    ends: list[Row] = field(default_factory=list)
    is_proved: bool = True

    def take(self, taken: Taken, who: str = "arbiter", elapsed_s: float = 0.0) -> None:
        """Write a change down, if it is one, and act on it."""
        after, _ = taken
        before = self.track.rollout
        if (after.phase, after.index, after.reason) != (before.phase, before.index, before.reason):
            self.write(after, who, elapsed_s)
        self.track.rollout = after

    def write(self, after: Rollout, who: str = "arbiter", elapsed_s: float = 0.0) -> None:
        """An entry of the log."""
        self.log.append(
            Entry(
                phase=after.phase,
                step=after.index,
                weight=after.weight,
                units=self.track.evidence.means.n_new,
                who=who,
                reason=after.reason,
                basis=self.track.basis(elapsed_s),
                at=f"2026-01-01T00:00:{len(self.log):02d}",
            )
        )

    def ask(self, number: int, *, stable: float | None, candidate: float | None,
            failure: Failure | None = None) -> None:  # fmt: skip
        """One conversation, with the score that either side would get; None: nothing graded it."""
        may_pair = stable is not None and candidate is not None
        drawn = self.track.draw(str(number), may_pair=lambda: may_pair)
        assert drawn is not None
        score = candidate if drawn.arm is Arm.CANDIDATE else stable
        self.track.note(drawn.arm, failure)
        if drawn.arm is Arm.CANDIDATE:
            self.ends.append(("success", None, None if failure is None else "load_failed"))
        task = TASKS[number % 2]
        ending = Ending(failure=failure, latency_ms=100.0 + number % 7)
        rows, stored = self.track.ended(
            drawn, task=task, decision=DecisionId("dec"), score=score, ending=ending
        )
        if stored is not None:
            told = rows[0].parameters
            self.rows.append(unit_row((*told[1:6], *told[7:])))
            stored(True)
        if drawn.is_paired:
            self._pair(drawn, task, stable=stable or 0.0, candidate=candidate or 0.0)

    def _pair(self, drawn: Assignment, task: TaskName, *, stable: float, candidate: float) -> None:
        is_new = drawn.arm is Arm.CANDIDATE
        served, other = (candidate, stable) if is_new else (stable, candidate)
        rows, stored = self.track.paired(
            drawn, task=task, decision=DecisionId("dec"), served=served, other=other
        )
        assert stored is not None
        told = rows[0].parameters
        self.pairs.append(pair_row((*told[1:6], *told[7:])))
        stored(True)

    def look(self, elapsed_s: float = 1.0, *, absent: str | None = None) -> None:
        """Take a step, or none."""
        after, effects = advance(
            self.track.rollout,
            self.track.judgement(),
            elapsed_s=elapsed_s,
            candidate_units=self.track.evidence.means.n_new,
            tripped=self.track.trip,
            absent=absent,
        )
        before = self.track.rollout
        was = (before.phase, before.index, before.shadow_only)
        if (after.phase, after.index, after.shadow_only) == was:
            self.track.rollout = after
        else:
            self.take((after, effects), elapsed_s=elapsed_s)

    @property
    def recorded(self) -> Recorded:
        """What is on disk."""
        return Recorded(
            stored=replace(
                stored_of(self.track.rollout), findings=() if self.is_proved else (UNPROVEN,)
            ),
            plan_digest=self.track.rollout.plan.digest,
            record=Record(units=tuple(self.rows), pairs=tuple(self.pairs)),
            ends=tuple(self.ends),
            log=tuple(self.log),
            notes=notes_of(self.log),
        )


def stored_of(rollout: Rollout) -> Stored:
    """The row of a rollout that no validation had anything to say about."""
    return Stored(
        rollout=rollout,
        findings=(),
        knowledge_before="k",
        knowledge_after=None,
        started_at="t",
        ended_at=None,
    )


def notes_of(log: Sequence[Entry]) -> list[dict[str, object]]:
    """What the ledger says of these entries."""
    return [
        {
            "phase": entry.phase.value,
            "step": entry.step,
            "weight": entry.weight,
            "who": entry.who,
            "reason": entry.reason,
        }
        for entry in log
    ]


def begun(plan: Plan = PLAN, *, is_proved: bool = True) -> Driven:
    """A rollout that has just left validation."""
    driven = Driven(track=Track(fresh(plan)))
    driven.write(driven.track.rollout, who="operator")
    passed = Compatibility(findings=() if is_proved else (UNPROVEN,))
    driven.take(begin(driven.track.rollout, passed.advice, passed.reason))
    driven.is_proved = is_proved
    return driven


def run(
    p_old: float,
    p_new: float,
    *,
    seed: int = 1,
    most: int = 3_000,
    plan: Plan = PLAN,
    is_proved: bool = True,
) -> Driven:
    """A rollout until it is over; one in ten conversations is not graded."""
    driven, dice = begun(plan, is_proved=is_proved), Random(seed)
    for number in range(most):
        old, new = float(dice.random() < p_old), float(dice.random() < p_new)
        is_graded = dice.random() > 0.1
        driven.ask(number, stable=old if is_graded else None, candidate=new if is_graded else None)
        driven.look()
        if driven.track.rollout.phase is not Phase.PROGRESSING:
            break
    return driven
