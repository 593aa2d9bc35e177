"""Watches promotions: holds a few conversations back, hears the alarms, goes back, or lets it be.

It decides nothing: `arbiter.swap.watch` says what the rows mean. Here what follows is written,
then acted on, then announced. What is in memory can be rebuilt from the rows, and on start it is.

Two houses on one database need no lease for this, unlike a rollout: a promotion is taken back by
one guarded write, which the second house would be refused. How long a promotion is watched is
counted in seconds that were seen to pass while a house was open, so no clock that is set and no
machine that slept ends it; the date is derived from what is left.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from arbiter.clock import Clock
from arbiter.errors import ArbiterError, UnknownModel
from arbiter.inference import Arm
from arbiter.ledger import Note
from arbiter.pool.pool import Pool
from arbiter.refs import DecisionId, ModelName, RolloutId, TaskName, VersionId
from arbiter.registry.registry import Registry
from arbiter.storage.database import Database, Statement
from arbiter.swap.assignment import Assignment, Ended
from arbiter.swap.crashing import Crash, Place
from arbiter.swap.hearing import Hearing
from arbiter.swap.holdback import Arms, Holdback
from arbiter.swap.judging import Judged
from arbiter.swap.metrics import Ending
from arbiter.swap.plan import OnDrift
from arbiter.swap.records import stored
from arbiter.swap.retrying import record_of
from arbiter.swap.rollout import Rollout
from arbiter.swap.slices import conversation_of
from arbiter.swap.telling import lasting
from arbiter.swap.watch import Alarm, Before, Sign, Since
from arbiter.swap.watch_records import (
    Watched,
    alarm_added,
    alarmed,
    drift_note,
    retired_note,
    watch_added,
    watch_counted,
    watch_ended,
    watched,
)

LOG = logging.getLogger(__name__)

HOUSE = "arbiter"
"""Who takes a promotion back when no person does."""

LOOK_S = 1.0
"""How often a watched promotion is looked at. A look that came later counts as two at most."""

COUNT_EVERY = 60
"""Looks between two notes of how long is left: a kill loses a minute, and it is watched longer."""

TIME_OVER = "its time is over"
"""Why a promotion is watched no longer when nothing came between."""


class Says(Protocol):
    """Tells hooks and listeners of a rollout."""

    def __call__(self, rollout: Rollout, what: str, *, reason: str | None = None) -> None:
        """what: the kind of event after ``rollout.``."""
        ...


TakesBack = Callable[[Rollout, Alarm], Awaitable[object]]
"""Takes a promotion back, at once, without analysis, because of an alarm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchView:
    """A watched promotion as people look at it.

    left_s: seconds of an open house. until: when that is over, if the house stays open; None once
    it is over. closed: why nobody is held back now; None while somebody may be.
    """

    left_s: float
    until: datetime | None
    ended_at: str | None
    why: str | None
    closed: str | None
    since: Since
    judged: Judged
    to_judge: tuple[DecisionId, ...] = ()
    """Answers that wait to be judged, the oldest first."""

    @property
    def state(self) -> str:
        """``quiet``, ``suspected`` or ``alarmed``."""
        alarms = self.since.alarms
        if Sign.DRIFTED in alarms:
            return "alarmed"
        return "suspected" if Sign.SUSPECTED in alarms else "quiet"

    @property
    def in_words(self) -> tuple[str, ...]:
        """Whether it is watched, who is held back, and how the alarms stand."""
        if self.ended_at is not None:
            first = f"It is watched no longer since {self.ended_at[:19]}: {self.why}."
        else:
            share = self.since.plan.holdback
            back = (
                f"{share:.0%} of new conversations stay with the old version"
                if self.closed is None
                else f"nobody is held back now: {self.closed}"
            )
            first = f"It is watched for {lasting(self.left_s)} more of an open house; {back}."
        return (first, *self.since.in_words, *self.judged.in_words(len(self.to_judge)))


