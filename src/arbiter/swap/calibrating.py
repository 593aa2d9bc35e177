"""Runs graded cases in idle time, so that a pick is right before anybody depended on it.

What is left to run is derived from the stored results at every look, so a restart goes on where
the last house stopped. `calibration_plan` says what is worth running; here it is done, one case
at a time, and only while nobody waits for an answer. Whoever comes has the machine at once: a
case that is under way is cut, is no measurement, and is run again later. No model that people use
leaves memory for a case.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from arbiter.clock import Clock
from arbiter.config import CalibrationSettings
from arbiter.errors import ArbiterError
from arbiter.events import Announcer, Event
from arbiter.knowledge.profiles import Profiles
from arbiter.knowledge.tasks import Case, Task, Tasks
from arbiter.pool.instance import State
from arbiter.pool.pool import Pool, loadable
from arbiter.pool.presence import Presence
from arbiter.refs import ModelName, VersionId, short
from arbiter.registry.registry import Registry, Standing, Version
from arbiter.storage.database import Database
from arbiter.swap import calibration_plan as planning
from arbiter.swap.calibration_plan import Stage, Wish
from arbiter.swap.examining import Examining
from arbiter.swap.validation import CaseResult, Validator

LOG = logging.getLogger(__name__)

LOOK_EVERY_S = 60.0
"""How often to look for something to do, when there was nothing or something is in the way."""

TRY_AGAIN_S = 600.0
"""Pause before a version that could not be run is tried again."""

UNUSED_S = 600.0
"""Who was not asked for in this long may leave memory for a case, and loads again when asked.

For models of another program it is how long nobody may have been served at all: who leaves that
program's memory is not ours to say.
"""

BATCH = 4
"""Cases to run before the plan is made anew: making it costs little, and more with every task."""

DAY = timedelta(days=1)


class Activity(StrEnum):
    """What is being done about graded cases."""

    OFF = "off"
    RUNNING = "running"
    WAITING = "waiting"
    DONE = "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hindrance:
    """Why no case may begin now, and when to look again."""

    why: str
    pause_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A version at a task, for people. waits: what is in the way of the cases that are left."""

    name: ModelName
    wish: Wish
    waits: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationView:
    """How far everything has come. today: cases that were run in the last 24 hours."""

    activity: Activity
    why: str
    today: int
    per_day: int
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """The rooms that it works with."""

    registry: Registry
    tasks: Tasks
    pool: Pool
    profiles: Profiles
    validator: Validator
    presence: Presence
    database: Database
    clock: Clock
    announcer: Announcer


