"""One version loaded in one runner: a life cycle with a single writer.

    cold ──> loading ──> ready ──> draining ──> cold
               │           │
               └─> failed <┘ (lost)      failed ──> loading

Others never look at the state and act on it: they call `take`, which loads when it must, and
which everybody who comes meanwhile waits for together. A drain lets every lease end first, so an
answer that has begun is never cut by an unload.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from enum import StrEnum
from math import ceil

from arbiter.clock import Clock
from arbiter.config import PoolSettings
from arbiter.cost import Cost, Figure, unknown, unknown_cost
from arbiter.engines.base import Engine, LoadSpec, Runner, ServedRunner
from arbiter.engines.deadlines import within
from arbiter.errors import ArbiterError, Busy, EngineError, LoadFailed, ServerGone
from arbiter.metering.crowd import NO_PROCESS, Crowd, Nobody
from arbiter.metering.meter import Meter
from arbiter.metering.ticket import Ticket
from arbiter.pool.breaker import Sign
from arbiter.pool.health import Health
from arbiter.pool.model_file import ModelFile

BACKOFF_S = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)
"""Pause before the next load after so many failures in a row."""


class State(StrEnum):
    """Where an instance stands in its life."""

    COLD = "cold"
    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"


class Lease:
    """The right to use a runner; counted, so that a drain waits for it.

    instance: whose runner it is. is_served: another program runs it (`ServedRunner`). bounded: it
    is not the house's own work.
    """

    __slots__ = (
        "_crowd",
        "_share",
        "_ticket",
        "bounded",
        "gone",
        "instance",
        "is_served",
        "load_ms",
        "passage",
        "runner",
    )

    def __init__(
        self,
        instance: Instance,
        runner: Runner,
        crowd: Crowd | Nobody | None,
        *,
        is_served: bool,
        bounded: bool,
        load_ms: float = 0.0,
    ) -> None:
        self.instance = instance
        self.runner = runner
        self.is_served = is_served
        self.bounded = bounded
        self.passage = instance.health.begin()
        self.load_ms = load_ms
        """How long it waited for a load, in milliseconds."""
        self.gone = asyncio.Event()
        """Set when the server that runs the version was found gone while this lease lasts."""
        self._crowd = crowd
        self._ticket: Ticket | None = None
        self._share: Figure | None = None

    def start_metering(self) -> None:
        """Begin counting what this lease costs."""
        if self._crowd is not None:
            self._ticket = self._crowd.begin()

    def stop_metering(self) -> Figure:
        """The CPU time in milliseconds that fell to this lease. Asked again, the same figure."""
        if self._share is None:
            self._share = self._stopped()
        return self._share

    @property
    def concurrency(self) -> float | None:
        """Among how many it ran on average, itself included; None when nobody counted."""
        return None if self._ticket is None else self._ticket.concurrency

    def then(self, tell: Callable[[Cost], None]) -> None:
        """Be told what it cost, once that is known: shortly after its end, or at once."""
        if self._ticket is None:
            tell(unknown_cost(NO_PROCESS))
        else:
            self._ticket.then(tell)

    def _stopped(self) -> Figure:
        if self._crowd is None or self._ticket is None:
            return unknown(NO_PROCESS)
        share = self._crowd.end(self._ticket)
        if share.value is None:
            return share
        return Figure(value=share.value / 1e6, method=share.method, note=share.note)


class Instance:
    """A version on this host. The only writer of its own state."""

    def __init__(
        self,
        *,
        engine: Engine,
        spec: LoadSpec,
        clock: Clock,
        meter: Meter,
        settings: PoolSettings,
        on_change: Callable[[Instance, str], None],
        file: ModelFile,
        prepare: Callable[[LoadSpec], LoadSpec] = lambda spec: spec,
    ) -> None:
        self.spec = spec
        self.engine = engine
        self.file = file
        self.state = State.COLD
        self.leases = 0
        self.waiting = 0
        self.last_used = clock.monotonic()
        self.loads = 0
        self.failures = 0
        """Failures in a row, of loads and of runners that were lost without one answer."""
        self.last_error: ArbiterError | None = None
        self.runner: Runner | None = None
        self._is_served = False
        """Whether another program runs it. Found out once a load: a look at every member of a
        protocol, for each request, would cost more than the choice of a model does."""
        self._clock = clock
        self._meter = meter
        self._queue_bound = settings.queue
        self._wait_s = settings.wait_s
        self._on_change = on_change
        self.health = Health(clock)
        self._prepare = prepare
        self._crowd: Crowd | Nobody | None = None
        """Those in flight at the process that does the present runner's work."""
        self._slots = asyncio.Semaphore(spec.slots)
        self._holding = 0
        self._held: Counter[Runner] = Counter()
        self._leased: set[Lease] = set()
        self._lost: set[Runner] = set()
        """Runners that are offered no more and serve their last leases."""
        self._leaving: set[asyncio.Task[None]] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._loading: asyncio.Task[Runner] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._draining: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._not_before = 0.0
        self.was_lost = False
        """Whether what went wrong last was no load, but a runner that had been ready."""

    @property
    def busy(self) -> bool:
        """Whether somebody uses it, waits for it, or it is on its way somewhere."""
        return bool(self.leases or self.waiting) or self.state in {State.LOADING, State.DRAINING}

    async def take(
        self,
        admit: Callable[[], Awaitable[None]],
        *,
        patient: bool = True,
        bounded: bool = True,
    ) -> Lease:
        """A warm runner with a free slot, loaded if need be; `give_back` what this returns.

        admit makes room in memory before a load. patient: wait out the pause after a loss; who
        could be served elsewhere need not. bounded: be refused when too many wait, or when the
        wait is too long; the house's own work waits instead. Raises `Busy` when too many wait
        already, `LoadFailed` or `EngineUnavailable` when it cannot be loaded.
        """
        if bounded and self.waiting >= self._queue_bound:
            raise Busy(
                f"{self.waiting} requests wait for this model already.",
                hint="Try again shortly.",
                retry_after_s=1,
            )
        self.waiting += 1
        try:
            if bounded and self._slots.locked():
                await self._turn()
            else:
                await self._slots.acquire()
        finally:
            self.waiting -= 1
        self.leases += 1
        try:
            asked = self._clock.monotonic()
            runner = await self.ensure_ready(admit, patient=patient)
            # nothing is awaited between the check in ensure_ready and this count, so a drain
            # either sees this lease or this lease saw the drain
            self._holding += 1
            self._held[runner] += 1
            self._idle.clear()
            lease = Lease(
                self,
                runner,
                self._crowd,
                is_served=self._is_served,
                bounded=bounded,
                load_ms=(self._clock.monotonic() - asked) * 1000,
            )
            self._leased.add(lease)
        except BaseException:
            self._leave(bounded=bounded)
            raise
        return lease

    def give_back(self, lease: Lease) -> None:
        """End a lease: its slot is free, and a drain waits for it no more."""
        lease.passage.tell(Sign.NOTHING)
        self._leased.discard(lease)
        self._holding -= 1
        self._let_go(lease.runner)
        if not self._holding:
            self._idle.set()
        self._leave(bounded=lease.bounded)

    def _leave(self, *, bounded: bool) -> None:
        self.leases -= 1
        if bounded:
            # the house's own work is no use: a model must not stay because of its own cases
            self.last_used = self._clock.monotonic()
        self._slots.release()

    async def _turn(self) -> None:
        """A free slot, within the bound on waiting. Raises `Busy` when it comes too late."""
        turn = asyncio.create_task(self._slots.acquire())
        timer = asyncio.create_task(self._clock.sleep(self._wait_s))
        given = False
        try:
            await asyncio.wait({turn, timer}, return_when=asyncio.FIRST_COMPLETED)
            given = turn.done()
        finally:
            timer.cancel()
            turn.cancel()
            (got, _) = await asyncio.gather(turn, timer, return_exceptions=True)
            if got is True and not given:
                self._slots.release()  # it came while the client hung up: the next one's turn
        if not given:
            raise Busy(f"No slot became free in {self._wait_s:.0f} s.", retry_after_s=1)

    async def ensure_ready(
        self, admit: Callable[[], Awaitable[None]], *, patient: bool = True
    ) -> Runner:
        """The runner, once it is ready. Everybody who comes while it loads waits for one load."""
        while True:
            if self.state is State.READY and self.runner is not None:
                if not self.file.is_due:
                    return self.runner
                if self._looking is None:
                    self._looking = asyncio.create_task(self._look(self.runner))
                await asyncio.shield(self._looking)
                continue
            if self.state is State.DRAINING and self._draining is not None:
                # a request that arrives during an unload waits for its end and loads again,
                # rather than slipping into a runner that is about to stop
                await asyncio.shield(self._draining)
                continue
            self._refuse_while_backing_off(patient=patient)
            if self._loading is None:
                self._loading = asyncio.create_task(self._load(admit))
            # shielded: one client that hangs up must not cancel the load that others wait for;
            # then look again, because the state may have changed before this task ran
            await asyncio.shield(self._loading)

    async def _look(self, runner: Runner) -> None:
        """Withdraw a runner whose file is no longer what was registered. Raises `LoadFailed`."""
        try:
            await self.file.ensure_registered()
        except LoadFailed as error:
            self._withdraw(runner, error)
            raise
        finally:
            self._looking = None

    def _refuse_while_backing_off(self, *, patient: bool) -> None:
        """A load that failed is not tried again at once; a runner that was lost is waited for."""
        left = self._not_before - self._clock.monotonic()
        waits = self.was_lost and patient
        error = self.last_error
        if error is not None and left > 0 and not waits:
            # of the same class: whether the version is to blame does not change by waiting
            again = type(error) if isinstance(error, LoadFailed) else LoadFailed
            raise again(
                error.message,
                hint=f"It failed {self.failures} times; the next try is in {left:.0f} s.",
                retry_after_s=int(left) + 1,
            )

    async def _load(self, admit: Callable[[], Awaitable[None]]) -> Runner:
        self._enter(State.LOADING, "loading")
        try:
            await self._clock.sleep(self._not_before - self._clock.monotonic())
            await self._admitted(admit)
            runner = await self._loaded()
        except ArbiterError as error:
            self._loading = None
            self._fail(error)
            if isinstance(error, LoadFailed) and error.retry_after_s is None:
                error.retry_after_s = ceil(self._not_before - self._clock.monotonic())
            raise
        except asyncio.CancelledError:
            self._loading = None
            if self.state is not State.DRAINING:
                self._enter(State.COLD, "the load was cancelled")
            raise
        self._loading = None
        self.loads += 1
        self.runner = runner
        self._is_served = isinstance(runner, ServedRunner)
        # whoever changed the file after it was checked and before it was loaded is found out
        self.file.doubt()
        self._watching = asyncio.create_task(self._watch(runner))
        self._enter(State.READY, "ready")
        return runner

    async def _admitted(self, admit: Callable[[], Awaitable[None]]) -> None:
        async def admitted() -> None:
            await admit()

        try:
            await within(self._clock, self._wait_s, admitted())
        except TimeoutError as error:
            raise LoadFailed(
                f"No memory became free for it in {self._wait_s:.0f} s.",
                hint="Raise pool.memory_mb, or ask fewer models at once.",
            ) from error

    async def _loaded(self) -> Runner:
        try:
            runner = await self.engine.load(self._prepare(self.spec))
        except OSError as error:
            # out of processes, files or memory, or the run folder is gone: said, and tried again
            raise LoadFailed(f"The system refused to load it: {error.strerror}.") from error
        try:
            await self._attend(runner)
        except BaseException:
            # whoever gave up the load meanwhile must not leave a process behind
            await runner.unload()
            raise
        return runner

    async def _attend(self, runner: Runner) -> None:
        """Have what this runner's process does counted, and no more what another one did."""
        before, self._crowd = self._crowd, None
        if before is not None:
            self._meter.leave(before)
        url = runner.place.url if isinstance(runner, ServedRunner) else None
        self._crowd = await self._meter.attend(runner.pid, url=url, reported=runner.reported)

    async def _watch(self, runner: Runner) -> None:
        """Notice that a runner is gone, so that the next request loads a fresh one."""
        words = await runner.wait_lost()
        if self.runner is runner:
            self.runner = None
            self._watching = None
            self._fail(
                EngineError(f"The engine died. Its last words: {words or 'none'}"), lost=True
            )
            await runner.unload()

    def lost(self, runner: Runner) -> None:
        """A request found its runner gone: do not offer it again, even before `_watch` knows.

        Whoever else it serves is served to the end: it may only be this one's connection.
        """
        self._withdraw(runner, EngineError("The engine died while it was serving."), lost=True)

    def part_from(self, url: str, why: str) -> None:
        """A server was found gone: offer its runner no more, and tell whoever waits for it.

        Answers that have begun go on for as long as they can.
        """
        for lease in self._leased:
            if _is_at(lease.runner, url):
                lease.gone.set()
        if self.runner is not None and _is_at(self.runner, url):
            self._withdraw(self.runner, ServerGone(f"{url}: {why}"), lost=True)

    def leave(self, runner: Runner, why: str) -> None:
        """Offer a runner no more, because the version is to be had elsewhere too."""
        self._withdraw(runner, EngineError(f"It failed there: {why}."), lost=True)
        self.health.start_again()

    def _withdraw(self, runner: Runner, error: EngineError, *, lost: bool = False) -> None:
        """Offer a runner no more. Whoever it serves is served to the end."""
        if self.runner is not runner:
            return
        self.runner = None
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None
        self._lost.add(runner)
        self._take_away(runner)
        self._fail(error, lost=lost)

    def _let_go(self, runner: Runner) -> None:
        """One lease less; the last one of a runner that was lost takes it away."""
        self._held[runner] -= 1
        self._take_away(runner)

    def _take_away(self, runner: Runner) -> None:
        """Unload a runner that is offered no more, once nobody holds it."""
        if self._held[runner]:
            return
        del self._held[runner]
        if runner in self._lost:
            self._lost.discard(runner)
            leaving = asyncio.create_task(runner.unload())
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)

    def answered(self) -> None:
        """A request was served: what went wrong before is over."""
        self.failures = 0
        self.last_error = None

    def forgive(self) -> None:
        """What it failed of is over: the next load need not wait."""
        if self.state is State.FAILED:
            self.answered()
            self._not_before = 0.0
            self._enter(State.COLD, "what it waited for is back")

    def _fail(self, error: ArbiterError, *, lost: bool = False) -> None:
        self.failures += 1
        self.last_error = error
        # a runner that died once may be replaced at once: the requests that had not begun wait
        pauses = self.failures - 1 if lost else self.failures
        pause = BACKOFF_S[min(pauses, len(BACKOFF_S) - 1)]
        self.was_lost = lost
        self._not_before = self._clock.monotonic() + pause
        if self.state is not State.DRAINING:
            # a drain that is under way ends in COLD by itself; a load under its feet would be lost
            self._enter(State.FAILED, error.message)

    async def drain(self, reason: str, *, give_up_load: bool = False) -> None:
        """Let every lease end, then unload. Idempotent; new requests wait and load again.

        give_up_load: end a load instead of seeing it through. Whoever waits for it is cancelled.
        """
        if self._draining is None and self.state is not State.COLD:
            if give_up_load and self._loading is not None:
                self._loading.cancel()
            if give_up_load or self.state is not State.LOADING:
                # from this moment on, not from when the task runs: nobody slips in between
                self._enter(State.DRAINING, reason)
            self._draining = asyncio.create_task(self._drain(reason))
        if self._draining is not None:
            await asyncio.shield(self._draining)

    async def _drain(self, reason: str) -> None:
        try:
            if self._loading is not None:
                await asyncio.wait({self._loading})
            self._enter(State.DRAINING, reason)
            while self._holding:
                await self._idle.wait()
            runner, self.runner = self.runner, None
            if self._watching is not None:
                self._watching.cancel()
                self._watching = None
            if runner is not None:
                await runner.unload()
            await asyncio.gather(*self._leaving)
            self._enter(State.COLD, reason)
        finally:
            self._draining = None

    async def abandon(self) -> None:
        """Unload without waiting for anybody: those being served get an error."""
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.gather(self._loading, return_exceptions=True)
        runner, self.runner = self.runner, None
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None
        if runner is not None:
            await runner.unload()

    def _enter(self, state: State, reason: str) -> None:
        self.state = state
        self._on_change(self, reason)


def _is_at(runner: Runner, url: str) -> bool:
    return isinstance(runner, ServedRunner) and runner.place.url == url
