"""The live side of a rollout: who gets the candidate, and what became of it, in order.

A conversation is one unit. Its arm is drawn when it is first seen and kept; its *first* request
alone may count as evidence, so that a long conversation is not mistaken for many draws. In time
slices (`arbiter.swap.slices`) a window is the unit, and its arm that of everybody in it. Evidence
is folded from units whose rows are durable, in the order of assignment: a unit that is still in
flight holds back those behind it. So what is in memory never differs from a replay of the rows,
and a slow failure cannot arrive after the verdict that it should have shaped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec.structs import replace

from arbiter.inference import Arm
from arbiter.knowledge.outcome import NO_FAULT
from arbiter.refs import DecisionId, TaskName
from arbiter.storage.database import Row, Statement
from arbiter.swap.analysis import Evidence, Judgement
from arbiter.swap.assignment import Assignment, Ended, unit_key
from arbiter.swap.basis import Basis, Chain, UnitRow, basis_of
from arbiter.swap.course import Gap
from arbiter.swap.evidence_rows import (
    NOTHING,
    Record,
    ending_of,
    failure_of,
    row_of,
    unit_added,
    unit_of,
)
from arbiter.swap.in_order import InOrder
from arbiter.swap.judging import Waits, is_chosen, judging
from arbiter.swap.metrics import Ending, judge
from arbiter.swap.pairing import Pairing, never
from arbiter.swap.rollout import Rollout, assign
from arbiter.swap.shadow import PairRow, pair_of
from arbiter.swap.slices import (
    SLICE_S,
    Windows,
    conversation_of,
    drawn_as,
    slot_at,
    slot_of,
    unit_in,
)
from arbiter.swap.tripping import Failure, Trip

REMEMBERED = 200_000
"""Conversations whose arm is kept in memory and that may count as evidence. Those after them are
split all the same, by the hash alone: whether one of them was seen before nobody could tell."""


class Track:
    """One active rollout: its present value, its split and its evidence."""

    def __init__(self, rollout: Rollout, record: Record = NOTHING) -> None:
        """Start, or start again from what is in the record."""
        self.rollout = rollout
        self.plan_digest = rollout.plan.digest
        self.lock = asyncio.Lock()
        """Held by whoever takes a step: the driver, or a person."""
        self.take_up(record)

    def take_up(self, record: Record) -> None:
        """Begin anew with what is in the record."""
        self.evidence = Evidence(self.rollout.plan)
        self.metrics = self.rollout.plan.metrics
        self._trip = Trip(self.rollout.plan)
        self._arms: dict[str, tuple[Arm, float]] = {}
        self._order = InOrder(self._fold, within_s=self.rollout.plan.judge_within_s)
        self._windows = Windows()
        self._turn: tuple[int, Arm, float] | None = None
        """The present window: its number, whose it is, and the chance that it was drawn with."""
        self.gap = Gap()
        """The interval on the difference, to show."""
        self._chain = Chain()
        self.pairing = Pairing(self._fold_pair)
        for row in record.units_before:
            self.take(row)
        for earlier in record.pairs_before:
            self.take(earlier)
        for unit in record.units:
            self._arms[conversation_of(unit[1])] = (Arm(unit[3]), unit[4])
            self._order.know(unit, record.waiting.get(unit[0]))
        self._turn_again(record.units)
        for pair in record.pairs:
            self.pairing.take_again(pair)
            self._arms.setdefault(pair.unit, (Arm(pair.arm), 0.0))
            self._order.gave(pair.position + 1)
        self._order.gave(record.given)
        self._order.resume()

    def take(self, row: UnitRow | PairRow) -> None:
        """Take the next row of the record."""
        if isinstance(row, PairRow):
            self.pairing.take(row)
            return
        self._arms[conversation_of(row[1])] = (Arm(row[3]), row[4])
        self._fold(row)

    def _turn_again(self, rows: Sequence[UnitRow]) -> None:
        """Go on in the window of the last row: the clock may have been noted shortly before it."""
        if not rows or self.rollout.plan.slice_s is None:
            return
        _, unit, _, arm, chance, *_ = rows[-1]
        slot = slot_of(unit) or 0
        self._turn = slot, Arm(arm), chance
        begun = slot * self.rollout.plan.slice_s
        self.rollout = replace(self.rollout, sliced_s=max(self.rollout.sliced_s, begun))

    @property
    def arms(self) -> Mapping[str, tuple[Arm, float]]:
        """The arm of every conversation that is remembered, and the chance at its assignment."""
        return self._arms

    @property
    def waits(self) -> Waits:
        """The units that are to be judged and are not."""
        return self._order.waits

    def basis(self, elapsed_s: float = 0.0) -> Basis:
        """What a change is decided on now. elapsed_s: what it adds to the rollout's times."""
        return basis_of(
            self.rollout,
            self.evidence,
            until=self._order.until,
            rows=self._chain.get(),
            pairs_until=self.pairing.until,
            pairs=self.pairing.rows,
            elapsed_s=elapsed_s,
        )

    def judgement(self, *, in_words: bool = True) -> Judgement:
        """What grades and metrics say now."""
        return judge(self.evidence, self.metrics, in_words=in_words)

    @property
    def weight(self) -> float:
        """The candidate's share of new conversations now."""
        return self.rollout.weight

    def draw(self, conversation: str, *, may_pair: Callable[[], bool] = never) -> Assignment | None:
        """The arm of this conversation, drawn now or kept; None while nothing is split.

        may_pair: whether this request, if it is its first one, can make a pair. It must not look at
        anything that is known only once there is an answer.
        """
        if self.rollout.plan.slice_s is not None:
            return self._draw_in_turn(conversation)
        weight = self.weight
        if not (0 < weight < 1 or self.rollout.shadow_only):
            return None
        unit = unit_key(conversation)
        known = self._arms.get(unit)
        position: int | None = None
        is_paired = False
        if known is None:
            known = (assign(self.rollout.salt, unit, weight), weight)
            if len(self._arms) < REMEMBERED:
                self._arms[unit] = known
                position = self._order.give()
                is_paired = self._is_paired(position, unit, may_pair)
                if not weight:
                    # nothing was drawn between two arms: there is no unit, and perhaps a pair
                    self._order.end(position, None)
        return self._assigned(unit, known, position, is_paired=is_paired)

    def _assigned(
        self, unit: str, drawn: tuple[Arm, float], position: int | None, *, is_paired: bool = False
    ) -> Assignment:
        arm, probability = drawn
        return Assignment(
            rollout=self.rollout.id,
            unit=unit,
            arm=arm,
            stable=self.rollout.stable,
            candidate=self.rollout.candidate,
            probability=probability,
            position=position,
            plan=self.plan_digest,
            is_chosen=position is not None
            and is_chosen(self.rollout.salt, unit, self.rollout.plan.judge_share),
            is_paired=is_paired,
            in_turns=self.rollout.plan.slice_s is not None,
        )

    def _draw_in_turn(self, conversation: str) -> Assignment | None:
        """The side of the present window; None while it is paused: then nobody has a turn.

        A conversation that goes on in another window goes to the side of that one, and counts for
        none: what was said in it before is the work of other answers.
        """
        if not self.rollout.is_in_turn:
            self.pass_over(conversation)
            return None
        slot, arm, chance = self.turn()
        key, position = unit_key(conversation), None
        if key not in self._arms and len(self._arms) < REMEMBERED:
            self._arms[key] = (arm, chance)
            position = self._order.give()
        return self._assigned(unit_in(slot, key), (arm, chance), position)

    def turn(self) -> tuple[int, Arm, float]:
        """The present window: its number, whose turn it is, and the chance that it was drawn with.

        A window that has begun stays as it was drawn, whatever the share is by now.
        """
        slot = slot_at(self.rollout.sliced_s, self.rollout.plan.slice_s or SLICE_S)
        if self._turn is None or slot != self._turn[0]:
            weight = self.weight
            self._turn = slot, assign(self.rollout.salt, drawn_as(slot), weight), weight
        return self._turn

    def _is_paired(self, position: int, unit: str, may_pair: Callable[[], bool]) -> bool:
        salt, share = self.rollout.salt, self.rollout.plan.shadow
        pairing = self.pairing
        return share > 0.0 and pairing.draw(position, unit, salt=salt, share=share, may=may_pair)

    def pass_over(self, conversation: str) -> None:
        """It began while one of the versions was not there: its later requests prove nothing."""
        unit = unit_key(conversation)
        is_drawn = 0 < self.weight < 1 or self.rollout.shadow_only
        if unit not in self._arms and is_drawn and len(self._arms) < REMEMBERED:
            self._arms[unit] = (assign(self.rollout.salt, unit, self.weight), self.weight)

    def ended(
        self,
        assignment: Assignment,
        *,
        task: TaskName,
        decision: DecisionId,
        score: float | None,
        ending: Ending | None = None,
        waits: bool = False,
    ) -> Ended:
        """What to store of an assignment whose request has ended, and what to do once it is.

        score: its grade; None when no rule can grade it. ending: how its own version answered.
        waits: whether its score is to come from a judgement.
        Of a conversation that is to be a pair it is kept how it was answered, and its score is not:
        that comes with the other one (`paired`), or it will be none (`unpaired`).
        """
        position = assignment.position
        if position is None or not assignment.probability:
            return (), None
        if assignment.is_paired:
            score = None
        row = row_of(assignment, position, task=task, score=score, ending=ending)
        written = unit_added(assignment, row, decision, query="add_unit", waits=waits)
        return (written,), self._order.storing(row, decision, waits=waits)

    def paired(
        self,
        assignment: Assignment,
        *,
        task: TaskName,
        decision: DecisionId,
        served: float,
        other: float,
    ) -> Ended:
        """What to store of a pair that is complete, and what to do once it is.

        served: the score of the answer that the client got. other: that of the other version.
        """
        position, unit = assignment.position, assignment.unit
        if position is None or not self.pairing.is_open(position, unit):
            return (), None
        is_new = assignment.arm is Arm.CANDIDATE
        old, new = (other, served) if is_new else (served, other)
        arm, share = assignment.arm.value, self.rollout.plan.shadow
        row = Statement(
            query="add_pair",
            parameters=(
                assignment.rollout, position, unit, task, arm, share, decision, old, new,
            ),
        )  # fmt: skip
        known = PairRow(
            position=position, unit=unit, task=task, arm=arm, share=share, old=old, new=new
        )

        def stored(durable: bool) -> None:
            if self.pairing.is_open(position, unit):
                self.pairing.settle(position, known if durable else None)

        return (row,), stored

    def unpaired(self, assignment: Assignment) -> None:
        """It was drawn for a pair and will be none, for a reason that is no version's doing."""
        position = assignment.position
        if position is not None and self.pairing.is_open(position, assignment.unit):
            self.pairing.settle(position, None)

    def _fold_pair(self, row: PairRow) -> None:
        self.evidence.pair(pair_of(row))

    def judging(self, position: int, *, at: str, is_late: bool) -> Statement:
        """Writes the judgement of a unit that waits; it is 0 where there is none by then."""
        return judging(self.rollout.id, position, at=at, is_late=is_late)

    def judged(self, decision: DecisionId, score: float | None) -> None:
        """A unit that waited has its score, and it is durable."""
        self._order.judged(decision, score)

    def _fold(self, row: UnitRow) -> None:
        self._chain.update(row)
        unit, ending = self._windows.take(row[1], unit_of(row)), ending_of(row)
        if unit is not None:
            self.evidence.update(unit)
            self.gap.update(unit)
        if ending is not None:
            self.metrics.update(ending, row[3] == Arm.CANDIDATE, row[4])

    def note_ends(self, ends: Iterable[Row]) -> None:
        """Count how the candidate's requests went before: status, error, first failed attempt."""
        for _, error, attempted in ends:
            code = attempted or error
            if code not in NO_FAULT:
                self.note(Arm.CANDIDATE, None if code is None else failure_of(str(code)))

    def note(self, arm: Arm, failure: Failure | None) -> None:
        """Count how a candidate's request went, for the hard trip that needs no statistics."""
        if arm is Arm.CANDIDATE:
            self._trip.update(failure)

    @property
    def trip(self) -> str | None:
        """Why the candidate is taken out without statistics; None while it is not."""
        return self._trip.why

    @property
    def is_split(self) -> bool:
        """Whether conversations are being split now."""
        return self.rollout.phase.is_live
