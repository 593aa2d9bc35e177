"""The live side of a watched promotion: who stays with the old version, and what became of it.

As `arbiter.swap.traffic` for a rollout: a conversation is one unit, drawn when it is first seen;
its first request alone may count; rows are folded once they are durable, in the order of
assignment. Nobody is moved without need: who was with the candidate stays with it, and those who
are held back are some of those who were with the old version, and some who are new.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from arbiter.inference import Arm
from arbiter.refs import DecisionId, TaskName
from arbiter.storage.database import Row, Statement
from arbiter.swap.assignment import Assignment, Ended, unit_key
from arbiter.swap.basis import UnitRow
from arbiter.swap.evidence_rows import row_of, unit_added, unit_row
from arbiter.swap.in_order import InOrder
from arbiter.swap.judging import Judged, Waits, is_chosen, judging
from arbiter.swap.metrics import Ending
from arbiter.swap.rollout import Rollout
from arbiter.swap.traffic import REMEMBERED
from arbiter.swap.watch import Before, Since, chance_after, held_back

Arms = Mapping[str, tuple[Arm, float]]
"""The arm of each conversation, and the chance that it was drawn for the new version."""

_STAYS = (Arm.PROMOTED, 1.0)


class Holdback:
    """The conversations of one watched promotion, and what they have said."""

    def __init__(
        self, rollout: Rollout, before: Before, rows: Iterable[Row] = (), *, arms: Arms
    ) -> None:
        """Start, or start again from the rows in the order of their positions.

        arms: of the conversations that began while it was rolled out.
        """
        self.rollout = rollout
        self.since = Since(rollout.plan, before)
        self._plan_digest = rollout.plan.digest
        self._arms: dict[str, tuple[Arm, float]] = {}
        self._known = arms
        self.judged_so_far = Judged()
        """What became of the answers that were to be judged."""
        self._to_judge: set[int] = set()
        self._order = InOrder(self._fold, within_s=rollout.plan.judge_within_s)
        for found in rows:
            row = unit_row(found)
            self._arms[row[1]] = (Arm(row[3]), row[4])
            waits, was_to_be = found[9:]
            if was_to_be:
                self._to_judge.add(row[0])
            self._order.know(row, DecisionId(str(found[8])) if waits else None)
        self._order.resume()

    @property
    def waits(self) -> Waits:
        """The units that are to be judged and are not."""
        return self._order.waits

    def draw(self, conversation: str, *, is_open: bool) -> Assignment:
        """The side of this conversation, drawn now or kept.

        is_open: whether the old version can answer it now without any load. A conversation that it
        cannot answer goes over to the new version and does not come back.
        """
        unit = unit_key(conversation)
        position: int | None = None
        found = self._arms.get(unit)
        if found is None:
            found = self._drawn(unit, is_open=is_open)
            if len(self._arms) < REMEMBERED:
                self._arms[unit] = found
                if unit not in self._known:
                    position = self._order.give()
        if found[0] is Arm.HOLDBACK and not is_open:
            found = self._arms[unit] = _STAYS
        arm, chance = found
        return Assignment(
            rollout=self.rollout.id,
            unit=unit,
            arm=arm,
            stable=self.rollout.stable,
            candidate=self.rollout.candidate,
            probability=chance,
            position=position,
            plan=self._plan_digest,
            is_chosen=position is not None
            and is_chosen(self.rollout.salt, unit, self.rollout.plan.judge_share),
        )

    def _drawn(self, unit: str, *, is_open: bool) -> tuple[Arm, float]:
        share = self.rollout.plan.holdback
        was, weight = self._known.get(unit, (Arm.NONE, 0.0))
        if not is_open or not share or was is Arm.CANDIDATE:
            return _STAYS
        chance = chance_after(share, weight) if was is Arm.STABLE else 1.0 - share
        back = held_back(self.rollout.salt, unit, share)
        return (Arm.HOLDBACK if back else Arm.PROMOTED), chance

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

        waits: whether its score is to come from a judgement.
        """
        position = assignment.position
        if position is None:
            return (), None
        if waits:
            self._to_judge.add(position)
        row = row_of(assignment, position, task=task, score=score, ending=ending)
        written = unit_added(assignment, row, decision, query="add_after_unit", waits=waits)
        return (written,), self._order.storing(row, decision, waits=waits)

    def judging(self, position: int, *, at: str, is_late: bool) -> Statement:
        """Writes the judgement of a unit that waits; it is none where there is none by then."""
        return judging(self.rollout.id, position, at=at, is_late=is_late, after=True)

    def judged(self, decision: DecisionId, score: float | None) -> None:
        """A unit that waited has its score, or has none for good, and that is durable."""
        self._order.judged(decision, score)

    def _fold(self, row: UnitRow) -> None:
        self.since.update(row)
        if row[0] in self._to_judge:
            self._to_judge.remove(row[0])
            self.judged_so_far.update(row)
