"""To try the same two versions once more: with the evidence there is, never from nothing.

An e-process may be continued at any time (optional continuation), so a retry keeps the error rate
of the first try. To begin again at 1 would spend it anew, and whoever tries often enough would see
any candidate promoted.
"""

from __future__ import annotations

from collections.abc import Sequence

from arbiter.refs import DecisionId, RolloutId
from arbiter.storage.database import Database
from arbiter.swap.analysis import Verdict
from arbiter.swap.basis import UnitRow
from arbiter.swap.evidence_rows import Record, pair_row, unit_row
from arbiter.swap.records import entry, stored
from arbiter.swap.rollout import Rollout
from arbiter.swap.shadow import PairRow
from arbiter.swap.traffic import Track
from arbiter.swap.verbs import retry


async def record_of(database: Database, rollout: Rollout) -> Record:
    """Every row that is evidence of this rollout, and of those that it continues."""
    earlier: list[RolloutId] = []
    following = rollout.continues
    while following is not None:
        earlier.insert(0, following)
        (row,) = await database.read("get_rollout", (following,))
        following = stored(row).rollout.continues
    log = [entry(row).basis for row in await database.read("list_rollout_log", (rollout.id,))]
    rows = await database.read("list_units", (rollout.id,))
    return Record(
        given=max((max(basis.until, basis.pairs_until) for basis in log), default=0),
        units=tuple(unit_row(row) for row in rows),
        waiting={int(row[0] or 0): DecisionId(str(row[8])) for row in rows if row[9]},
        pairs=await _pairs(database, (rollout.id,)),
        units_before=await _units(database, earlier),
        pairs_before=await _pairs(database, earlier),
    )


async def _units(database: Database, rollouts: Sequence[RolloutId]) -> tuple[UnitRow, ...]:
    found = [await database.read("list_units", (one,)) for one in rollouts]
    return tuple(unit_row(row) for rows in found for row in rows)


async def _pairs(database: Database, rollouts: Sequence[RolloutId]) -> tuple[PairRow, ...]:
    found = [await database.read("list_pairs", (one,)) for one in rollouts]
    return tuple(pair_row(row) for rows in found for row in rows)


async def track_of(database: Database, rollout: Rollout) -> Track:
    """A rollout with all its evidence, folded again from the rows."""
    return Track(rollout, await record_of(database, rollout))


async def take_up(database: Database, track: Track) -> None:
    """Begin a track anew from the record: its evidence, and how its candidate failed last."""
    record = await record_of(database, track.rollout)
    ends = await database.read("list_candidate_ends", (track.rollout.id,))
    track.take_up(record)
    track.note_ends(ends)


async def retried(
    database: Database, rollout: Rollout, anew: RolloutId, *, who: str, why: str
) -> tuple[Rollout, Track]:
    """The rollout that tries the same two versions again, with the evidence that it begins with.

    Raises `Conflict` as `arbiter.swap.rollout.retry` does.
    """
    track = await track_of(database, rollout)
    again = retry(
        rollout,
        who,
        why,
        anew=anew,
        candidate_units=track.evidence.means.n_new,
        is_proved_worse=await was_proved_worse(database, rollout),
    )
    return again, Track(again, await record_of(database, again))


async def was_proved_worse(database: Database, rollout: Rollout) -> bool:
    """Whether the evidence was ever enough to roll back, wherever it has led since.

    Pairs are complete later than the conversations beside them; here they come in their place.
    """
    watching = Track(rollout)
    for row in (await record_of(database, rollout)).in_order:
        watching.take(row)
        if watching.judgement(in_words=False).verdict is Verdict.WORSE:
            return True
    return False
