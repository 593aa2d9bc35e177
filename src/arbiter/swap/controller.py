"""Every rollout of a house: begun, told what people say, and asked about.

The only writer of rollouts. It decides nothing: `rollout.advance` does, from values;
`arbiter.swap.driving` asks it and `arbiter.swap.taking` writes the new state first, then acts on
it, then announces it. What is in memory can be rebuilt from the database at any moment, and on
start it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from random import Random

from arbiter.clock import Clock
from arbiter.errors import Conflict, UnknownRollout
from arbiter.events import Announcer
from arbiter.knowledge.tasks import Tasks
from arbiter.pool.pool import Pool, loadable
from arbiter.refs import DecisionId, ModelName, RolloutId, TaskName, VersionId, new_id
from arbiter.registry.registry import Registry, Version
from arbiter.storage.database import Database
from arbiter.swap import verbs
from arbiter.swap.assignment import Assignment, Detour, Ended
from arbiter.swap.comparing import Comparing, paired
from arbiter.swap.crashing import Crash, nowhere
from arbiter.swap.driving import HOOK, Driver
from arbiter.swap.findings import Compatibility
from arbiter.swap.hearing import Hearing
from arbiter.swap.herald import Herald
from arbiter.swap.hooks import Answer, Asks, Hooks
from arbiter.swap.lease import Leases, elsewhere
from arbiter.swap.looking import Looking, RolloutView
from arbiter.swap.metrics import Ending
from arbiter.swap.pairing import never
from arbiter.swap.plan import Apart, Plan
from arbiter.swap.records import Stored, stored
from arbiter.swap.retrying import retried, take_up
from arbiter.swap.rollout import Rollout, Taken
from arbiter.swap.sides import Sides
from arbiter.swap.slices import slice_s
from arbiter.swap.taking import Taking
from arbiter.swap.tracks import Tracks
from arbiter.swap.traffic import Track
from arbiter.swap.tripping import Failure
from arbiter.swap.validation import Progress, Validator
from arbiter.swap.watch import Alarm
from arbiter.swap.watching import Watching
from arbiter.telemetry import Going

Still = Callable[[Rollout], None]
"""Looks at a rollout that somebody is about to change, and raises if it is not as they read it."""


def whatever(found: Rollout) -> None:
    """Have it changed whatever state it is in."""
    del found


VALIDATING = "validating on stored cases"
"""How the reason of a rollout begins that has just begun; a person's own follows it."""


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
        self._registry = registry
        self._tasks = tasks
        self._pool = pool
        self._database = database
        self._clock = clock
        self._dice = dice
        self._knowledge = knowledge
        self._leases = leases
        self._at = crash or nowhere
        self._herald = Herald(announcer, clock)
        self._tracks = Tracks()
        self._starting = asyncio.Lock()
        hearing = Hearing(database=database, clock=clock)
        self.watching = Watching(
            registry=registry,
            pool=pool,
            database=database,
            clock=clock,
            hearing=hearing,
            announce=self._herald.announce,
            take_back=self._take_back,
            crash=self._at,
        )
        """The promotions that are watched."""
        self._sides = Sides(
            tracks=self._tracks,
            watching=self.watching,
            places=registry.places,
            hearing=hearing,
        )
        self._taking = Taking(
            tracks=self._tracks,
            watching=self.watching,
            registry=registry,
            database=database,
            clock=clock,
            herald=self._herald,
            knowledge=knowledge,
            crash=self._at,
        )
        self._driver = Driver(
            tracks=self._tracks,
            sides=self._sides,
            hearing=hearing,
            taking=self._taking,
            watching=self.watching,
            registry=registry,
            database=database,
            clock=clock,
            herald=self._herald,
            crash=self._at,
        )
        self._looking = Looking(tracks=self._tracks, watching=self.watching, database=database)

    async def open(self, validator: Validator, hooks: Hooks) -> None:
        """Take up every rollout that was going on, from its durable evidence."""
        self._herald.hooks = hooks
        self._driver.comparing = Comparing(
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
            lease = self._leases.of(found.rollout.id)
            await lease.ensure()
            self._tracks.add(found, track, lease)
            self._driver.follow(track)
        await self.watching.open()

    async def close(self) -> None:
        """Stop driving. Every rollout goes on at the next start."""
        await self._driver.close()
        await self.watching.close()
        await self._herald.hooks.close()

    # -- what goes on

    @property
    def revision(self) -> int:
        """Grows when an alias gets a rollout or loses it, and when one takes a step."""
        return self._tracks.revision

    def aliases(self) -> frozenset[ModelName]:
        """The aliases that have a rollout going on."""
        return self._tracks.aliases()

    def going(self) -> tuple[Going, ...]:
        """Every rollout that goes on, with its evidence."""
        return self._tracks.going()

    def involving(self, version: VersionId) -> tuple[RolloutId, ...]:
        """The rollouts going on that cannot go on without this version."""
        return self._tracks.involving(version)

    def judges(self, task: TaskName) -> RolloutId | None:
        """A rollout going on whose plan declares this task, if there is one."""
        return self._tracks.judges(task)

    def active(self, alias: ModelName) -> Rollout | None:
        """The rollout of an alias that is going on."""
        track = self._tracks.under(alias)
        return None if track is None else track.rollout

    def track(self, rollout: RolloutId) -> Track | None:
        """The live side of a rollout, for its pairs; None when it is over."""
        return self._tracks.of(rollout)

    # -- what requests ask and tell

    def draw(
        self,
        alias: ModelName,
        conversation: str,
        *,
        fits: Callable[[VersionId], bool],
        may_pair: Callable[[], bool] = never,
    ) -> Assignment | Detour | None:
        """As `arbiter.swap.sides.Sides.draw`."""
        return self._sides.draw(alias, conversation, fits=fits, may_pair=may_pair)

    def detour(self, alias: ModelName) -> Detour | None:
        """Who answers for the absent one of two versions that share the traffic of an alias."""
        return self._sides.detour(alias)

    def note(self, assignment: Assignment, failure: Failure | None) -> None:
        """How a candidate's request went, for the hard trip."""
        self._sides.note(assignment, failure)

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
        """As `arbiter.swap.sides.Sides.ended`."""
        return self._sides.ended(
            assignment, task=task, decision=decision, score=score, ending=ending, waits=waits
        )

    async def judged(self, decision: DecisionId) -> None:
        """Somebody judged an answer, and it is durable: a unit that waits for it has its score."""
        await self._sides.judged(decision)

    # -- what people look at

    async def find(self, rollout: RolloutId) -> Stored:
        """A rollout by its id, going on or over. Raises `UnknownRollout`."""
        return await self._looking.find(rollout)

    async def view(self, rollout: RolloutId) -> RolloutView:
        """A rollout with its evidence, read again from the record when it is over."""
        return await self._looking.view(rollout)

    async def list(self, *, before: str = "", limit: int = 200) -> tuple[Stored, ...]:
        """The latest rollouts, the newest first. before: only those older than this one."""
        return await self._looking.list(before=before, limit=limit)

    async def check(
        self, alias: ModelName, candidate: ModelName, *, apart: Apart, progress: Progress
    ) -> Compatibility:
        """What validation would say, with no rollout: nothing moves.

        Raises `UnknownModel`, `InvalidField` when both are the same version, `ServerGone` and
        whatever else says nothing about the candidate.
        """
        alias, stable, new = paired(self._registry, alias, candidate)
        return await self._driver.validation.compare(
            alias, stable.version, new.version, apart=apart, progress=progress
        )

    # -- what people say

    async def start(
        self, alias: ModelName, candidate: ModelName, plan: Plan, *, who: str, why: str = ""
    ) -> Stored:
        """Begin to replace what an alias points at. Returns once it is written down.

        Said again while it goes on, with the same plan, it was said once: whoever got no answer
        may ask once more. why: what whoever wants it says of it; the log and the ledger keep it.

        Raises `RolloutActive`, `UnknownModel`, `InvalidField` when both are the same version.
        """
        # one after the other: of two that are said at once, the second one finds the first going on
        async with self._starting:
            alias, stable, new = paired(self._registry, alias, candidate)
            going = self.active(alias)
            if going is not None and going.candidate == new.version and _is_as(going.plan, plan):
                return await self.find(going.id)
            self._tracks.ensure_free(alias)
            rollout = Rollout(
                id=RolloutId(new_id("rol", now=self._clock.now(), dice=self._dice)),
                alias=alias,
                stable=stable.version,
                candidate=new.version,
                plan=self._in_windows(plan, stable, new),
                salt=f"{self._dice.getrandbits(128):032x}",
                reason=f"{VALIDATING}: {why}" if why else VALIDATING,
            )
            return await self._begin(rollout, Track(rollout), who=who)

    def _in_windows(self, plan: Plan, *versions: Version) -> Plan:
        """The plan with windows that are long next to the loads, where it says nothing of that."""
        if not plan.of_windows or plan.slice_s is not None:
            return plan
        loads = [self._pool.reload_s(loadable(version)) for version in versions]
        return replace(plan, slice_s=slice_s(loads))

    async def _begin(self, rollout: Rollout, track: Track, *, who: str) -> Stored:
        found = Stored(
            rollout=rollout,
            findings=(),
            knowledge_before=self._knowledge(),
            knowledge_after=None,
            started_at=self._clock.now().isoformat(),
            ended_at=None,
        )
        await self._taking.begin(found, track, self._leases.of(rollout.id), who=who)
        self._driver.follow(track)
        self._herald.announce(rollout, "started")
        return found

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
        anew = RolloutId(new_id("rol", now=self._clock.now(), dice=self._dice))
        again, track = await retried(self._database, found.rollout, anew, who=who, why=why)
        return await self._begin(again, track, who=who)

    async def step(
        self, rollout: RolloutId, *, who: str, why: str, to: int, still: Still = whatever
    ) -> Stored:
        """Take the next step before its time. Raises `UnknownRollout`, `Conflict`."""

        def verb(found: Rollout) -> Taken:
            track = self._tracks.of(rollout)
            units = 0 if track is None else track.evidence.means.n_new
            return verbs.step(found, who, why, to=to, candidate_units=units)

        return await self._say(rollout, verb, who, asks=Asks.STEP, still=still)

    async def pause(
        self, rollout: RolloutId, *, who: str, why: str, still: Still = whatever
    ) -> Stored:
        """Keep the split as it is, and take no step. Raises `UnknownRollout`, `Conflict`."""
        return await self._say(rollout, lambda r: verbs.pause(r, who, why), who, still=still)

    async def resume(
        self, rollout: RolloutId, *, who: str, why: str, still: Still = whatever
    ) -> Stored:
        """Go on. Raises `UnknownRollout`, `Conflict`."""
        return await self._say(rollout, lambda r: verbs.resume(r, who, why), who, still=still)

    async def promote(
        self, rollout: RolloutId, *, who: str, why: str, still: Still = whatever
    ) -> Stored:
        """Promote without proof, on a person's word. Raises `UnknownRollout`, `Conflict`."""
        return await self._say(
            rollout, lambda r: verbs.promote(r, who, why), who, asks=Asks.PROMOTE, still=still
        )

    async def abort(
        self, rollout: RolloutId, *, who: str, why: str, still: Still = whatever
    ) -> Stored:
        """Go back to the stable version. Raises `UnknownRollout`, `Conflict`."""
        return await self._say(rollout, lambda r: verbs.abort(r, who, why), who, still=still)

    async def undo(self, alias: ModelName, *, who: str, why: str) -> Stored:
        """Take back the last promotion of an alias, at once and without analysis.

        Raises `UnknownRollout` when there is none, or it was taken back before, `Conflict` when
        the alias has moved since or has a rollout going on.
        """
        return await self._taking.undo(alias, who=who, why=why)

    async def _take_back(self, rollout: Rollout, alarm: Alarm) -> None:
        await self._taking.undo(
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
        track = self._tracks.of(rollout)
        if track is None:
            over = await self.find(rollout)
            still(over.rollout)
            if verb(over.rollout)[0] == over.rollout:  # or says why one that is over refuses
                return over
            raise UnknownRollout(f"Rollout {rollout} is not going on.")
        still(track.rollout)
        if asks is not None and (wanted := verb(track.rollout)[0]) != track.rollout:
            to = 1.0 if asks is Asks.PROMOTE else wanted.weight
            said = await self._herald.hooks.ask(track.rollout, asks, to=to)
            if said.answer is Answer.ABORT:
                return await self._say(rollout, lambda r: verbs.abort(r, HOOK, said.reason), HOOK)
            if said.answer is Answer.BLOCK:
                raise Conflict(f"It is kept from that: {said.reason}.")
        async with track.lock:
            leads = await self._driver.leads(track)
            still(track.rollout)
            after, effects = verb(track.rollout)
            if after == track.rollout:
                return self._tracks.stored[rollout]
            if not leads:
                raise elsewhere()
            try:
                await self._taking.take(track, after, effects, who=who)
            except Conflict as error:
                self._tracks.leases[rollout].doubt()
                if await self._driver.leads(track):
                    raise
                raise elsewhere() from error
            return self._tracks.stored[rollout]


def _is_as(going: Plan, asked: Plan) -> bool:
    """Whether a plan is the one that goes on; how long its windows are may have been left open."""
    return going == (asked if asked.slice_s is not None else replace(asked, slice_s=going.slice_s))
