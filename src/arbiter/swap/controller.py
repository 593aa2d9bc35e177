"""Drives rollouts: validates, steps, promotes, rolls back, and goes on after a restart.

The only writer of rollouts. It decides nothing: `rollout.advance` does, from values; here the
new state is written first, then acted on, then announced. What is in memory can be rebuilt from
the database at any moment, and on start it is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from random import Random

from arbiter.clock import Clock
from arbiter.errors import (
    ArbiterError,
    Conflict,
    RolloutActive,
    StorageError,
    UnknownRollout,
)
from arbiter.events import Announcer, Event
from arbiter.knowledge.tasks import Tasks
from arbiter.ledger import Note
from arbiter.pool.pool import Pool
from arbiter.refs import DecisionId, ModelName, RolloutId, TaskName, VersionId, new_id
from arbiter.registry.registry import Kind, Registry, Standing
from arbiter.storage.database import Database, Statement
from arbiter.swap import rollout as steps
from arbiter.swap.analysis import Failure, Judgement, TaskEvidence
from arbiter.swap.basis import Basis
from arbiter.swap.comparing import Comparing, paired
from arbiter.swap.crashing import Crash, Place, nowhere
from arbiter.swap.findings import Compatibility
from arbiter.swap.hooks import GO, Answer, Asks, Hooks, Said
from arbiter.swap.judging import judging
from arbiter.swap.lease import Lease, Leases, elsewhere
from arbiter.swap.metrics import Ending, MetricEvidence
from arbiter.swap.moving import promoting, undoing
from arbiter.swap.notes import rollout_note
from arbiter.swap.pairing import never
from arbiter.swap.plan import Apart, Plan
from arbiter.swap.records import (
    Entry,
    Stored,
    added,
    entry,
    logged,
    saved,
    stored,
)
from arbiter.swap.retrying import retried, take_up, track_of
from arbiter.swap.rollout import Effect, Phase, Rollout, Taken
from arbiter.swap.shadow import NO_PAIRS, Agreement
from arbiter.swap.traffic import Assignment, Detour, Ended, Track
from arbiter.swap.validation import Progress, Validator
from arbiter.swap.watch import Alarm, before_of
from arbiter.swap.watching import Watching, WatchView
from arbiter.telemetry import Going

LOG = logging.getLogger(__name__)

TICK_S = 0.25
"""How often a rollout is looked at. A tick that took longer counts as two at most."""

RETRY_S = 5.0
"""Pause before a validation that could not be carried out is tried again."""

HOOK = "a hook"
"""Who called a rollout off when a hook did."""

SAVE_EVERY = 8
"""Ticks between two notes of the soak when nothing else changed."""


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


Still = Callable[[Rollout], None]
"""Looks at a rollout that somebody is about to change, and raises if it is not as they read it."""


def whatever(found: Rollout) -> None:
    """Have it changed whatever state it is in."""
    del found


class Controller:
    """Every rollout of this house."""

    def __init__(  # noqa: PLR0913  # each is a room that it needs
        self,
        *,
        registry: Registry,
        tasks: Tasks,
        pool: Pool,
        database: Database,
        clock: Clock,
        dice: Random,
        announcer: Announcer,
        knowledge: Callable[[], str],
        leases: Leases,
        crash: Crash | None = None,
    ) -> None:
        """crash: called where a test may kill the house; None in one that is in use."""
        self.revision = 0
        """Grows when an alias gets a rollout or loses it, and when one takes a step."""
        self._registry = registry
        self._tasks = tasks
        self._pool = pool
        self._database = database
        self._clock = clock
        self._dice = dice
        self._announcer = announcer
        self._knowledge = knowledge
        self._new_leases = leases
        self._at = crash or nowhere
        self._leases: dict[RolloutId, Lease] = {}
        self._hooks = Hooks((), timeout_s=1.0, clock=clock)
        self._comparing: Comparing | None = None
        self._tracks: dict[ModelName, Track] = {}
        self._by_id: dict[RolloutId, Track] = {}
        self._stored: dict[RolloutId, Stored] = {}
        self._driving: dict[RolloutId, asyncio.Task[None]] = {}
        self._progress: dict[RolloutId, dict[TaskName, tuple[int, int]]] = {}
        self.watching = Watching(
            registry=registry,
            pool=pool,
            database=database,
            clock=clock,
            announce=self._announce,
            take_back=self._take_back,
            crash=self._at,
        )
        """The promotions that are watched."""

    async def open(self, validator: Validator, hooks: Hooks) -> None:
        """Take up every rollout that was going on, from its durable evidence."""
        self._hooks = hooks
        self._comparing = Comparing(
            registry=self._registry,
            tasks=self._tasks,
            pool=self._pool,
            database=self._database,
            validator=validator,
            crash=self._at,
        )
        for row in await self._database.read("list_active_rollouts"):
            found = stored(row)
            track = Track(found.rollout)
            await take_up(self._database, track)
            lease = self._new_leases.of(found.rollout.id)
            await lease.ensure()
            self._follow(found, track, lease)
        await self.watching.open()

    def _follow(self, found: Stored, track: Track, lease: Lease) -> None:
        rollout = found.rollout
        self._leases[rollout.id] = lease
        self._stored[rollout.id] = found
        self._tracks[rollout.alias] = track
        self._by_id[rollout.id] = track
        self.revision += 1
        driving = asyncio.create_task(self._drive(track), name=f"rollout {rollout.id}")
        driving.add_done_callback(_report)
        driving.add_done_callback(partial(self._driven, rollout.id))
        self._driving[rollout.id] = driving

    def _driven(self, rollout: RolloutId, task: asyncio.Task[None]) -> None:
        """Forget a task when it has ended: one that only waits for its last tick is closed too."""
        if self._driving.get(rollout) is task:
            del self._driving[rollout]

    async def close(self) -> None:
        """Stop driving. Every rollout goes on at the next start."""
        driving = list(self._driving.values())
        for task in driving:
            task.cancel()
        await asyncio.gather(*driving, return_exceptions=True)
        await self.watching.close()
        await self._hooks.close()

    def aliases(self) -> frozenset[ModelName]:
        """The aliases that have a rollout going on."""
        return frozenset(self._tracks)

    def going(self) -> tuple[Going, ...]:
        """Every rollout that goes on, with its evidence."""
        found = []
        for track in self._tracks.values():
            judgement = track.judgement(in_words=False)
            found.append(
                Going(
                    alias=track.rollout.alias,
                    rollout=track.rollout.id,
                    phase=track.rollout.phase.value,
                    weight=track.weight,
                    e_worse=judgement.e_worse,
                    e_not_worse=judgement.e_not_worse,
                    needed_worse=judgement.needed_worse,
                    needed_not_worse=judgement.needed_not_worse,
                )
            )
        return tuple(found)

    def involving(self, version: VersionId) -> tuple[RolloutId, ...]:
        """The rollouts going on that cannot go on without this version."""
        return tuple(
            track.rollout.id
            for track in self._tracks.values()
            if version in {track.rollout.stable, track.rollout.candidate}
        )

    def draw(
        self,
        alias: ModelName,
        conversation: str,
        *,
        fits: Callable[[VersionId], bool],
        may_pair: Callable[[], bool] = never,
    ) -> Assignment | Detour | None:
        """The side that a conversation is on of this alias's rollout, or watched promotion.

        fits: whether a version that was replaced could do what is asked. may_pair: as of
        `arbiter.swap.traffic.Track.draw`.
        """
        track = self._tracks.get(alias)
        if track is None:
            return self.watching.draw(alias, conversation, fits)
        detour = self.detour(alias)
        if detour is None:
            return track.draw(conversation, may_pair=may_pair)
        track.pass_over(conversation)
        return detour

    def detour(self, alias: ModelName) -> Detour | None:
        """Who answers for the absent one of two versions that share the traffic of an alias."""
        track = self._tracks.get(alias)
        if track is None or not track.is_split:
            return None
        gone = self._absent(track.rollout)
        if len(gone) != 1:
            return None
        ((absent, why),) = gone.items()
        stable, candidate = track.rollout.stable, track.rollout.candidate
        return Detour(version=candidate if absent == stable else stable, absent=absent, why=why)

    def _absent(self, rollout: Rollout) -> dict[VersionId, str]:
        """Which versions of a rollout cannot be had now, and why, in words."""
        absent = self._registry.places.absent
        roles = {rollout.stable: "stable version", rollout.candidate: "candidate"}
        return {
            version: f"the server of the {role} is gone ({why})"
            for version, role in roles.items()
            if (why := absent(version)) is not None
        }

    def note(self, assignment: Assignment, failure: Failure | None) -> None:
        """How a candidate's request went, for the hard trip."""
        track = self._by_id.get(assignment.rollout)
        if track is not None:
            track.note(assignment.arm, failure)

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
        """What to store of an assignment whose request has ended, and what to do once it is."""
        track = self._by_id.get(assignment.rollout)
        if track is None:
            return self.watching.ended(
                assignment, task=task, decision=decision, score=score, ending=ending
            )
        return track.ended(
            assignment, task=task, decision=decision, score=score, ending=ending, waits=waits
        )

    async def judged(self, decision: DecisionId) -> None:
        """Somebody judged an answer, and it is durable: a unit that waits for it has its score."""
        for track in self._tracks.values():
            if track.waits.get(decision) is not None:
                await self._judge(track, decision)
                return
            track.waits.expect(decision)

    async def _judge(self, track: Track, decision: DecisionId, *, is_late: bool = False) -> None:
        wait = track.waits.get(decision)
        if wait is None:
            return
        at = self._clock.now().isoformat()
        written = await self._database.write(
            judging(track.rollout.id, wait.row[0], at=at, is_late=is_late)
        )
        for (score,) in written.rows[0]:
            track.judged(decision, float(score or 0.0))

    def track(self, rollout: RolloutId) -> Track | None:
        """The live side of a rollout, for its pairs; None when it is over."""
        return self._by_id.get(rollout)

    async def start(
        self, alias: ModelName, candidate: ModelName, plan: Plan, *, who: str
    ) -> Stored:
        """Begin to replace what an alias points at. Returns once it is written down.

        Raises `RolloutActive`, `UnknownModel`, `InvalidField` when both are the same version.
        """
        alias, stable, new = paired(self._registry, alias, candidate)
        if alias in self._tracks:
            going = self._tracks[alias].rollout.id
            raise RolloutActive(
                f"{alias} has a rollout going on: {going}.",
                hint=f"Wait for its end, or: arbiter rollouts abort {going}.",
            )
        now = self._clock.now()
        rollout = Rollout(
            id=RolloutId(new_id("rol", now=now, dice=self._dice)),
            alias=alias,
            stable=stable.version,
            candidate=new.version,
            plan=plan,
            salt=f"{self._dice.getrandbits(128):032x}",
            reason="validating on stored cases",
        )
        found = Stored(
            rollout=rollout,
            findings=(),
            knowledge_before=self._knowledge(),
            knowledge_after=None,
            started_at=now.isoformat(),
            ended_at=None,
        )
        await self._begin(found, Track(rollout), who=who)
        return found

    async def _begin(self, found: Stored, track: Track, *, who: str) -> None:
        rollout = found.rollout
        lease = self._new_leases.of(rollout.id)
        ending, retired = self.watching.replacing(rollout.alias, rollout.id, who=who)
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
        self.watching.over(rollout.alias, f"the next rollout began: {rollout.id}")
        await self._registry.descend(rollout.candidate, rollout.stable)
        self._follow(found, track, lease)
        self._announce(rollout, "started")

    async def retry(
        self, rollout: RolloutId, *, who: str, why: str, still: Still = whatever
    ) -> Stored:
        """Try the same two versions again in a new rollout that goes on with the evidence.

        still: raises what keeps somebody from it who wants the rollout to be as they read it; so
        it does of the verbs below.

        Raises `UnknownRollout`, `Conflict` when it is not over, was promoted, or proved its
        candidate worse, and when the alias has moved since or has another rollout going on.
        """
        for row in await self._database.read("retried_as", (rollout,)):
            return await self.find(RolloutId(str(row[0])))
        found = await self.find(rollout)
        still(found.rollout)
        if self._registry.resolve(found.rollout.alias).version != found.rollout.stable:
            raise Conflict(
                f"{found.rollout.alias} has moved since.", hint="Start anew: arbiter swap."
            )
        now = self._clock.now()
        anew = RolloutId(new_id("rol", now=now, dice=self._dice))
        again, track = await retried(self._database, found.rollout, anew, who=who, why=why)
        fresh = Stored(
            rollout=again,
            findings=(),
            knowledge_before=self._knowledge(),
            knowledge_after=None,
            started_at=now.isoformat(),
            ended_at=None,
        )
        await self._begin(fresh, track, who=who)
        return fresh

    async def step(
        self, rollout: RolloutId, *, who: str, why: str, to: int, still: Still = whatever
    ) -> Stored:
        """Take the next step before its time. Raises `UnknownRollout`, `Conflict`."""

        def verb(found: Rollout) -> Taken:
            track = self._by_id.get(rollout)
            units = 0 if track is None else track.evidence.means.n_new
            return steps.step(found, who, why, to=to, candidate_units=units)

        return await self._say(rollout, verb, who, asks=Asks.STEP, still=still)

    async def pause(
        self, rollout: RolloutId, *, who: str, why: str, still: Still = whatever
    ) -> Stored:
        """Keep the split as it is, and take no step. Raises `UnknownRollout`, `Conflict`."""
        return await self._say(rollout, lambda r: steps.pause(r, who, why), who, still=still)

    async def resume(
        self, rollout: RolloutId, *, who: str, why: str, still: Still = whatever
    ) -> Stored:
        """Go on. Raises `UnknownRollout`, `Conflict`."""
        return await self._say(rollout, lambda r: steps.resume(r, who, why), who, still=still)

    async def promote(
        self, rollout: RolloutId, *, who: str, why: str, still: Still = whatever
    ) -> Stored:
        """Promote without proof, on a person's word. Raises `UnknownRollout`, `Conflict`."""
        return await self._say(
            rollout, lambda r: steps.promote(r, who, why), who, asks=Asks.PROMOTE, still=still
        )

    async def abort(
        self, rollout: RolloutId, *, who: str, why: str, still: Still = whatever
    ) -> Stored:
        """Go back to the stable version. Raises `UnknownRollout`, `Conflict`."""
        return await self._say(rollout, lambda r: steps.abort(r, who, why), who, still=still)

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
        if alias in self._tracks:
            going = self._tracks[alias].rollout.id
            raise RolloutActive(hint=f"Abort it instead: arbiter rollouts abort {going}.")
        rows = await self._database.read("last_promoted", (alias,))
        if not rows:
            raise UnknownRollout(f"Nothing was ever promoted under {alias}, so nothing to undo.")
        found = stored(rows[0])
        if found.rollout.phase is Phase.UNDONE or only not in {None, found.rollout.id}:
            raise UnknownRollout(
                f"The last promotion of {alias} was taken back before: nothing to undo."
            )
        undone, _ = steps.undo(found.rollout, who, why)
        ending, drifted = self.watching.undoing(undone, alarm)
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
        self.watching.over(alias)
        self._at(Place.UNDONE)
        self._announce(undone, "undone")
        return ended

    async def _take_back(self, rollout: Rollout, alarm: Alarm) -> None:
        await self.undo(
            rollout.alias, who="arbiter", why=alarm.sentence, only=rollout.id, alarm=alarm
        )

    async def _say(
        self,
        rollout: RolloutId,
        verb: Callable[[Rollout], Taken],
        who: str,
        *,
        asks: Asks | None = None,
        still: Still = whatever,
    ) -> Stored:
        track = self._by_id.get(rollout)
        if track is None:
            over = await self.find(rollout)
            still(over.rollout)
            if verb(over.rollout)[0] == over.rollout:  # or says why one that is over refuses
                return over
            raise UnknownRollout(f"Rollout {rollout} is not going on.")
        still(track.rollout)
        if asks is not None and (wanted := verb(track.rollout)[0]) != track.rollout:
            to = 1.0 if asks is Asks.PROMOTE else wanted.weight
            said = await self._hooks.ask(track.rollout, asks, to=to)
            if said.answer is Answer.ABORT:
                return await self._say(rollout, lambda r: steps.abort(r, HOOK, said.reason), HOOK)
            if said.answer is Answer.BLOCK:
                raise Conflict(f"It is kept from that: {said.reason}.")
        async with track.lock:
            leads = await self._leads(track)
            still(track.rollout)
            after, effects = verb(track.rollout)
            if after == track.rollout:
                return self._stored[rollout]
            if not leads:
                raise elsewhere()
            try:
                await self._take(track, after, effects, who=who)
            except Conflict as error:
                self._leases[rollout].doubt()
                if await self._leads(track):
                    raise
                raise elsewhere() from error
            return self._stored[rollout]

    async def _drive(self, track: Track) -> None:
        while track.rollout.phase is Phase.VALIDATING:
            try:
                if await self._leads(track):
                    async with self._leases[track.rollout.id].kept():
                        await self._validate(track)
                else:
                    await self._clock.sleep(TICK_S)
            except (ArbiterError, OSError) as error:
                # nothing was learned about the candidate, and nothing is lost by asking again
                self._announce(track.rollout, "waiting", reason=str(error))
                await self._clock.sleep(RETRY_S)
        last = self._clock.monotonic()
        ticks = 0
        while track.is_split:
            await self._clock.sleep(TICK_S)
            now = self._clock.monotonic()
            elapsed, last = min(max(now - last, 0.0), 2 * TICK_S), now
            ticks += 1
            async with track.lock:
                try:
                    if await self._leads(track):
                        await self._tick(track, elapsed, note=ticks % SAVE_EVERY == 0)
                except (StorageError, Conflict) as error:
                    # the step was not written, so it was not taken; it is tried again
                    lease = self._leases.get(track.rollout.id)
                    if lease is not None:  # else it ended elsewhere while this was read
                        lease.doubt()
                    self._announce(track.rollout, "waiting", reason=error.message)

    async def _leads(self, track: Track) -> bool:
        """Whether this house drives the rollout; if not, what the one that does has written."""
        rollout = track.rollout.id
        lease = self._leases.get(rollout)
        if lease is None:
            return False  # it ended while somebody waited for their turn
        was = lease.is_mine
        leads = await lease.ensure()
        if leads and was:
            return True
        found = stored((await self._database.read("get_rollout", (rollout,)))[0])
        track.rollout = found.rollout
        self._stored[rollout] = found
        if found.rollout.phase.is_final:
            await self._registry.load()
            await self.watching.open()
            self._forget(found.rollout)
            return False
        if leads:
            await take_up(self._database, track)
        return leads

    async def _tick(self, track: Track, elapsed_s: float, *, note: bool) -> None:
        for decision in track.waits.expected():
            await self._judge(track, decision)
        for decision in track.waits.late(elapsed_s):
            await self._judge(track, decision, is_late=True)
        before, who = track.rollout, "arbiter"
        after, effects = self._advanced(track, elapsed_s, GO)
        said = self._hooks.permit(before, after)
        if said.answer is Answer.ABORT:
            (after, effects), who = steps.abort(before, HOOK, said.reason), HOOK
        elif said.answer is Answer.BLOCK:
            after, effects = self._advanced(track, elapsed_s, said)
        was = (before.phase, before.index, before.shadow_only)
        if (after.phase, after.index, after.shadow_only) != was:
            await self._take(track, after, effects, who=who, elapsed_s=elapsed_s)
            return
        if after.reason != before.reason:
            self._announce(after, "waiting")
        track.rollout = after
        if note:
            found = replace(self._stored[after.id], rollout=after)
            self._stored[after.id] = found
            self._database.enqueue(self._leases[after.id].fence(), saved(found, was=after.phase))
            self._at(Place.NOTED)

    def _advanced(self, track: Track, elapsed_s: float, said: Said) -> Taken:
        return steps.advance(
            track.rollout,
            track.judgement(),
            elapsed_s=elapsed_s,
            candidate_units=track.evidence.means.n_new,
            tripped=track.trip,
            absent="; ".join(self._absent(track.rollout).values()) or None,
            blocked=said.reason or None,
        )

    async def _validate(self, track: Track) -> None:
        rollout = track.rollout
        done = self._progress.setdefault(rollout.id, {})

        def progress(task: TaskName, count: int, total: int) -> None:
            done[task] = (count, total)

        report = await self._validation.compare(
            rollout.alias,
            rollout.stable,
            rollout.candidate,
            apart=rollout.plan.apart,
            progress=progress,
        )
        self._progress.pop(rollout.id, None)
        begun, who = steps.begin(rollout, report.advice, report.reason), "arbiter"
        if begun[0].phase is Phase.PROMOTED:
            said = await self._hooks.ask(rollout, Asks.PROMOTE, to=1.0)
            if said.answer is Answer.BLOCK:
                raise Conflict(f"It is kept from that: {said.reason}.")
            if said.answer is Answer.ABORT:
                begun, who = steps.abort(rollout, HOOK, said.reason), HOOK
        async with track.lock:
            if track.rollout.phase is not Phase.VALIDATING:
                return
            self._stored[rollout.id] = replace(self._stored[rollout.id], findings=report.findings)
            await self._take(track, *begun, who=who)

    @property
    def _validation(self) -> Comparing:
        if self._comparing is None:
            raise AssertionError("open() hands in the validator")
        return self._comparing

    async def check(
        self, alias: ModelName, candidate: ModelName, *, apart: Apart, progress: Progress
    ) -> Compatibility:
        """What validation would say, with no rollout: nothing moves.

        Raises `UnknownModel`, `InvalidField` when both are the same version, `ServerGone` and
        whatever else says nothing about the candidate.
        """
        alias, stable, new = paired(self._registry, alias, candidate)
        return await self._validation.compare(
            alias, stable.version, new.version, apart=apart, progress=progress
        )

    async def _take(
        self,
        track: Track,
        after: Rollout,
        effects: Sequence[Effect],
        *,
        who: str,
        elapsed_s: float = 0.0,
    ) -> None:
        before, lease = track.rollout, self._leases[after.id]
        self._at(Place.BEGINNING if before.phase is Phase.VALIDATING else Place.DECIDED)
        found = replace(self._stored[after.id], rollout=after)
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
            statements += self.watching.beginning(after, before_it)
            await self._move(after, who, statements, note)
            self.watching.begin(after, before_it, track.arms)
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
        self.revision += 1
        self._stored[after.id] = found
        if after.phase.is_final:
            self._forget(after)
        self._announce(after, after.phase.value)
        self._at(Place.ANNOUNCED)

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

    def _forget(self, rollout: Rollout) -> None:
        self._tracks.pop(rollout.alias, None)
        self._by_id.pop(rollout.id, None)
        self._leases.pop(rollout.id, None)
        self.revision += 1

    def _log(self, rollout: Rollout, units: int, who: str, basis: Basis | None = None) -> Statement:
        at = self._clock.now().isoformat()
        return logged(rollout, units=units, who=who, at=at, basis=basis)

    def _announce(self, rollout: Rollout, what: str, *, reason: str | None = None) -> None:
        if what != "waiting":
            self._hooks.tell(rollout, what)
        self._announcer.announce(
            Event(
                kind=f"rollout.{what}",
                at=self._clock.now(),
                detail={
                    "rollout": rollout.id,
                    "alias": rollout.alias,
                    "weight": rollout.weight,
                    "reason": reason or rollout.reason,
                },
            )
        )

    async def find(self, rollout: RolloutId) -> Stored:
        """A rollout by its id, going on or over. Raises `UnknownRollout`."""
        known = self._stored.get(rollout)
        if known is not None and rollout in self._by_id:
            return replace(known, rollout=self._by_id[rollout].rollout)
        rows = await self._database.read("get_rollout", (rollout,))
        if not rows:
            raise UnknownRollout(f"No rollout is called {rollout!r:.80}.", param="rollout")
        return stored(rows[0])

    async def view(self, rollout: RolloutId) -> RolloutView:
        """A rollout with its evidence, read again from the record when it is over."""
        found = await self.find(rollout)
        track = self._by_id.get(rollout)
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
            progress=dict(self._progress.get(rollout, {})),
            log=tuple(
                [entry(row) for row in await self._database.read("list_rollout_log", (rollout,))]
            ),
            to_judge=tuple(track.waits) if track.is_split else (),
            judged=judged.get(False, 0),
            unjudged=judged.get(True, 0),
            interval=track.gap.get(),
            watch=await self.watching.view(found.rollout),
            agreement=track.pairing.agreeing.get(),
            open_pairs=track.pairing.open,
        )

    async def list(self, *, before: str = "", limit: int = 200) -> tuple[Stored, ...]:
        """The latest rollouts, the newest first. before: only those older than this one."""
        return tuple(
            [
                await self.find(RolloutId(str(row[0])))
                for row in await self._database.read("list_rollouts", (before, before, limit))
            ]
        )

    def judges(self, task: TaskName) -> RolloutId | None:
        """A rollout going on whose plan declares this task, if there is one."""
        for track in self._tracks.values():
            if task in track.rollout.plan.tasks:
                return track.rollout.id
        return None

    def active(self, alias: ModelName) -> Rollout | None:
        """The rollout of an alias that is going on."""
        track = self._tracks.get(alias)
        return None if track is None else track.rollout


def _report(driving: asyncio.Task[None]) -> None:
    """A rollout that stops being driven by a fault of ours must not do so in silence."""
    if not driving.cancelled() and driving.exception() is not None:
        LOG.error("%s is no longer driven", driving.get_name(), exc_info=driving.exception())