class Calibrating:
    """The background work for graded cases. The only one that runs them unasked.

    most: cases of a task that may be run. on_battery: whether this machine runs on its battery,
    None when nobody knows. capabilities: what a version can do with the engine that runs it here.
    """

    def __init__(
        self,
        around: Around,
        *,
        settings: CalibrationSettings,
        most: int,
        examining: Examining,
        on_battery: Callable[[], bool | None],
        capabilities: Callable[[Version], frozenset[str]],
    ) -> None:
        self._most = most
        self.examining = examining
        """What is run again, and why."""
        self._settings = settings
        self._on_battery = on_battery
        self._capabilities = capabilities
        self._registry = around.registry
        self._tasks = around.tasks
        self._pool = around.pool
        self._profiles = around.profiles
        self._validator = around.validator
        self._presence = around.presence
        self._database = around.database
        self._clock = around.clock
        self._announcer = around.announcer
        self._activity = Activity.WAITING if settings.enabled else Activity.OFF
        self._why = "" if settings.enabled else "calibration.enabled is off"
        self._held_up: dict[VersionId, tuple[float, str]] = {}
        self._at_work: VersionId | None = None
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Run cases in idle time from now on, if the settings say so."""
        if self._settings.enabled:
            self._task = asyncio.create_task(self._run(), name="graded cases in idle time")
            self._task.add_done_callback(_report)

    async def close(self) -> None:
        """Stop. What is left is left to the next house."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def view(self) -> CalibrationView:
        """What is done, what is left, and what waits for what."""
        wishes = await self._wishes()
        return CalibrationView(
            activity=self._activity,
            why=self._why,
            today=await self._today(),
            per_day=self._settings.cases_per_day,
            entries=tuple(
                Entry(
                    name=self._registry.names_of(wish.standing.version)[0],
                    wish=wish,
                    waits=self._waits(wish.standing.version) if wish.left else None,
                )
                for wish in wishes
                if self._registry.names_of(wish.standing.version)
            ),
        )

    async def _run(self) -> None:
        while True:
            try:
                pause_s = await self._step()
            except ArbiterError as error:
                # the disk, say: nobody waits for this, and a later look may find it well again
                pause_s = self._wait(Hindrance(why=error.sentence, pause_s=LOOK_EVERY_S))
            await self._clock.sleep(pause_s)

    async def _step(self) -> float:
        """Do one thing, or nothing; seconds until the next look."""
        hindrance = await self._hindrance()
        if hindrance is not None:
            return self._wait(hindrance)
        if self._settings.examine:
            await self.examining.look()
        wishes = await self._wishes()
        left = [wish for wish in wishes if wish.left]
        ready = next((w for w in left if self._waits(w.standing.version) is None), None)
        if self._at_work is not None and (ready is None or ready.standing.version != self._at_work):
            await self._pool.let_spare_go(self._at_work, reason="its graded cases were run")
            self._at_work = None
        if ready is not None:
            await self._carry_out(ready)
            return 0.0
        if left:
            why = self._waits(left[0].standing.version) or ""
            return self._wait(Hindrance(why=why, pause_s=LOOK_EVERY_S))
        if self._activity is not Activity.DONE:
            self._turn(Activity.DONE, "nothing is left to run")
        return LOOK_EVERY_S

    async def _hindrance(self) -> Hindrance | None:
        """Why no case may begin now."""
        settings = self._settings
        left = settings.idle_s - self._presence.quiet_s
        if self._presence.is_anybody_here or left > 0:
            why = f"somebody is being served, or was less than {settings.idle_s:g} s ago"
            return Hindrance(why=why, pause_s=max(left, 1.0))
        if not settings.on_battery:
            battery = await asyncio.to_thread(self._on_battery)
            if battery is not False:
                why = "this machine runs on its battery"
                if battery is None:
                    why = "nobody can say whether this machine runs on its battery"
                return Hindrance(why=f"{why} (calibration.on_battery)", pause_s=LOOK_EVERY_S)
        if await self._today() >= settings.cases_per_day:
            why = f"{settings.cases_per_day} cases were run in 24 hours (calibration.cases_per_day)"
            return Hindrance(why=why, pause_s=LOOK_EVERY_S)
        return None

    async def _today(self) -> int:
        since = (self._clock.now() - DAY).isoformat()
        ((count,),) = await self._database.read("count_validations_since", (since, since))
        return int(count or 0)

    async def _wishes(self) -> tuple[Wish, ...]:
        states = self._pool.states()
        tasks = [one for one in self._tasks.in_force() if one.cases and one.grading is not None]
        standings: list[planning.Standing] = []
        for version in self._registry.versions():
            # a long table is gone through in pieces: somebody may be about to ask for something
            await self._clock.sleep(0)
            id_ = version.version
            if version.standing is not Standing.ACTIVE or not self._registry.names_of(id_):
                continue
            if not self._validator.can_take(id_):
                continue
            can = self._capabilities(version)
            for task in tasks:
                tally = await self._validator.tally(id_, task, most=self._most)
                profile = self._profiles.get(id_, task.name)
                standings.append(
                    planning.Standing(
                        version=id_,
                        task=task.name,
                        cases=tally.done + len(tally.left),
                        done=tally.done,
                        graded=profile.graded,
                        quality=profile.quality,
                        is_choice=not can or task.limits.abilities <= can,
                        is_loaded=states.get(id_) is State.READY,
                    )
                )
        planned = await asyncio.to_thread(
            planning.plan, standings, first=self._settings.first_cases
        )
        if not self._settings.examine:
            return planned
        loaded = frozenset(id_ for id_, state in states.items() if state is State.READY)
        return planning.with_again(await self.examining.wishes(loaded=loaded), planned)

    def _waits(self, version: VersionId) -> str | None:
        """What is in the way of a version's cases, as far as is known."""
        until, why = self._held_up.get(version, (0.0, ""))
        return why if until > self._clock.monotonic() else None

    def _hold_up(self, version: VersionId, why: str, *, pause_s: float = LOOK_EVERY_S) -> None:
        self._held_up[version] = (self._clock.monotonic() + pause_s, why)

    async def _carry_out(self, wish: Wish) -> None:
        """Run some of the cases that are left, until somebody comes."""
        id_ = wish.standing.version
        try:
            task = self._tasks.get(wish.standing.task)
            name, *_ = self._registry.names_of(id_) or (None,)
            if name is None:
                return  # it lost its last name meanwhile
            if not await self._is_ready(self._registry.version(id_)):
                return
            self._turn(Activity.RUNNING, f"{name} at {task.name}: {wish.why}")
            left, done = await self._left(wish, task)
            for case in left[: min(wish.left, BATCH)]:
                if await self._hindrance() is not None:
                    return
                attempt = self._attempt(id_, name, task, case)
                result = await self._presence.unless_somebody_comes(attempt)
                if result is None or self._tasks.get(task.name) is not task:
                    return
                if wish.stage is Stage.AGAIN:
                    await self.examining.keep(id_, task, result)
                else:
                    await self._validator.keep(id_, task, result)
                done += 1
                self._tell(
                    "case", version=id_, task=task.name, done=done, total=wish.upto, reason=wish.why
                )
        except ArbiterError as error:
            LOG.warning("the graded cases wait for %s: %s", short(id_), error.sentence)
            self._hold_up(id_, error.sentence, pause_s=TRY_AGAIN_S)

    async def _left(self, wish: Wish, task: Task) -> tuple[tuple[Case, ...], int]:
        """Which cases are to be run, and how many are done."""
        version = wish.standing.version
        if wish.stage is Stage.AGAIN:
            return await self.examining.left(version, task), wish.standing.done
        tally = await self._validator.tally(version, task, most=self._most)
        return tally.left, tally.done

    async def _is_ready(self, version: Version) -> bool:
        """Whether a case can be run at once; loads the version where nobody is put out by that."""
        id_, wanted = version.version, loadable(version)
        why = (
            self._pool.unavailable(version.artifact.format)
            or self._registry.places.absent(id_)
            or self._pool.ailing().get(id_)
        )
        if why is None and wanted.is_outside and self._presence.unused_s < UNUSED_S:
            why = (
                "another program runs it, and might put out what somebody used in the last "
                f"{UNUSED_S / 60:.0f} minutes"
            )
        if why is not None:
            self._hold_up(id_, why)
            return False
        if self._pool.states().get(id_) is not State.READY:
            self._at_work = id_
            await self._presence.unless_somebody_comes(
                self._pool.warm_spare(wanted, unused_s=UNUSED_S)
            )
        if self._pool.states().get(id_) is State.READY:
            return True
        if not self._presence.is_anybody_here:
            self._hold_up(id_, "there is no room for it beside what people use")
        return False

    async def _attempt(
        self, version: VersionId, name: ModelName, task: Task, case: Case
    ) -> CaseResult | None:
        async with self._presence.spare:
            # nothing is awaited between this look and the lease: a case never makes the pool load,
            # and so never makes room
            if self._pool.states().get(version) is not State.READY:
                return None
            return await self._validator.attempt(version, name, task, case)

    def _wait(self, hindrance: Hindrance) -> float:
        if self._activity is not Activity.WAITING or self._why != hindrance.why:
            self._turn(Activity.WAITING, hindrance.why)
        return hindrance.pause_s

    def _turn(self, activity: Activity, why: str) -> None:
        was, self._activity, self._why = self._activity, activity, why
        if activity is not was and activity is not Activity.RUNNING:
            self._tell(activity.value, reason=why)

    def _tell(self, what: str, **detail: str | int) -> None:
        self._announcer.announce(
            Event(kind=f"calibration.{what}", at=self._clock.now(), detail=detail)
        )


def _report(task: asyncio.Task[None]) -> None:
    """A fault of ours in the background must not pass in silence."""
    if not task.cancelled() and task.exception() is not None:
        LOG.error("%s are no longer run", task.get_name(), exc_info=task.exception())
