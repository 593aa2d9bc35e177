"""The live side of a watched promotion: who stays with the old version, and what became of it.

As `arbiter.swap.traffic` for a rollout: a conversation is one unit, drawn when it is first seen;
its first request alone may count; rows are folded once they are durable, in the order of
assignment. Nobody is moved without need: who was with the candidate stays with it, and those who
are held back are some of those who were with the old version, and some who are new.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from arbiter.inference import Arm
from arbiter.refs import DecisionId, TaskName
from arbiter.storage.database import Row, Statement
from arbiter.swap.assignment import Assignment, Ended, unit_key
from arbiter.swap.basis import UnitRow
from arbiter.swap.evidence_rows import ending_word, unit_row
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
        self._next = 0
        self._fresh = 0
        self._ended: dict[int, UnitRow | None] = {}
        for row in map(unit_row, rows):
            self._arms[row[1]] = (Arm(row[3]), row[4])
            self.since.update(row)
            self._next = self._fresh = row[0] + 1

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
                    position = self._fresh
                    self._fresh += 1
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
    ) -> Ended:
        """What to store of an assignment whose request has ended, and what to do once it is."""
        position = assignment.position
        if position is None:
            return (), None
        unit, arm, chance = assignment.unit, assignment.arm.value, assignment.probability
        how, latency = ending_word(ending), None if ending is None else ending.latency_ms
        row = Statement(
            query="add_after_unit",
            parameters=(
                assignment.rollout,
                position,
                unit,
                task,
                arm,
                chance,
                decision,
                score,
                how,
                latency,
            ),
        )
        return (row,), self._storing((position, unit, task, arm, chance, score, how, latency))

    def _storing(self, row: UnitRow) -> Callable[[bool], None]:
        def stored(durable: bool) -> None:
            self._ended[row[0]] = row if durable else None
            while self._next in self._ended:
                following = self._ended.pop(self._next)
                self._next += 1
                if following is not None:
                    self.since.update(following)

        return stored
