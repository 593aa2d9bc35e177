"""The loop that drives a rollout: validates it, looks at its evidence, and goes on after a restart.

It decides nothing: `rollout.advance` does, from values, and `arbiter.swap.taking` carries it out.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from functools import partial

from arbiter.clock import Clock
from arbiter.errors import ArbiterError, Conflict, StorageError
from arbiter.refs import RolloutId, TaskName
from arbiter.registry.registry import Registry
from arbiter.storage.database import Database
from arbiter.swap import rollout as steps
from arbiter.swap import verbs
from arbiter.swap.comparing import Comparing
from arbiter.swap.crashing import Crash, Place
from arbiter.swap.hearing import Hearing
from arbiter.swap.herald import Herald
from arbiter.swap.hooks import GO, Answer, Asks, Said
from arbiter.swap.records import saved, stored
from arbiter.swap.retrying import take_up
from arbiter.swap.rollout import Phase, Taken
from arbiter.swap.sides import Sides
from arbiter.swap.taking import Taking
from arbiter.swap.tracks import Tracks
from arbiter.swap.traffic import Track
from arbiter.swap.watching import Watching

LOG = logging.getLogger(__name__)

TICK_S = 0.25
"""How often a rollout is looked at. A tick that took longer counts as two at most."""

RETRY_S = 5.0
"""Pause before a validation that could not be carried out is tried again."""

HOOK = "a hook"
"""Who called a rollout off when a hook did."""

SAVE_EVERY = 8
"""Ticks between two notes of the soak when nothing else changed."""


class Driver:
    """Drives every rollout that goes on, each in a task of its own."""

    def __init__(  # noqa: PLR0913  # each is a room that it needs
        self,
        *,
        tracks: Tracks,
        sides: Sides,
        hearing: Hearing,
        taking: Taking,
        watching: Watching,
        registry: Registry,
        database: Database,
        clock: Clock,
        herald: Herald,
        crash: Crash,
    ) -> None:
        self.comparing: Comparing | None = None
        """Handed in when the house is open."""
        self._tracks = tracks
        self._sides = sides
        self._hearing = hearing
        self._taking = taking
        self._watching = watching
        self._registry = registry
        self._database = database
        self._clock = clock
        self._herald = herald
        self._at = crash
        self._driving: dict[RolloutId, asyncio.Task[None]] = {}

    def follow(self, track: Track) -> None:
        """Drive a rollout until it is over."""
        rollout = track.rollout
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

    async def _drive(self, track: Track) -> None:
        while track.rollout.phase is Phase.VALIDATING:
            try:
                if await self.leads(track):
                    async with self._tracks.leases[track.rollout.id].kept():
                        await self._validate(track)
                else:
                    await self._clock.sleep(TICK_S)
            except (ArbiterError, OSError) as error:
                # nothing was learned about the candidate, and nothing is lost by asking again
                self._herald.announce(track.rollout, "waiting", reason=str(error))
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
                    if await self.leads(track):
                        await self._tick(track, elapsed, note=ticks % SAVE_EVERY == 0)
                except (StorageError, Conflict) as error:
                    # the step was not written, so it was not taken; it is tried again
                    lease = self._tracks.leases.get(track.rollout.id)
                    if lease is not None:  # else it ended elsewhere while this was read
                        lease.doubt()
                    self._herald.announce(track.rollout, "waiting", reason=error.message)

    async def leads(self, track: Track) -> bool:
        """Whether this house drives the rollout; if not, what the one that does has written."""
        rollout = track.rollout.id
        lease = self._tracks.leases.get(rollout)
        if lease is None:
            return False  # it ended while somebody waited for their turn
        was = lease.is_mine
        leads = await lease.ensure()
        if leads and was:
            return True
        found = stored((await self._database.read("get_rollout", (rollout,)))[0])
        track.rollout = found.rollout
        self._tracks.stored[rollout] = found
        if found.rollout.phase.is_final:
            await self._registry.load()
            await self._watching.open()
            self._tracks.forget(found.rollout)
            return False
        if leads:
            await take_up(self._database, track)
        return leads

    async def _tick(self, track: Track, elapsed_s: float, *, note: bool) -> None:
        await self._hearing.look(track, elapsed_s)
        before, who = track.rollout, "arbiter"
        after, effects = self._advanced(track, elapsed_s, GO)
        said = self._herald.hooks.permit(before, after)
        if said.answer is Answer.ABORT:
            (after, effects), who = verbs.abort(before, HOOK, said.reason), HOOK
        elif said.answer is Answer.BLOCK:
            after, effects = self._advanced(track, elapsed_s, said)
        was = (before.phase, before.index, before.shadow_only)
        if (after.phase, after.index, after.shadow_only) != was:
            await self._taking.take(track, after, effects, who=who, elapsed_s=elapsed_s)
            return
        if after.reason != before.reason:
            self._herald.announce(after, "waiting")
        track.rollout = after
        if note:
            found = replace(self._tracks.stored[after.id], rollout=after)
            self._tracks.stored[after.id] = found
            self._database.enqueue(
                self._tracks.leases[after.id].fence(), saved(found, was=after.phase)
            )
            self._at(Place.NOTED)

    def _advanced(self, track: Track, elapsed_s: float, said: Said) -> Taken:
        return steps.advance(
            track.rollout,
            track.judgement(),
            elapsed_s=elapsed_s,
            candidate_units=track.evidence.means.n_new,
            tripped=track.trip,
            absent="; ".join(self._sides.absent(track.rollout).values()) or None,
            blocked=said.reason or None,
        )

    async def _validate(self, track: Track) -> None:
        rollout = track.rollout
        done = self._tracks.progress.setdefault(rollout.id, {})

        def progress(task: TaskName, count: int, total: int) -> None:
            done[task] = (count, total)

        report = await self.validation.compare(
            rollout.alias,
            rollout.stable,
            rollout.candidate,
            apart=rollout.plan.apart,
            progress=progress,
        )
        self._tracks.progress.pop(rollout.id, None)
        begun, who = steps.begin(rollout, report.advice, report.reason), "arbiter"
        if begun[0].phase is Phase.PROMOTED:
            said = await self._herald.hooks.ask(rollout, Asks.PROMOTE, to=1.0)
            if said.answer is Answer.BLOCK:
                raise Conflict(f"It is kept from that: {said.reason}.")
            if said.answer is Answer.ABORT:
                begun, who = verbs.abort(rollout, HOOK, said.reason), HOOK
        async with track.lock:
            if track.rollout.phase is not Phase.VALIDATING:
                return
            self._tracks.stored[rollout.id] = replace(
                self._tracks.stored[rollout.id], findings=report.findings
            )
            await self._taking.take(track, *begun, who=who)

    @property
    def validation(self) -> Comparing:
        """Who compares two versions. It is there once the house is open."""
        if self.comparing is None:
            raise AssertionError("open() hands in the validator")
        return self.comparing


def _report(driving: asyncio.Task[None]) -> None:
    """A rollout that stops being driven by a fault of ours must not do so in silence."""
    if not driving.cancelled() and driving.exception() is not None:
        LOG.error("%s is no longer driven", driving.get_name(), exc_info=driving.exception())
