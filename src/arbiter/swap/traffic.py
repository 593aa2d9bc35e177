"""The live side of a rollout: who gets the candidate, and what became of it, in order.

A conversation is one unit. Its arm is drawn when it is first seen and kept; its *first* request
alone may count as evidence, so that a long conversation is not mistaken for many draws. Evidence
is folded from units whose rows are durable, in the order of assignment: a unit that is still in
flight holds back those behind it. So what is in memory never differs from a replay of the rows,
and a slow failure cannot arrive after the verdict that it should have shaped.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from arbiter.inference import Arm
from arbiter.refs import DecisionId, RolloutId, TaskName, VersionId
from arbiter.storage.database import Row, Statement
from arbiter.swap.analysis import Evidence, Failure, Unit, tripped
from arbiter.swap.rollout import Phase, Rollout, assign

REMEMBERED = 200_000
"""Conversations whose arm is kept in memory and that may count as evidence. Those after them are
split all the same, by the hash alone: whether one of them was seen before nobody could tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """A request's side of a rollout.

    probability: the chance, when its conversation was assigned, that it went to the candidate.
    position: its place in the record when it may count as evidence, None when it may not.
    """

    rollout: RolloutId
    unit: str
    arm: Arm
    stable: VersionId
    candidate: VersionId
    probability: float
    position: int | None

    @property
    def version(self) -> VersionId:
        """The version of its arm."""
        return self.candidate if self.arm is Arm.CANDIDATE else self.stable


@dataclass(frozen=True, slots=True, kw_only=True)
class Detour:
    """A request that belongs to no side: one version is not there, so the other answers.

    version: the one that is there. absent: the one that is not. why: in words.
    """

    version: VersionId
    absent: VersionId
    why: str


Ended = tuple[tuple[Statement, ...], Callable[[bool], None] | None]
"""Rows to store for a request that has ended, and what to call once they are durable, or lost."""


class Track:
    """One active rollout: its present value, its split and its evidence."""

    def __init__(self, rollout: Rollout, rows: Iterable[Row] = ()) -> None:
        """Start, or start again from the unit rows in the order of their positions."""
        self.rollout = rollout
        self.evidence = Evidence(rollout.plan)
        self.trip: str | None = None
        self.lock = asyncio.Lock()
        """Held by whoever takes a step: the driver, or a person."""
        self._arms: dict[str, tuple[Arm, float]] = {}
        self._early: list[Failure | None] = []
        self._row: list[Failure | None] = []
        self._next = 0
        self._fresh = 0
        self._ended: dict[int, Unit | None] = {}
        for position, unit, task, arm, probability, score in rows:
            drawn, chance = Arm(str(arm)), float(probability or 0.0)
            self._arms[str(unit)] = (drawn, chance)
            if score is not None:
                self.evidence.update(
                    Unit(
                        task=TaskName(str(task)),
                        arm=drawn,
                        probability=chance,
                        score=float(score),
                    )
                )
            self._next = self._fresh = int(position or 0) + 1

    @property
    def weight(self) -> float:
        """The candidate's share of new conversations now."""
        return self.rollout.weight

    def draw(self, conversation: str) -> Assignment | None:
        """The arm of this conversation, drawn now or kept; None while nothing is split."""
        weight = self.weight
        if not 0 < weight < 1:
            return None
        unit = _unit(conversation)
        known = self._arms.get(unit)
        position: int | None = None
        if known is None:
            known = (assign(self.rollout.salt, unit, weight), weight)
            if len(self._arms) < REMEMBERED:
                self._arms[unit] = known
                position = self._fresh
                self._fresh += 1
        arm, probability = known
        return Assignment(
            rollout=self.rollout.id,
            unit=unit,
            arm=arm,
            stable=self.rollout.stable,
            candidate=self.rollout.candidate,
            probability=probability,
            position=position,
        )

    def pass_over(self, conversation: str) -> None:
        """It began while one of the versions was not there: its later requests prove nothing."""
        unit = _unit(conversation)
        if unit not in self._arms and 0 < self.weight < 1 and len(self._arms) < REMEMBERED:
            self._arms[unit] = (assign(self.rollout.salt, unit, self.weight), self.weight)

    def ended(
        self, assignment: Assignment, *, task: TaskName, decision: DecisionId, score: float | None
    ) -> Ended:
        """What to store for an assignment whose request has ended, and what to do once it is."""
        position = assignment.position
        if position is None:
            return (), None
        row = Statement(
            query="add_unit",
            parameters=(
                assignment.rollout,
                position,
                assignment.unit,
                task,
                assignment.arm.value,
                assignment.probability,
                decision,
                score,
            ),
        )
        unit = (
            None
            if score is None
            else Unit(
                task=task, arm=assignment.arm, probability=assignment.probability, score=score
            )
        )

        def stored(durable: bool) -> None:
            self._settle(position, unit if durable else None)

        return (row,), stored

    def _settle(self, position: int, unit: Unit | None) -> None:
        self._ended[position] = unit
        while self._next in self._ended:
            unit = self._ended.pop(self._next)
            self._next += 1
            if unit is not None:
                self.evidence.update(unit)

    def note(self, arm: Arm, failure: Failure | None) -> None:
        """Count how a candidate's request went, for the hard trip that needs no statistics."""
        if arm is not Arm.CANDIDATE or self.trip is not None:
            return
        plan = self.rollout.plan
        if len(self._early) < plan.trip_window:
            self._early.append(failure)
        if failure is None:
            self._row.clear()
            return
        self._row.append(failure)
        self.trip = tripped(self._row, plan) or tripped(self._early, plan)

    @property
    def is_split(self) -> bool:
        """Whether conversations are being split now."""
        return self.rollout.phase in {Phase.PROGRESSING, Phase.PAUSED}


def _unit(conversation: str) -> str:
    """What a conversation is kept as."""
    return hashlib.sha256(conversation.encode(errors="replace")).hexdigest()[:32]


def failure_of(code: str) -> Failure:
    """The kind of failure that an error's code stands for.

    >>> failure_of("load_failed"), failure_of("stream_cut")
    (<Failure.LOAD: 'load'>, <Failure.CRASH: 'crash'>)
    """
    kinds = {"load_failed": Failure.LOAD, "engine_unavailable": Failure.LOAD}
    kinds["engine_timeout"] = Failure.TIMEOUT
    return kinds.get(code, Failure.CRASH)
