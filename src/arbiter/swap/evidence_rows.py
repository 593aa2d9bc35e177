"""The rows that are a rollout's evidence: what each says, and all of them in order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from arbiter.inference import Arm
from arbiter.refs import DecisionId, TaskName
from arbiter.storage.database import Row, Statement
from arbiter.swap.analysis import Unit
from arbiter.swap.assignment import Assignment
from arbiter.swap.basis import UnitRow
from arbiter.swap.metrics import Ending
from arbiter.swap.shadow import Pair, PairRow, pair_of
from arbiter.swap.slices import Windows, conversation_of
from arbiter.swap.tripping import Failure

_ANSWERED = "answered"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The rows that are a rollout's evidence, each kind in the order of positions.

    units_before, pairs_before: those of the rollouts that it continues, the oldest first.
    given: every smaller position was given to a conversation, whether it has a row or not. No
        other may get it: a change that is written down counts on what was there then.
    """

    units: Sequence[UnitRow] = ()
    pairs: Sequence[PairRow] = ()
    units_before: Sequence[UnitRow] = ()
    pairs_before: Sequence[PairRow] = ()
    given: int = 0
    waiting: Mapping[int, DecisionId] = field(default_factory=dict)
    """By position, the units that are to be judged and are not."""

    @property
    def in_order(self) -> Iterator[UnitRow | PairRow]:
        """All of them, and those of this rollout in the order of assignment."""
        yield from self.units_before
        yield from self.pairs_before
        rows: list[UnitRow | PairRow] = [*self.units, *self.pairs]
        yield from sorted(rows, key=lambda row: row[0])

    @property
    def conversations(self) -> frozenset[str]:
        """Every conversation that it has anything of."""
        paired = (*self.pairs_before, *self.pairs)
        units = (*self.units_before, *self.units)
        return frozenset(
            {*(pair.unit for pair in paired), *(conversation_of(row[1]) for row in units)}
        )

    @property
    def evidence(self) -> list[Unit | Pair]:
        """What counts for a verdict, in order."""
        windows = Windows()
        found = [
            pair_of(row) if isinstance(row, PairRow) else windows.take(row[1], unit_of(row))
            for row in self.in_order
        ]
        return [one for one in found if one is not None]


NOTHING = Record()


def unit_row(row: Row) -> UnitRow:
    """A row of the query ``list_units`` as it was written."""
    position, unit, task, arm, probability, score, ending, latency = row[:8]
    return (
        int(position or 0),
        str(unit),
        str(task),
        str(arm),
        float(probability or 0.0),
        None if score is None else float(score),
        None if ending is None else str(ending),
        None if latency is None else float(latency),
    )


def pair_row(row: Row) -> PairRow:
    """A row of the query ``list_pairs`` as it was written."""
    position, unit, task, arm, share, old, new = row
    return PairRow(
        position=int(position or 0),
        unit=str(unit),
        task=str(task),
        arm=str(arm),
        share=float(share or 0.0),
        old=float(old or 0.0),
        new=float(new or 0.0),
    )


def row_of(
    assignment: Assignment, position: int, *, task: TaskName, score: float | None,
    ending: Ending | None,
) -> UnitRow:  # fmt: skip
    """The row of a unit whose first request has ended."""
    return (
        position,
        assignment.unit,
        task,
        assignment.arm.value,
        assignment.probability,
        score,
        ending_word(ending),
        None if ending is None else ending.latency_ms,
    )


def unit_added(
    assignment: Assignment, row: UnitRow, decision: DecisionId, *, query: str, waits: bool
) -> Statement:
    """Writes a unit's row. waits: whether its score is to come from a judgement."""
    parameters = (assignment.rollout, *row[:5], decision, *row[5:], int(waits))
    return Statement(query=query, parameters=parameters)


def unit_of(row: UnitRow) -> Unit | None:
    """What a row says as evidence; None when nothing graded it."""
    _, _, task, arm, probability, score, _, _ = row
    if score is None:
        return None
    return Unit(task=TaskName(task), arm=Arm(arm), probability=probability, score=score)


def ending_of(row: UnitRow) -> Ending | None:
    """How its version answered; None where that is unknown, or no version's doing."""
    *_, how, latency = row
    if how is None:
        return None
    return Ending(failure=None if how == _ANSWERED else Failure(how), latency_ms=latency)


def ending_word(ending: Ending | None) -> str | None:
    """How an ending is written down; None where there is none."""
    if ending is None:
        return None
    return _ANSWERED if ending.failure is None else ending.failure.value


def failure_of(code: str) -> Failure:
    """The kind of failure that an error's code stands for.

    >>> failure_of("load_failed"), failure_of("out_of_memory"), failure_of("stream_cut")
    (<Failure.LOAD: 'load'>, <Failure.OOM: 'oom'>, <Failure.CRASH: 'crash'>)
    """
    return _KINDS.get(code, Failure.CRASH)


_KINDS = {
    "load_failed": Failure.LOAD,
    "engine_unavailable": Failure.LOAD,
    "out_of_memory": Failure.OOM,
    "engine_timeout": Failure.TIMEOUT,
}
