"""One version loaded in one runner: a life cycle (`arbiter.pool.life`) with a single writer.

Others never look at the state and act on it: they call `take`, which loads when it must, and
which everybody who comes meanwhile waits for together. A drain lets every lease end first, so an
answer that has begun is never cut by an unload. When that takes too long, the drain is called off
and the instance serves on, unless a person said to cut.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from arbiter.clock import Clock
from arbiter.config import PoolSettings
from arbiter.engines.base import Engine, LoadSpec, Runner, ServedRunner
from arbiter.engines.deadlines import within
from arbiter.errors import ArbiterError, Busy, EngineError, LoadFailed, ServerGone, ShuttingDown
from arbiter.metering.crowd import Crowd, Nobody
from arbiter.metering.meter import Meter
from arbiter.pool.breaker import Sign
from arbiter.pool.emptying import Emptying
from arbiter.pool.failures import Failures
from arbiter.pool.fairness import HOUSE, Who
from arbiter.pool.health import Health
from arbiter.pool.lease import Lease, Leases, is_at
from arbiter.pool.life import Move, State, moved
from arbiter.pool.loadable import key_of
from arbiter.pool.model_file import ModelFile
from arbiter.pool.turns import SentOn, Turns
from arbiter.pool.usage import Usage

__all__ = ["Instance", "Lease", "State"]

Admit = Callable[[], Awaitable[None]]
"""Makes room in memory before a load."""


class Instance:
    """A version on this host. The only writer of its own state."""

    def __init__(  # noqa: PLR0913  # what it stands on
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
        number: int = 1,
    ) -> None:
        self.spec = spec
        self.short_of: Callable[[], str | None] = lambda: None
        """What it waits for, or waited for last, before a load."""
        self.number = number
        """Which of its version's instances it is, from 1 on."""
        self.is_better_elsewhere: Callable[[], bool] = lambda: False
        """Whether another instance of its version had better serve who waits here for a drain."""
        self.key = key_of(spec.version, number)
        self.engine = engine
        self.file = file
        self.state = State.COLD
        self.since = clock.monotonic()
        """When it came to be as it is, by the monotonic clock."""
        self.turns = Turns(clock, slots=spec.slots, bound=settings.queue, wait_s=settings.wait_s)
        self.usage = Usage(clock.monotonic())
        self.leases = self.loads = 0
        self.load_s: float | None = None
        """How long the engine took for the latest load."""
        self.failures = Failures(clock)
        self.runner: Runner | None = None
        self._is_served = False
        """Whether another program runs it. Found out once a load: a look at every member of a
        protocol, for each request, would cost more than the choice of a model does."""
        self._clock = clock
        self._meter = meter
        self._wait_s = settings.wait_s
        self._on_change = on_change
        self.health = Health(clock)
        self._prepare = prepare
        self._crowd: Crowd | Nobody | None = None
        """Those in flight at the process that does the present runner's work."""
        self._lent = Leases()
        self._emptying = Emptying(self._lent, clock)
        self._wanted = 0
        """How many wait for it to be ready."""
        self._is_admitted = False
        self._is_unserved = False
        self._loading: asyncio.Task[Runner] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._draining: asyncio.Task[bool] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._is_abandoned = False
        self._next: LoadSpec | None = None
        """How it is to be loaded from the next load on, where that is otherwise than now."""
        self.before_ready: Callable[[], Awaitable[None]] | None = None
        """Waited for between a load and its being announced: what is to be measured is read."""

    def reconfigure(self, spec: LoadSpec, settings: PoolSettings) -> None:
        """Have other bounds from now on, and be loaded otherwise from the next load on."""
        self.turns.bind(bound=settings.queue, wait_s=settings.wait_s)
        self._wait_s = settings.wait_s
        self._next = None if spec == self.spec else spec
        if self.is_away:
            self._take_up()

    def _take_up(self) -> None:
        if self._next is not None:
            self.turns.resize(self._next.slots)
            self.spec, self._next = self._next, None

    @property
    def is_outdated(self) -> bool:
        """Whether it is in memory in a way that is no longer wanted."""
        return self._next is not None and self.state is State.READY

    @property
    def outstanding(self) -> int:
        """How many it serves, or is to serve: what a balancer weighs."""
        return self.leases + len(self.turns)

    @property
    def is_paused(self) -> bool:
        """Whether a load failed so lately that it is not tried again yet."""
        return self.state is State.FAILED and self.failures.left_s > 0

    @property
    def waiting(self) -> int:
        """How many wait for a slot."""
        return len(self.turns)

    @property
    def busy(self) -> bool:
        """Whether somebody uses it, waits for it, or it is on its way somewhere."""
        return bool(self.leases or self.turns or self._wanted) or self.state in {
            State.LOADING,
            State.DRAINING,
        }

    @property
    def is_away(self) -> bool:
        """Whether it is not in memory, and nobody is about to change that."""
        return self.state in {State.COLD, State.FAILED}

    @property
    def is_unserved(self) -> bool:
        """Whether it is ready and has answered nobody since its load."""
        return self.state is State.READY and self._is_unserved

    @property
    def is_engine_loading(self) -> bool:
        """Whether its engine loads it now: it has room already, and waits for nobody."""
        return self.state is State.LOADING and self._is_admitted

    async def take(
        self, admit: Admit, *, who: Who = HOUSE, patient: bool = True, bounded: bool = True
    ) -> Lease:
        """A warm runner with a free slot, loaded if need be; `give_back` what this returns.

        who: whose turn it is is decided by that. patient: wait out the pause after a loss; who
        could be served elsewhere need not. bounded: be refused when too many wait, or when the
        wait is too long; the house's own work waits instead. Raises `Busy` when too many wait
        already, `LoadFailed` or `EngineUnavailable` when it cannot be loaded.
        """
        if bounded:
            self.turns.check(who)
        if not self.turns.take_free():
            await self.turns.take(who, bounded=bounded)
        self.leases += 1
        asked = self._clock.monotonic()
        try:
            runner = self._ready_runner() or await self.ensure_ready(
                admit, patient=patient, roams=True
            )
        except BaseException:
            self.leases -= 1
            self.turns.give()
            raise
        return self._lend(runner, bounded=bounded, asked=asked)

    def take_idle(self) -> Lease | None:
        """A lease at once, if it is ready and nobody uses it; else None. Nothing is loaded."""
        if self.busy or self.runner is None or not self.turns.take_free():
            return None
        self.leases += 1
        return self._lend(self.runner, bounded=False, asked=self._clock.monotonic())

    def _lend(self, runner: Runner, *, bounded: bool, asked: float) -> Lease:
        # nothing is awaited between the check in ensure_ready and this count, so a drain
        # either sees this lease or this lease saw the drain
        now = self._clock.monotonic()
        lease = Lease(
            self,
            runner,
            self._crowd,
            is_served=self._is_served,
            bounded=bounded,
            since=now,
            load_ms=(now - asked) * 1000,
        )
        self._lent.begin(lease)
        return lease

    def give_back(self, lease: Lease) -> None:
        """End a lease: its slot is free, and a drain waits for it no more."""
        lease.passage.tell(Sign.NOTHING)
        now = self._clock.monotonic()
        self._lent.end(lease)
        self.leases -= 1
        self._is_unserved = False
        if lease.bounded:
            # the house's own work is no use: a model must not stay because of its own cases
            self.usage.add(now)
        self.turns.held(now - lease.since)
        self.turns.give()

    async def ensure_ready(
        self, admit: Admit, *, patient: bool = True, roams: bool = False
    ) -> Runner:
        """The runner, once it is ready. Everybody who comes while it loads waits for one load.

        roams: raise `SentOn` where another instance of the version had better be asked.
        """
        if (runner := self._ready_runner()) is not None:
            return runner
        self._wanted += 1
        try:
            return await self._ready(admit, patient=patient, roams=roams)
        finally:
            self._wanted -= 1
            if not self._wanted and self._loading is not None and not self._is_admitted:
                # everybody who wanted it hung up while it waited for memory: nobody has to leave
                self._loading.cancel()

    def _ready_runner(self) -> Runner | None:
        """The runner, where nobody has to wait for it."""
        is_ready = self.state is State.READY and not self.file.is_due
        return self.runner if is_ready else None

    async def _ready(self, admit: Admit, *, patient: bool, roams: bool) -> Runner:
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
                if roams and self.is_better_elsewhere():
                    raise SentOn
                continue
            if self._is_abandoned:
                raise ShuttingDown
            self.failures.refuse(patient=patient)
            if self._loading is None:
                self._is_admitted = False
                self._take_up()
                # from this moment on, not from when the task runs: a drain would slip in between
                self._enter(Move.LOAD, "loading")
                self._loading = asyncio.create_task(self._load(admit))
                self._loading.add_done_callback(self._load_ended)
            # only waited for: one client that hangs up must not cancel what others wait for; then
            # look again, because the state may have changed before this task ran
            loading = self._loading
            await asyncio.wait({loading})
            if not loading.cancelled():
                loading.result()

    def _load_ended(self, loading: asyncio.Task[Runner]) -> None:
        """Also when it was cancelled before it began, or nobody is left to hear how it went."""
        if not loading.cancelled():
            loading.exception()
        if self._loading is loading:
            self._loading = None
            if self.state is State.LOADING:
                self._enter(Move.GIVE_UP, "the load was given up")

    async def _look(self, runner: Runner) -> None:
        """Withdraw a runner whose file is no longer what was registered. Raises `LoadFailed`."""
        try:
            await self.file.ensure_registered()
        except LoadFailed as error:
            self._withdraw(runner, error)
            raise
        finally:
            self._looking = None

    async def _load(self, admit: Admit) -> Runner:
        try:
            await self._clock.sleep(self.failures.left_s)
            await self._admitted(admit)
            self._is_admitted = True
            began = self._clock.monotonic()
            runner = await self._loaded()
            self.load_s = self._clock.monotonic() - began
            await self._attend(runner)
        except Busy as error:
            # nobody's fault: there was no room in time
            self._loading = None
            self._enter(Move.GIVE_UP, error.message)
            raise
        except ArbiterError as error:
            self._loading = None
            self._fail(error)
            self.failures.dated(error)
            raise
        self._loading = None
        self.loads += 1
        self._is_unserved = True
        self.runner = runner
        self._is_served = isinstance(runner, ServedRunner)
        where = runner.place.url if isinstance(runner, ServedRunner) else ""
        self.health.pace.runs(f"{where} {self.spec.context} {self.spec.slots} {self.spec.threads}")
        # whoever changed the file after it was checked and before it was loaded is found out
        self.file.doubt()
        self._watching = asyncio.create_task(self._watch(runner))
        self._enter(Move.LOADED, "ready")
        return runner

    async def _admitted(self, admit: Admit) -> None:
        async def admitted() -> None:
            await admit()

        try:
            await within(self._clock, self._wait_s, admitted())
        except TimeoutError as error:
            why = self.short_of()
            raise Busy(
                f"No memory became free for it in {self._wait_s:.0f} s{f': {why}' if why else ''}.",
                hint="Raise pool.memory_mb, or ask fewer models at once.",
                retry_after_s=self.turns.retry_after_s,
            ) from error

    async def _loaded(self) -> Runner:
        try:
            return await self.engine.load(self._prepare(self.spec))
        except OSError as error:
            # out of processes, files or memory, or the run folder is gone: said, and tried again
            raise LoadFailed(f"The system refused to load it: {error.strerror}.") from error

    async def _attend(self, runner: Runner) -> None:
        """Have what this runner's process does counted, and no more what another one did."""
        before, self._crowd = self._crowd, None
        if before is not None:
            self._meter.leave(before)
        url = runner.place.url if isinstance(runner, ServedRunner) else None
        try:
            self._crowd = await self._meter.attend(runner.pid, url=url, reported=runner.reported)
            if self.before_ready is not None:
                await self.before_ready()
        except BaseException:
            # whoever gave up the load meanwhile must not leave a process behind
            await runner.unload()
            raise

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
        for lease in self._lent.at(url):
            lease.gone.set()
        if self.runner is not None and is_at(self.runner, url):
            self._withdraw(self.runner, ServerGone(f"{url}: {why}"), lost=True)

    def leave(self, runner: Runner, why: str) -> None:
        """Offer a runner no more, because the version is to be had elsewhere too."""
        if self.runner is not runner:
            return
        self._withdraw(runner, EngineError(f"It failed there: {why}."), lost=True)
        self.health.start_again()

    def _withdraw(self, runner: Runner, error: EngineError, *, lost: bool = False) -> None:
        """Offer a runner no more. Whoever it serves is served to the end."""
        if self.runner is not runner:
            return
        self._let_go_of_runner()
        self._lent.withdraw(runner)
        self._fail(error, lost=lost)

    def _let_go_of_runner(self) -> Runner | None:
        """Offer the runner no more, and watch it no more; whoever calls this unloads it."""
        runner, self.runner = self.runner, None
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None
        return runner

    def answered(self) -> None:
        """A request was served: what went wrong before is over."""
        self.failures.answered()

    def forgive(self) -> None:
        """What it failed of is over: the next load need not wait."""
        if self.state is State.FAILED:
            self.failures.forgive()
            self._enter(Move.FORGIVE, "what it waited for is back")

    def _fail(self, error: ArbiterError, *, lost: bool = False) -> None:
        self.failures.add(error, lost=lost)
        if self.state in {State.LOADING, State.READY}:
            # a drain that is under way ends in COLD by itself; a load under its feet would be lost
            self._enter(Move.FAIL, error.message)

    async def drain(
        self, reason: str, *, limit_s: float | None = None, cut: bool = False, give_up: bool = False
    ) -> bool:
        """Let every lease end, then unload; new requests wait and load again. Idempotent.

        limit_s: how long that may take; then the drain is called off, the instance serves on, and
        this is False. cut: unload at once; whoever is being served gets an error. give_up: end a
        load instead of seeing it through; whoever waits for it is cancelled.
        """
        if self._draining is None and self.state is not State.COLD:
            if give_up and self._loading is not None:
                self._loading.cancel()
            if give_up or self.state is not State.LOADING:
                # from this moment on, not from when the task runs: nobody slips in between
                self._enter(Move.DRAIN, reason)
            self._emptying.begin()
            self._draining = asyncio.create_task(self._drain(reason, limit_s))
        if cut:
            self._emptying.cut()
        return True if self._draining is None else await asyncio.shield(self._draining)

    async def _drain(self, reason: str, limit_s: float | None) -> bool:
        try:
            while self._loading is not None:
                await asyncio.wait({self._loading})
            if self.state is not State.DRAINING:
                self._enter(Move.DRAIN, reason)
            if not await self._emptying.is_done(limit_s) and self.runner is not None:
                self._enter(Move.CALL_OFF, f"still in use after {limit_s:.0f} s: {reason}")
                return False
            runner = self._let_go_of_runner()
            if runner is not None:
                await runner.unload()
            await self._lent.left()
            self._enter(Move.DRAINED, reason)
            return True
        finally:
            self._draining = None

    async def abandon(self) -> None:
        """Unload without waiting for anybody, for good: those being served get an error."""
        self._is_abandoned = True
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.wait({self._loading})
        await self.drain("the house closes", cut=True)

    def _enter(self, move: Move, reason: str) -> None:
        self.state = moved(self.state, move)
        self.since = self._clock.monotonic()
        self._on_change(self, reason)