@dataclass(slots=True, kw_only=True)
class _Watch:
    rollout: Rollout
    left_s: float
    holdback: Holdback
    said: set[Sign] = field(default_factory=set)
    task: asyncio.Task[None] | None = None


class Watching:
    """Every promotion of this house that is watched."""

    def __init__(
        self,
        *,
        registry: Registry,
        pool: Pool,
        database: Database,
        clock: Clock,
        hearing: Hearing,
        announce: Says,
        take_back: TakesBack,
        crash: Crash,
    ) -> None:
        self._registry = registry
        self._pool = pool
        self._database = database
        self._clock = clock
        self._hearing = hearing
        self._announce = announce
        self._take_back = take_back
        self._at = crash
        self._watches: dict[ModelName, _Watch] = {}

    async def open(self) -> None:
        """Take up every promotion that is watched on disk and not here yet."""
        for row in await self._database.read("list_watches"):
            found = watched(row)
            rollout = await self._rollout(found.rollout)
            if rollout.alias not in self._watches:
                await self._take_up(found, rollout)

    async def _take_up(self, found: Watched, rollout: Rollout) -> None:
        key = (rollout.id,)
        rows = await self._database.read("list_after_units", key)
        alarms = await self._database.read("list_alarms", key)
        watch = _Watch(
            rollout=rollout,
            left_s=found.left_s,
            holdback=Holdback(rollout, found.before, rows, arms=await self._arms(rollout)),
            said={alarmed(row).sign for row in alarms},
        )
        self._follow(watch)

    async def _arms(self, rollout: Rollout) -> Arms:
        record = await record_of(self._database, rollout)
        paired = (*record.pairs_before, *record.pairs)
        units = (*record.units_before, *record.units)
        return {
            **{pair.unit: (Arm(pair.arm), 0.0) for pair in paired},
            **{conversation_of(row[1]): (Arm(row[3]), row[4]) for row in units},
        }

    async def _rollout(self, rollout: RolloutId) -> Rollout:
        (row,) = await self._database.read("get_rollout", (rollout,))
        return stored(row).rollout

    def _follow(self, watch: _Watch) -> None:
        self._watches[watch.rollout.alias] = watch
        self._registry.keep(watch.rollout.stable, watch.left_s)
        name = f"watch of {watch.rollout.id}"
        watch.task = asyncio.create_task(self._drive(watch), name=name)
        watch.task.add_done_callback(_report)

    async def close(self) -> None:
        """Stop looking, and note how long is left. Every promotion is watched on at the start."""
        watches = list(self._watches.values())
        for watch in watches:
            self._forget(watch)
            self._count(watch)
        tasks = [watch.task for watch in watches if watch.task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)

    def aliases(self) -> frozenset[ModelName]:
        """The aliases whose last promotion is watched."""
        return frozenset(self._watches)

    # -- what the controller writes and says

    def beginning(self, rollout: Rollout, before: Before) -> tuple[Statement, ...]:
        """To stand in the write that promotes."""
        return (watch_added(rollout, before),)

    def begin(
        self, rollout: Rollout, before: Before, arms: Mapping[str, tuple[Arm, float]]
    ) -> None:
        """Watch what was just promoted. arms: of the conversations of its rollout."""
        holdback = Holdback(rollout, before, arms=arms)
        self._follow(_Watch(rollout=rollout, left_s=rollout.plan.keep_s, holdback=holdback))

    def undoing(
        self, rollout: Rollout, alarm: Alarm | None
    ) -> tuple[tuple[Statement, ...], tuple[Note, ...]]:
        """To stand in the write that takes a promotion back. rollout: as it is then."""
        at = self._clock.now().isoformat()
        ended = watch_ended(rollout.id, rollout.reason, at=at)
        if alarm is None:
            return (ended,), ()
        note = drift_note(rollout, alarm, who=HOUSE)
        return (alarm_added(rollout.id, alarm, at=at), ended), (note,)

    def replacing(
        self, alias: ModelName, by: RolloutId, *, who: str
    ) -> tuple[tuple[Statement, ...], tuple[Note, ...]]:
        """To stand in the write that begins the next rollout of an alias."""
        watch = self._watches.get(alias)
        if watch is None:
            return (), ()
        why = f"the next rollout of {alias} began: {by}"
        at = self._clock.now().isoformat()
        note = retired_note(watch.rollout, why, who=who)
        return (watch_ended(watch.rollout.id, why, at=at),), (note,)

    def over(self, alias: ModelName, why: str | None = None) -> None:
        """What ends the watch of an alias is written. why: None where nothing is to be told."""
        watch = self._watches.get(alias)
        if watch is None:
            return
        self._forget(watch)
        self._registry.keep(watch.rollout.stable, None)
        if why is not None:
            self._announce(watch.rollout, "retired", reason=why)

    def _forget(self, watch: _Watch) -> None:
        self._watches.pop(watch.rollout.alias, None)
        if watch.task is not None and watch.task is not asyncio.current_task():
            watch.task.cancel()

    # -- traffic

    def draw(
        self, alias: ModelName, conversation: str, fits: Callable[[VersionId], bool]
    ) -> Assignment | None:
        """The side of a watched promotion that a conversation is on; None: it is not watched.

        fits: whether the old version could do what is asked.
        """
        watch = self._watches.get(alias)
        if watch is None or not self._stands(watch.rollout):
            return None
        is_open = self._closed(watch.rollout) is None and fits(watch.rollout.stable)
        return watch.holdback.draw(conversation, is_open=is_open)

    def ended(
        self,
        assignment: Assignment,
        *,
        task: TaskName,
        decision: DecisionId,
        score: float | None,
        ending: Ending | None,
        waits: bool = False,
    ) -> Ended:
        """What to store of an assignment whose request has ended, and what to do once it is."""
        for watch in self._watches.values():
            if watch.rollout.id == assignment.rollout and assignment.is_watched:
                return watch.holdback.ended(
                    assignment,
                    task=task,
                    decision=decision,
                    score=score,
                    ending=ending,
                    waits=waits,
                )
        return (), None

    def waiting(self) -> tuple[Holdback, ...]:
        """Every watched promotion, for the judgements that its units wait for."""
        return tuple(watch.holdback for watch in self._watches.values())

    def _stands(self, rollout: Rollout) -> bool:
        """Whether the alias still means what was promoted."""
        try:
            return self._registry.resolve(rollout.alias).version == rollout.candidate
        except UnknownModel:
            return False

    def _closed(self, rollout: Rollout) -> str | None:
        """Why nobody is held back now: it must cost no load, of either version."""
        if not rollout.plan.holdback:
            return "its plan holds nobody back"
        for version, role in ((rollout.stable, "old"), (rollout.candidate, "new")):
            if self._registry.version(version).artifact.identity is None:
                # what it has in memory is not known at each request, and not ours to fill
                return f"another program runs the {role} version"
            if not self._pool.is_warm(version):
                return f"the {role} version is not in memory"
            ailing = self._pool.ailing().get(version)
            if ailing is not None:
                return f"of the {role} version: {ailing}"
        return None

    def _is_on(self, watch: _Watch) -> bool:
        return self._watches.get(watch.rollout.alias) is watch

    # -- looking

    async def _drive(self, watch: _Watch) -> None:
        last, looks = self._clock.monotonic(), 0
        while self._is_on(watch):
            await self._clock.sleep(LOOK_S)
            now = self._clock.monotonic()
            elapsed = min(max(now - last, 0.0), 2 * LOOK_S)
            watch.left_s = max(0.0, watch.left_s - elapsed)
            last, looks = now, looks + 1
            try:
                await self._hearing.look(watch.holdback, elapsed)
                await self._look(watch)
                if looks % COUNT_EVERY == 0:
                    await self._check(watch)
            except ArbiterError as error:
                # what was not written has not happened; it is tried again
                LOG.warning("the watch of %s waits: %s", watch.rollout.id, error)
                with suppress(ArbiterError):
                    await self._check(watch)

    async def _look(self, watch: _Watch) -> None:
        rollout = watch.rollout
        self._registry.keep(rollout.stable, watch.left_s)
        if not self._stands(rollout):
            await self._retire(watch, f"{rollout.alias} was pointed elsewhere")
            return
        for alarm in tuple(watch.holdback.since.alarms.values()):
            if alarm.sign not in watch.said and self._is_on(watch):
                await self._say(watch, alarm)
        if self._is_on(watch) and not watch.left_s:
            await self._retire(watch, TIME_OVER)

    async def _say(self, watch: _Watch, alarm: Alarm) -> None:
        rollout = watch.rollout
        self._at(Place.ALARMED)
        at = self._clock.now().isoformat()
        if alarm.sign is Sign.SUSPECTED:
            await self._database.write(alarm_added(rollout.id, alarm, at=at))
            watch.said.add(alarm.sign)
            self._announce(rollout, "drift_suspected", reason=alarm.sentence)
        elif rollout.plan.on_drift is OnDrift.ASK or watch.holdback.judged_so_far.judged:
            # whether an answer is judged may hang on who gave it (one that fails has none to be
            # judged): then the alarm's rate is not sure, and a person decides
            note = drift_note(rollout, alarm, who=HOUSE, follows=OnDrift.ASK)
            await self._registry.stand(
                {}, also=(alarm_added(rollout.id, alarm, at=at),), notes=(note,)
            )
            watch.said.add(alarm.sign)
            self._announce(rollout, "drifted", reason=alarm.sentence)
        elif self._registry.places.absent(rollout.stable) is None:
            await self._take_back(rollout, alarm)

    async def _retire(self, watch: _Watch, why: str) -> None:
        rollout, at = watch.rollout, self._clock.now().isoformat()
        await self._registry.stand(
            {},
            also=(watch_ended(rollout.id, why, at=at, once=True),),
            notes=(retired_note(rollout, why, who=HOUSE),),
        )
        self._at(Place.RETIRED)
        self.over(rollout.alias, why)

    async def _check(self, watch: _Watch) -> None:
        """Note how long is left, unless another house or a person has ended it."""
        found = watched((await self._database.read("get_watch", (watch.rollout.id,)))[0])
        if found.ended_at is None:
            self._count(watch)
            self._at(Place.COUNTED)
            return
        await self._registry.load()
        if self._is_on(watch):
            self.over(watch.rollout.alias)

    def _count(self, watch: _Watch) -> None:
        self._database.enqueue(watch_counted(watch.rollout.id, watch.left_s))

    async def view(self, rollout: Rollout) -> WatchView | None:
        """How the promotion of a rollout stands; None when there was none."""
        rows = await self._database.read("get_watch", (rollout.id,))
        if not rows:
            return None
        found = watched(rows[0])
        watch = self._watches.get(rollout.alias)
        if watch is not None and watch.rollout.id == rollout.id:
            until = self._clock.now() + timedelta(seconds=watch.left_s)
            return WatchView(
                left_s=watch.left_s,
                until=until,
                ended_at=None,
                why=None,
                closed=self._closed(rollout),
                since=watch.holdback.since,
                judged=watch.holdback.judged_so_far,
                to_judge=tuple(watch.holdback.waits),
            )
        units = await self._database.read("list_after_units", (rollout.id,))
        then = Holdback(rollout, found.before, units, arms={})
        return WatchView(
            left_s=found.left_s,
            until=None,
            ended_at=found.ended_at,
            why=found.why,
            closed="it is watched by another house" if found.ended_at is None else found.why,
            since=then.since,
            judged=then.judged_so_far,
        )


def _report(task: asyncio.Task[None]) -> None:
    """A fault of ours in the background must not pass in silence."""
    if not task.cancelled() and task.exception() is not None:
        LOG.error("%s is no longer looked at", task.get_name(), exc_info=task.exception())
