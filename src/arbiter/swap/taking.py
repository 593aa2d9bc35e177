"""A step of a rollout: written first, then acted on, then announced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from arbiter.clock import Clock
from arbiter.errors import Conflict, RolloutActive, UnknownRollout
from arbiter.ledger import Note
from arbiter.refs import ModelName, RolloutId, VersionId
from arbiter.registry.registry import Kind, Registry, Standing
from arbiter.storage.database import Database, Statement
from arbiter.swap import verbs
from arbiter.swap.basis import Basis
from arbiter.swap.crashing import Crash, Place
from arbiter.swap.herald import Herald
from arbiter.swap.lease import Lease
from arbiter.swap.moving import promoting, undoing
from arbiter.swap.notes import rollout_note
from arbiter.swap.records import Stored, added, logged, saved, stored
from arbiter.swap.rollout import Effect, Phase, Rollout
from arbiter.swap.tracks import Tracks
from arbiter.swap.traffic import Track
from arbiter.swap.watch import Alarm, before_of
from arbiter.swap.watching import Watching


class Taking:
    """Carries out what was decided about rollouts. It decides nothing.

    knowledge: the digest of tasks and rules. crash: called at each named place.
    """

    def __init__(
        self,
        *,
        tracks: Tracks,
        watching: Watching,
        registry: Registry,
        database: Database,
        clock: Clock,
        herald: Herald,
        knowledge: Callable[[], str],
        crash: Crash,
    ) -> None:
        self._tracks = tracks
        self._watching = watching
        self._registry = registry
        self._database = database
        self._clock = clock
        self._herald = herald
        self._knowledge = knowledge
        self._at = crash

    async def begin(self, found: Stored, track: Track, lease: Lease, *, who: str) -> None:
        """A new rollout. Raises `RolloutActive` when one of its versions is in another one."""
        rollout = found.rollout
        ending, retired = self._watching.replacing(rollout.alias, rollout.id, who=who)
        try:
            await self._registry.stand(
                self._standing(rollout.candidate, Standing.CANDIDATE, except_for=rollout.alias),
                also=(
                    added(found),
                    lease.taking(),
                    self._log(rollout, rollout.units_at_step, who, track.basis()),
                    *ending,
                ),
                notes=(*retired, rollout_note(found, was=None, who=who)),
            )
        except Conflict as error:
            raise RolloutActive(
                f"{rollout.alias} or its candidate is part of another rollout.",
                hint="See: arbiter rollouts.",
            ) from error
        lease.taken()
        self._at(Place.STARTED)
        self._watching.over(rollout.alias, f"the next rollout began: {rollout.id}")
        await self._registry.descend(rollout.candidate, rollout.stable)
        self._tracks.add(found, track, lease)

    async def take(
        self,
        track: Track,
        after: Rollout,
        effects: Sequence[Effect],
        *,
        who: str,
        elapsed_s: float = 0.0,
    ) -> None:
        """A step. elapsed_s: what it adds to the rollout's times."""
        before, lease = track.rollout, self._tracks.leases[after.id]
        self._at(Place.BEGINNING if before.phase is Phase.VALIDATING else Place.DECIDED)
        found = replace(self._tracks.stored[after.id], rollout=after)
        if after.phase.is_final:
            found = replace(
                found,
                ended_at=self._clock.now().isoformat(),
                knowledge_after=self._knowledge(),
            )
        statements = (
            lease.fence(),
            saved(found, was=before.phase),
            self._log(after, track.evidence.means.n_new, who, track.basis(elapsed_s)),
            *((lease.dropping(),) if after.phase.is_final else ()),
        )
        note = rollout_note(
            found,
            was=before.phase,
            who=who,
            judgement=track.judgement() if before.phase.is_live else None,
            tasks=track.evidence.tasks,
            metrics=track.metrics.evidence,
        )
        if Effect.MOVE_ALIAS in effects:
            before_it = before_of(track.evidence)
            statements += self._watching.beginning(after, before_it)
            await self._move(after, who, statements, note)
            self._watching.begin(after, before_it, track.arms)
        elif after.phase.is_final:
            # what live evidence took out stays out of auto; what never had traffic, or was called
            # off by a person, is what it was before
            end = Standing.ROLLED_BACK if after.phase is Phase.ROLLED_BACK else Standing.ACTIVE
            back = self._standing(after.candidate, end, except_for=after.alias)
            await self._registry.stand(back, also=statements, notes=(note,))
        else:
            await self._registry.stand({}, also=statements, notes=(note,))
        self._at(Place.MOVED if Effect.MOVE_ALIAS in effects else Place.WRITTEN)
        track.rollout = after
        self._tracks.revision += 1
        self._tracks.stored[after.id] = found
        if after.phase.is_final:
            self._tracks.forget(after)
        self._herald.announce(after, after.phase.value)
        self._at(Place.ANNOUNCED)

    async def undo(
        self,
        alias: ModelName,
        *,
        who: str,
        why: str,
        only: RolloutId | None = None,
        alarm: Alarm | None = None,
    ) -> Stored:
        """Take back the last promotion of an alias, at once and without analysis.

        only: this promotion and no other. alarm: what it is taken back for, when no person does.
        Raises `UnknownRollout` when there is none, or it was taken back before, `Conflict` when
        the alias has moved since or has a rollout going on.
        """
        track = self._tracks.under(alias)
        if track is not None:
            going = track.rollout.id
            raise RolloutActive(hint=f"Abort it instead: arbiter rollouts abort {going}.")
        rows = await self._database.read("last_promoted", (alias,))
        if not rows:
            raise UnknownRollout(f"Nothing was ever promoted under {alias}, so nothing to undo.")
        found = stored(rows[0])
        if found.rollout.phase is Phase.UNDONE or only not in {None, found.rollout.id}:
            raise UnknownRollout(
                f"The last promotion of {alias} was taken back before: nothing to undo."
            )
        undone, _ = verbs.undo(found.rollout, who, why)
        ending, drifted = self._watching.undoing(undone, alarm)
        ended = replace(found, rollout=undone, ended_at=self._clock.now().isoformat())
        self._at(Place.UNDOING)
        await self._registry.move(
            undoing(undone, who, self._clock.now()),
            standings={
                undone.stable: Standing.ACTIVE,
                **self._standing(undone.candidate, Standing.ROLLED_BACK, except_for=alias),
            },
            also=(
                saved(ended, was=found.rollout.phase),
                self._log(undone, 0, who, None if alarm is None else alarm.basis),
                *ending,
            ),
            notes=(*drifted, rollout_note(ended, was=found.rollout.phase, who=who)),
        )
        self._watching.over(alias)
        self._at(Place.UNDONE)
        self._herald.announce(undone, "undone")
        return ended

    async def _move(
        self, after: Rollout, who: str, statements: tuple[Statement, ...], note: Note
    ) -> None:
        await self._registry.move(
            promoting(after, who, self._clock.now()),
            standings={
                after.candidate: Standing.ACTIVE,
                **self._standing(after.stable, Standing.RETIRED, except_for=after.alias),
            },
            also=statements,
            notes=(note,),
        )

    def _standing(
        self, version: VersionId, standing: Standing, *, except_for: ModelName
    ) -> dict[VersionId, Standing]:
        """The change of a version's standing, or none when another alias relies on it."""
        relied_on = any(
            name.version == version and name.kind is Kind.ALIAS and name.name != except_for
            for name in self._registry.names()
        )
        return {} if relied_on else {version: standing}

    def _log(self, rollout: Rollout, units: int, who: str, basis: Basis | None = None) -> Statement:
        at = self._clock.now().isoformat()
        return logged(rollout, units=units, who=who, at=at, basis=basis)
