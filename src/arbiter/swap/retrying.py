"""To try the same two versions once more: with the evidence there is, never from nothing.

An e-process may be continued at any time (optional continuation), so a retry keeps the error rate
of the first try. To begin again at 1 would spend it anew, and whoever tries often enough would see
any candidate promoted.
"""

from __future__ import annotations

from arbiter.refs import RolloutId
from arbiter.storage.database import Database, Row
from arbiter.swap.analysis import Verdict
from arbiter.swap.records import stored
from arbiter.swap.rollout import Rollout, retry
from arbiter.swap.traffic import Track, unit_row


async def units_before(database: Database, rollout: Rollout) -> tuple[Row, ...]:
    """The unit rows of the rollouts that this one continues, the oldest first."""
    found: list[tuple[Row, ...]] = []
    earlier = rollout.continues
    while earlier is not None:
        found.append(tuple(await database.read("list_units", (earlier,))))
        (row,) = await database.read("get_rollout", (earlier,))
        earlier = stored(row).rollout.continues
    return tuple(row for rows in reversed(found) for row in rows)


async def track_of(database: Database, rollout: Rollout) -> Track:
    """A rollout with all its evidence, folded again from the rows."""
    before = await units_before(database, rollout)
    return Track(rollout, await database.read("list_units", (rollout.id,)), before=before)


async def take_up(database: Database, track: Track) -> None:
    """Begin a track anew from the record: its evidence, and how its candidate failed last."""
    rollout = track.rollout
    before = await units_before(database, rollout)
    rows = await database.read("list_units", (rollout.id,))
    ends = await database.read("list_candidate_ends", (rollout.id,))
    track.take_up(rows, before=before)
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
    return again, Track(again, before=await units_before(database, again))


async def was_proved_worse(database: Database, rollout: Rollout) -> bool:
    """Whether the evidence was ever enough to roll back, wherever it has led since."""
    watching = Track(rollout)
    rows = await database.read("list_units", (rollout.id,))
    for row in (*await units_before(database, rollout), *rows):
        watching.take(unit_row(row))
        if watching.judgement(in_words=False).verdict is Verdict.WORSE:
            return True
    return False
