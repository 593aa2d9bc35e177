"""The journey of a request, top to bottom: task, pick, arm, instance, tokens, outcome.

Everything before the first byte may be tried again: on a fresh instance when one died, on the
stable version when the candidate failed, on the next pick when the caller left the choice to the
house. After the first byte nothing is: an engine's death then ends the stream with an error.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from random import Random
from typing import assert_never

from arbiter.clock import Clock
from arbiter.cost import Figure, unknown
from arbiter.engines.base import Runner
from arbiter.errors import (
    ArbiterError,
    Busy,
    CannotDo,
    EngineError,
    EngineRefused,
    InstanceLost,
    LoadFailed,
    NothingCapable,
    ServerGone,
    ShuttingDown,
    Unexpected,
    UnknownTask,
)
from arbiter.inference import (
    Arm,
    Ask,
    Auto,
    Chunk,
    Decided,
    Delta,
    Dropped,
    Embedding,
    Finish,
    Generation,
    Limits,
    Named,
    Pinned,
    Timings,
    Usage,
    Work,
    lacking,
    needed,
)
from arbiter.judge.grading import TaskGrader
from arbiter.knowledge.guess import Guess
from arbiter.knowledge.guesser import Guesser
from arbiter.knowledge.outcomes import NO_FAULT, Attempt, Outcome, Outcomes, Status
from arbiter.knowledge.profiles import Profiles
from arbiter.knowledge.prompts import Prompts
from arbiter.knowledge.rules import Rules
from arbiter.knowledge.tasks import Task, Tasks
from arbiter.pool.instance import Instance, Lease
from arbiter.pool.pool import Pool, loadable
from arbiter.pool.presence import Presence
from arbiter.refs import GENERAL, DecisionId, ModelName, TaskName, VersionId, new_id, short
from arbiter.registry.registry import Registry, Version
from arbiter.selection.contender import (
    Choice,
    Contender,
    Preference,
    Scored,
    Seen,
    Situation,
)
from arbiter.selection.selector import Selector
from arbiter.swap.analysis import Failure
from arbiter.swap.controller import Controller
from arbiter.swap.traffic import Assignment, Ended, failure_of

MOST_FALLBACKS = 3
"""How many versions that failed one request may be replaced by the next; a server that is gone is
found out at once and costs nothing, so it does not count."""

FRESH_TRIES = 3
"""How often one request may find its instance dead before its first byte."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Route:
    """Where a request goes: the alias, its versions in the order to try, and why."""

    task: Task
    alias: ModelName
    versions: tuple[Version, ...]
    reason: str
    probability: float = 1.0
    assignment: Assignment | None = None
    fallback: ModelName | None = None
    scored: tuple[Scored, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    guess: Guess | None = None

    @property
    def arm(self) -> Arm:
        return Arm.NONE if self.assignment is None else self.assignment.arm


@dataclass(slots=True, kw_only=True)
class _Receipt:
    """What an answer turned out to cost; filled when its stream has ended."""

    latency_ms: float | None = None
    ttft_ms: float | None = None
    cpu_ms: Figure | None = None
    usage: Usage = Usage()
    timings: Timings = Timings()


class _Served:
    """An answer that has begun (`arbiter.inference.Reply`)."""

    def __init__(
        self,
        *,
        decided: Decided,
        first: Chunk,
        rest: AsyncIterator[Chunk],
        lease: Lease,
        clock: Clock,
        started: float,
        timed: bool,
    ) -> None:
        self.decided = decided
        self.receipt = _Receipt()
        self.text: list[str] = []
        self.is_text = True
        """Whether nothing but text has come: no tool call, no vector."""
        self.finished = False
        self.error: ArbiterError | None = None
        self._first = first
        self._rest = rest
        self._lease = lease
        self._clock = clock
        self._started = started
        if timed:
            self.receipt.ttft_ms = (clock.monotonic() - started) * 1000

    async def chunks(self) -> AsyncIterator[Chunk]:
        """The answer, piece by piece."""
        if self._take(self._first):
            yield self._first
            return
        yield self._first
        try:
            async for chunk in self._rest:
                self._take(chunk)
                yield chunk
        except ArbiterError as error:
            self.error = error
            raise

    def _take(self, chunk: Chunk) -> bool:
        if isinstance(chunk, Delta):
            self.text.append(chunk.text)
            return False
        if not isinstance(chunk, Finish):
            self.is_text = False
            return False
        self.finished = True
        self.receipt.usage = chunk.usage
        self.receipt.timings = chunk.timings
        self.receipt.latency_ms = (self._clock.monotonic() - self._started) * 1000
        self.receipt.cpu_ms = self._lease.stop_metering()
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Behind:
    """The rooms that a request passes through."""

    registry: Registry
    tasks: Tasks
    rules: Rules
    profiles: Profiles
    outcomes: Outcomes
    prompts: Prompts
    guesser: Guesser | None
    """None where tasks are not to be guessed."""
    pool: Pool
    presence: Presence
    controller: Controller
    selector: Selector
    situation: Situation
    grader: TaskGrader
    clock: Clock
    dice: Random


@dataclass(slots=True, kw_only=True)
class _Journey:
    """One request on its way, and what became of it so far."""

    ask: Ask
    route: _Route
    decided: Decided
    started: float
    attempts: list[Attempt] = field(default_factory=list)
    served: _Served | None = None
    failed: ArbiterError | None = None
    tried: VersionId
    """The version that was asked last."""
    wait_ms: float | None = None
    """From the request's arrival to the slot that serves it."""


class Dispatch:
    """Answers requests (`arbiter.inference.Answer`)."""

    def __init__(self, behind: Behind) -> None:
        self._behind = behind
        self._registry = behind.registry
        self._outcomes = behind.outcomes
        self._pool = behind.pool
        self._controller = behind.controller
        self._clock = behind.clock
        self._contenders: tuple[tuple[int, ...], tuple[Contender, ...]] | None = None
        self._closed = False

    def close(self) -> None:
        """Take no new requests; those that run go on."""
        self._closed = True

    @asynccontextmanager
    async def answer(self, ask: Ask) -> AsyncIterator[_Served]:
        """Enter when the first chunk is there; leaving before the end stops the engine."""
        if self._closed:
            raise ShuttingDown(retry_after_s=1)
        started = self._clock.monotonic()
        route = self._route(ask)
        decided = self._decide(route)
        way = _Journey(
            ask=ask, route=route, decided=decided, started=started, tried=decided.version
        )
        if not ask.rehearsal:
            self._outcomes.begin(way.decided, caller=ask.caller)
            self._behind.presence.come()
        try:
            async with AsyncExitStack() as stack:
                way.served = await self._serve_or_fail(stack, way)
                if way.attempts and not ask.rehearsal:
                    # feedback may come while the answer streams: it belongs to who answers
                    self._outcomes.begin(way.decided, caller=ask.caller)
                yield way.served
        except ArbiterError as error:
            error.decision = way.decided.decision
            way.failed = error
            raise
        finally:
            if not ask.rehearsal:
                self._behind.presence.leave()
                self._record(way)
                self._teach(ask)

    def choose(self, task: TaskName, limits: Limits) -> Choice:
        """Whom `auto` would pick now, and why; nothing is run."""
        found = self._behind.tasks.get(task)
        return self._pick(found, found.limits.narrowed(limits))

    def capabilities(self, version: Version) -> frozenset[str]:
        """What a version can do with the engine that runs it here."""
        can = version.artifact.capabilities
        return can | self._pool.features(version.artifact.format) if "chat" in can else can

    def _route(self, ask: Ask) -> _Route:
        task = self._behind.tasks.get(ask.task or GENERAL)
        if ask.expected is not None:
            self._behind.grader.check(task, ask.expected)
        match ask.target:
            case Named(name=name):
                version = self._registry.resolve(name)
                self._check(version, ask.work, name)
                route = _Route(
                    task=task, alias=name, versions=(version,), reason=f"the caller named {name}"
                )
            case Pinned(name=name, digest_prefix=prefix):
                version = self._registry.pinned(name, prefix)
                self._check(version, ask.work, name)
                return _Route(
                    task=task,
                    alias=name,
                    versions=(version,),
                    reason=f"the caller pinned {short(version.version)}",
                )
            case Auto():
                limits = ask.limits.narrowed(Limits(needs=needed(ask.work)))
                route = self._guessed(ask, limits) or self._automatic(task, limits)
            case _:
                assert_never(ask.target)
        return route if ask.rehearsal else self._split(route, ask.conversation)

    def _check(self, version: Version, work: Work, name: ModelName) -> None:
        """Raise `CannotDo` when a version that the caller named is known not to be able to."""
        can = self.capabilities(version)
        missing = lacking(work, can)
        if missing:
            raise CannotDo(
                f"{name} cannot do {', '.join(sorted(missing))}.",
                hint=f"It can do {', '.join(sorted(can))}.",
                param="model",
            )

    def _guessed(self, ask: Ask, limits: Limits) -> _Route | None:
        """The route of the task that is guessed, if the caller named none and the guess is sure.

        A guess must not cost anybody an answer: where nobody can serve that task, none is made.
        Texts to make vectors of are never told apart: vectors of two models are of no use.
        """
        guesser = self._behind.guesser
        if ask.task is not None or guesser is None or isinstance(ask.work, Embedding):
            return None
        guess = guesser.guess(ask.work)
        if guess is not None:
            with suppress(UnknownTask, NothingCapable):
                route = self._automatic(self._behind.tasks.get(guess.task), limits)
                return replace(route, guess=guess, reason=f"{guess}; {route.reason}")
        return None

    def _automatic(self, task: Task, limits: Limits) -> _Route:
        choice = self._pick(task, task.limits.narrowed(limits))
        versions = tuple(
            self._registry.version(scored.contender.version) for scored in choice.scored
        )
        return _Route(
            task=task,
            alias=choice.alias,
            versions=versions,
            reason=choice.reason,
            probability=choice.probability,
            fallback=None if choice.fallback is None else choice.fallback.contender.name,
            scored=choice.scored,
            dropped=choice.dropped,
        )

    def _pick(self, task: Task, limits: Limits) -> Choice:
        rule = self._behind.rules.get(task.name)
        preference: Preference | None = None
        if rule is not None:
            target = next((n for n in self._registry.names() if n.name == rule.prefer), None)
            preference = Preference(rule=rule, version=None if target is None else target.version)
        return self._behind.selector.pick(
            [
                Seen(contender=one, profile=self._behind.profiles.get(one.version, task.name))
                for one in self._arms()
            ],
            task=task,
            limits=limits,
            rule=preference,
            situation=self._behind.situation,
        )

    def _arms(self) -> Sequence[Contender]:
        """Whom `auto` may pick: one contender a version, made anew only when something changed."""
        key = (
            self._registry.revision,
            self._pool.revision,
            self._controller.revision,
            self._registry.places.revision,
        )
        if self._contenders is None or self._contenders[0] != key:
            names = self._registry.arms(self._controller.aliases())
            self._contenders = (key, tuple(self._contender(v, n) for v, n in names.items()))
        return self._contenders[1]

    def _contender(self, version_id: VersionId, name: ModelName) -> Contender:
        version = self._registry.version(version_id)
        need, measured = self._pool.predicted_bytes(loadable(version))
        return Contender(
            name=name,
            version=version_id,
            capabilities=self.capabilities(version),
            context=version.artifact.context_length,
            memory_bytes=need,
            memory_measured=measured,
            unavailable=self._pool.unavailable(version.artifact.format)
            or self._registry.places.absent(version_id),
        )

    def _split(self, route: _Route, conversation: str) -> _Route:
        """Let the alias's rollout, if there is one, say which version answers."""
        assignment = self._controller.draw(route.alias, conversation)
        if assignment is None:
            return route
        first = self._registry.version(assignment.version)
        stable = self._registry.version(assignment.stable)
        candidate = assignment.arm is Arm.CANDIDATE
        share = assignment.probability if candidate else 1 - assignment.probability
        others = tuple(v for v in route.versions[1:] if v.version != first.version)
        return replace(
            route,
            versions=(first, stable, *others) if candidate else (first, *others),
            assignment=assignment,
            probability=route.probability * share,
            reason=f"{route.reason}; the {assignment.arm.value} arm of {assignment.rollout}",
        )

    def _decide(self, route: _Route) -> Decided:
        return Decided(
            decision=DecisionId(new_id("dec", now=self._clock.now(), dice=self._behind.dice)),
            task=route.task.name,
            alias=route.alias,
            version=route.versions[0].version,
            arm=route.arm,
            reason=route.reason,
            probability=route.probability,
            rollout=None if route.assignment is None else route.assignment.rollout,
            fallback=route.fallback,
            scores=tuple((s.contender.name, s.score, s.explanation) for s in route.scored),
            dropped=route.dropped,
            guessed=None if route.guess is None else route.guess.confidence,
        )

    async def _serve_or_fail(self, stack: AsyncExitStack, way: _Journey) -> _Served:
        """As `_serve`; a fault of ours is put on record as one, and not as a hang-up."""
        try:
            return await self._serve(stack, way)
        except ArbiterError:
            raise
        except Exception:
            way.failed = Unexpected()
            raise

    async def _serve(self, stack: AsyncExitStack, way: _Journey) -> _Served:
        """The first version of the route that gives a first byte."""
        ask, versions = way.ask, way.route.versions
        request = _request(ask)
        number = 0
        opened: tuple[Chunk, AsyncIterator[Chunk], Lease] | None = None
        while opened is None:
            version = versions[number]
            way.tried = version.version
            try:
                opened = await self._open(way, stack, version, request)
            except (EngineError, Busy) as error:
                self._note(way.route, number, error)
                following = self._following(way, number, error)
                if following is None:
                    raise
                way.attempts.append(Attempt(version=version.version, error=error.code))
                number = following
        if number:
            way.decided = replace(
                way.decided,
                version=way.tried,
                reason=f"{way.decided.reason}; {short(versions[0].version)} failed "
                f"({way.attempts[0].error}), served by the next",
            )
        first, rest, lease = opened
        return _Served(
            decided=way.decided,
            first=first,
            rest=rest,
            lease=lease,
            clock=self._clock,
            started=way.started,
            timed=ask.stream,
        )

    def _following(self, way: _Journey, number: int, error: ArbiterError) -> int | None:
        """Which version of the route to try after this one failed so; None: nothing is left."""
        absent = self._registry.places.absent
        failed = sum(attempt.error != ServerGone.code for attempt in way.attempts)
        versions = way.route.versions
        later = range(number + 1, len(versions))
        following = next((n for n in later if absent(versions[n].version) is None), None)
        if following is None or failed >= MOST_FALLBACKS:
            return None
        return following if _may_go_on(way.route, number, following, error) else None

    async def _open(
        self,
        way: _Journey,
        stack: AsyncExitStack,
        version: Version,
        request: Generation | Embedding,
    ) -> tuple[Chunk, AsyncIterator[Chunk], Lease]:
        """The first chunk of one version, from a fresh instance when the present one is dead."""
        tries = 0
        while True:
            tries += 1
            try:
                begun = self._begun(way, version, request)
                return await stack.enter_async_context(begun)
            except InstanceLost:
                if tries >= FRESH_TRIES:
                    raise

    @asynccontextmanager
    async def _begun(
        self, way: _Journey, version: Version, request: Generation | Embedding
    ) -> AsyncIterator[tuple[Chunk, AsyncIterator[Chunk], Lease]]:
        """An answer whose first chunk is there; the lease lasts for as long as the context."""
        patient = version is way.route.versions[-1]
        async with self._pool.lease(
            loadable(version), patient=patient, bounded=not way.ask.rehearsal
        ) as (instance, lease):
            way.wait_ms = (self._clock.monotonic() - way.started) * 1000
            lease.start_metering()
            try:
                async with aclosing(_pieces(lease.runner, request)) as chunks:
                    yield await _first(chunks, instance, lease), chunks, lease
            finally:
                lease.stop_metering()

    def _note(self, route: _Route, number: int, error: ArbiterError) -> None:
        """Tell the rollout how its candidate failed; only its own first try is its own."""
        ours = not isinstance(error, EngineError) or isinstance(error, EngineRefused)
        if route.assignment is not None and number == 0 and not ours:
            self._controller.note(route.assignment, _failure(error))

    def _record(self, way: _Journey) -> None:
        ask, route, served = way.ask, way.route, way.served
        status, error = _status(served, way.failed)
        receipt = _Receipt() if served is None else served.receipt
        grade = self._grade(ask, route, served) if status is Status.SUCCESS else None
        statements, then = self._unit(way, status, grade)
        if status is Status.SUCCESS and served is not None and served.is_text:
            statements += self._behind.prompts.statements(ask, way.decided, served.text)
        latency = receipt.latency_ms
        if latency is None and status is Status.FAILURE:
            latency = (self._clock.monotonic() - way.started) * 1000
        self._outcomes.end(
            way.decided,
            Outcome(
                decision=way.decided.decision,
                task=route.task.name,
                version=way.tried,
                status=status,
                error=None if error is None else error.code,
                detail=None if error is None else error.sentence[:2000],
                latency_ms=latency,
                wait_ms=None if latency is None else way.wait_ms,
                ttft_ms=receipt.ttft_ms,
                usage=receipt.usage,
                timings=receipt.timings,
                cpu=receipt.cpu_ms or unknown("the request did not reach its end"),
                grade=grade,
                attempts=() if status is Status.REFUSED else tuple(way.attempts),
            ),
            caller=ask.caller,
            also=statements,
            then=then,
        )

    def _unit(self, way: _Journey, status: Status, grade: float | None) -> Ended:
        """What the request says about its rollout, if its conversation is in one."""
        route, served = way.route, way.served
        if route.assignment is None:
            return (), None
        if served is not None and not way.attempts:
            if status is Status.SUCCESS:
                empty = served.is_text and not "".join(served.text).strip()
                self._controller.note(route.assignment, Failure.EMPTY if empty else None)
            elif status is Status.FAILURE:
                self._controller.note(route.assignment, Failure.CRASH)
        gradable = self._gradable(way.ask, route)
        return self._controller.ended(
            route.assignment,
            task=route.task.name,
            decision=way.decided.decision,
            score=_unit_score(way, status, grade) if gradable else None,
        )

    def _gradable(self, ask: Ask, route: _Route) -> bool:
        """Whether a rule grades the answer: never by the grader of a task that was only guessed.

        A wrong guess would be a wrong grade, for a version's record and for a rollout's verdict.
        """
        return route.guess is None and (
            self._behind.grader(route.task, "", ask.expected) is not None
        )

    def _grade(self, ask: Ask, route: _Route, served: _Served | None) -> float | None:
        if served is None or not served.is_text or route.guess is not None:
            return None
        grade = self._behind.grader(route.task, "".join(served.text), ask.expected)
        return None if grade is None else grade.score

    def _teach(self, ask: Ask) -> None:
        """Let the guesser learn from a request whose caller named the task."""
        guesser = self._behind.guesser
        if ask.task is not None and guesser is not None and not isinstance(ask.work, Embedding):
            guesser.learn(ask.work, ask.task)


def _request(ask: Ask) -> Generation | Embedding:
    """What the engine is asked for."""
    if isinstance(ask.work, Embedding):
        return ask.work
    return Generation(work=ask.work, sampling=ask.sampling, stream=ask.stream)


def _pieces(runner: Runner, request: Generation | Embedding) -> AsyncGenerator[Chunk, None]:
    """The answer of a runner, piece by piece, whatever it was asked for."""
    return (
        _embedded(runner, request) if isinstance(request, Embedding) else runner.generate(request)
    )


async def _embedded(runner: Runner, request: Embedding) -> AsyncGenerator[Chunk, None]:
    vectors, finish = await runner.embed(request)
    yield vectors
    yield finish


async def _first(chunks: AsyncIterator[Chunk], instance: Instance, lease: Lease) -> Chunk:
    """The first chunk, and what its coming or not says of the instance."""
    try:
        first = await anext(chunks)
    except InstanceLost:
        instance.lost(lease.runner)
        raise
    except StopAsyncIteration as error:
        raise EngineError("The engine ended without an answer.") from error
    instance.answered()
    return first


def _status(
    served: _Served | None, failed: ArbiterError | None
) -> tuple[Status, ArbiterError | None]:
    if served is not None and served.finished:
        return Status.SUCCESS, None
    error = failed or (served.error if served is not None else None)
    if error is None:
        return Status.CANCELLED, None
    fault = isinstance(error, Unexpected) or not error.ours
    return (Status.FAILURE if fault else Status.REFUSED), error


def _may_go_on(route: _Route, number: int, following: int, error: ArbiterError) -> bool:
    """Whether the next version may be tried after an error before the first byte.

    A request that an engine refuses for what it is would be refused again: only the stable
    version is asked after its candidate, because a person would have got that answer without the
    rollout, and versions with more room after one that had too little.
    """
    if not isinstance(error, EngineRefused) or (number == 0 and route.arm is Arm.CANDIDATE):
        return True
    here = route.versions[number].artifact.context_length
    there = route.versions[following].artifact.context_length
    return here is not None and there is not None and there > here


def _unit_score(way: _Journey, status: Status, grade: float | None) -> float | None:
    """The score of a unit by intention to treat: it belongs to the arm that it was drawn for.

    A version whose request another one had to serve scores 0, however good that answer was, and
    in either arm alike: otherwise equal versions that fail equally often would look unequal. What
    is not a version's doing (a hang-up, a request that nobody can serve, a full house) scores
    nothing.
    """
    if status in {Status.CANCELLED, Status.REFUSED}:
        return None
    if any(attempt.error in NO_FAULT for attempt in way.attempts):
        return None
    return 0.0 if status is Status.FAILURE or way.attempts else grade


def _failure(error: ArbiterError) -> Failure:
    if isinstance(error, LoadFailed) and "memory" in error.message.lower():
        return Failure.OOM
    return failure_of(error.code)
