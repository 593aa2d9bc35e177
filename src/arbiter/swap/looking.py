"""Rollouts as people look at them, going on or over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from arbiter.errors import UnknownRollout
from arbiter.inference import Arm
from arbiter.refs import DecisionId, RolloutId, TaskName
from arbiter.storage.database import Database
from arbiter.swap.analysis import Judgement, TaskEvidence
from arbiter.swap.metrics import MetricEvidence
from arbiter.swap.records import Entry, Stored, entry, stored
from arbiter.swap.retrying import track_of
from arbiter.swap.shadow import NO_PAIRS, Agreement
from arbiter.swap.tracks import Tracks
from arbiter.swap.watching import Watching, WatchView


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutView:
    """A rollout as people look at it."""

    stored: Stored
    weight: float
    judgement: Judgement
    tasks: tuple[TaskEvidence, ...]
    metrics: tuple[MetricEvidence, ...]
    progress: Mapping[TaskName, tuple[int, int]]
    """While it is validating: cases done, of how many, by task."""
    log: tuple[Entry, ...]
    """Everything that was done to it, the oldest first."""
    to_judge: tuple[DecisionId, ...] = ()
    """Answers that wait to be judged, the oldest first."""
    judged: int = 0
    """Chosen answers that were judged."""
    unjudged: int = 0
    """Chosen answers that nobody judged in time: they count as 0."""
    interval: tuple[float, float] | None = None
    """Where candidate minus stable lies, with a chance of 95 % at all times; None when nothing is
    known."""
    watch: WatchView | None = None
    """What became of it since it was promoted."""
    agreement: Agreement = NO_PAIRS
    open_pairs: int = 0
    """Conversations that were drawn for a pair and are not one yet."""
    turn: tuple[int, Arm, float] | None = None
    """In time slices: the present window, whose turn it is, and the chance of the candidate's."""


class Looking:
    """Finds rollouts, in memory or on disk."""

    def __init__(self, *, tracks: Tracks, watching: Watching, database: Database) -> None:
        self._tracks = tracks
        self._watching = watching
        self._database = database

    async def find(self, rollout: RolloutId) -> Stored:
        """A rollout by its id, going on or over. Raises `UnknownRollout`."""
        known = self._tracks.stored.get(rollout)
        if known is not None and (track := self._tracks.of(rollout)) is not None:
            return replace(known, rollout=track.rollout)
        rows = await self._database.read("get_rollout", (rollout,))
        if not rows:
            raise UnknownRollout(f"No rollout is called {rollout!r:.80}.", param="rollout")
        return stored(rows[0])

    async def view(self, rollout: RolloutId) -> RolloutView:
        """A rollout with its evidence, read again from the record when it is over."""
        found = await self.find(rollout)
        track = self._tracks.of(rollout)
        if track is None:
            track = await track_of(self._database, found.rollout)
        counts = await self._database.read("count_judged", (rollout,))
        judged = {bool(is_late): int(count or 0) for is_late, count in counts}
        return RolloutView(
            stored=found,
            weight=track.weight,
            judgement=track.judgement(),
            tasks=track.evidence.tasks,
            metrics=track.metrics.evidence,
            progress=dict(self._tracks.progress.get(rollout, {})),
            log=tuple(
                [entry(row) for row in await self._database.read("list_rollout_log", (rollout,))]
            ),
            to_judge=tuple(track.waits) if track.is_split else (),
            judged=judged.get(False, 0),
            unjudged=judged.get(True, 0),
            interval=track.gap.get(),
            watch=await self._watching.view(found.rollout),
            agreement=track.pairing.agreeing.get(),
            open_pairs=track.pairing.open,
            turn=track.turn() if found.rollout.is_in_turn else None,
        )

    async def list(self, *, before: str = "", limit: int = 200) -> tuple[Stored, ...]:
        """The latest rollouts, the newest first. before: only those older than this one."""
        return tuple(
            [
                await self.find(RolloutId(str(row[0])))
                for row in await self._database.read("list_rollouts", (before, before, limit))
            ]
        )
