"""The journey of a request, top to bottom: task, pick, arm, instance, tokens, outcome.

Everything before the first byte may be tried again: on a fresh instance when one died, on the
stable version when the candidate failed, on the next pick when the caller left the choice to the
house. After the first byte nothing is: an engine's death then ends the stream with an error.
"""

from __future__ import annotations

from types import TracebackType
from typing import assert_never

from msgspec import structs

from arbiter.dispatch.arms import Arms
from arbiter.dispatch.behind import Behind
from arbiter.dispatch.choosing import Choosing
from arbiter.dispatch.journey import Journey, status_of
from arbiter.dispatch.recording import Recording
from arbiter.dispatch.route import Route
from arbiter.dispatch.serving import Serving
from arbiter.dispatch.splitting import Splitting
from arbiter.errors import (
    ArbiterError,
    CannotDo,
    ShuttingDown,
    Unexpected,
)
from arbiter.inference import (
    Ask,
    Auto,
    Awaited,
    Decided,
    Limits,
    Named,
    Pinned,
    Work,
    lacking,
)
from arbiter.pool.reply import Served
from arbiter.refs import GENERAL, DecisionId, ModelName, TaskName, new_id, short
from arbiter.registry.registry import Version
from arbiter.selection.contender import (
    Choice,
)
from arbiter.selection.ruled import Preferences


class Dispatch:
    """Answers requests (`arbiter.inference.Answer`)."""

    def __init__(self, behind: Behind) -> None:
        self._behind = behind
        self._registry = behind.registry
        self._outcomes = behind.outcomes
        self._pool = behind.pool
        self._clock = behind.clock
        preferences = Preferences(behind.rules, behind.tasks, behind.registry)
        self._arms = Arms(behind)
        self._choosing = Choosing(behind, self._arms, preferences)
        self._splitting = Splitting(behind, preferences)
        self._serving = Serving(behind)
        self._recording = Recording(behind)
        self._closed = False

    def close(self) -> None:
        """Take no new requests; those that run go on."""
        self._closed = True

    def answer(self, ask: Ask) -> _Answering:
        """Enter when the first chunk is there; leaving before the end stops the engine."""
        return _Answering(self, ask)

    @property
    def is_open(self) -> bool:
        """Whether it takes requests."""
        return not self._closed

    @property
    def is_traced(self) -> bool:
        """Whether traces are written."""
        return self._behind.traces is not None

    def new_request(self) -> str:
        """An id for a request on which nothing is decided: for the log and its answer."""
        return new_id("req", now=self._clock.now(), dice=self._behind.dice)

    def set_out(self, ask: Ask) -> Journey:
        """Decide who answers. Raises any `ArbiterError`; what it returns is to come to `arrive`."""
        traces = self._behind.traces
        if traces is None:
            return self._set_out(ask)
        trace = traces.begin(ask)
        try:
            way = self._set_out(ask)
        except BaseException as error:
            trace.refused(error)
            raise
        way.trace = trace
        trace.decided(way.decided)
        return way

    def _set_out(self, ask: Ask) -> Journey:
        if self._closed:
            raise ShuttingDown(retry_after_s=1)
        started = self._clock.monotonic()
        route = self._route(ask)
        decided = self._decide(ask, route)
        way = Journey(ask=ask, route=route, decided=decided, started=started, tried=decided.version)
        if not ask.rehearsal:
            self._outcomes.begin(way.decided, caller=ask.caller)
            self._behind.presence.come()
            self._pool.again.came(started)
        return way

    async def reach(self, way: Journey) -> Served:
        """The answer, once its first chunk is there."""
        try:
            served = way.served = await self._serving.reach(way)
        except ArbiterError:
            raise
        except Exception:
            # a fault of ours is put on record as one, and not as a hang-up
            way.failed = Unexpected()
            raise
        if way.attempts and not way.ask.rehearsal:
            # feedback may come while the answer streams: it belongs to who answers
            self._outcomes.begin(way.decided, caller=way.ask.caller)
        return served

    def awaited(self, way: Journey) -> Awaited | None:
        """What a request waits for now, if anything is known of it."""
        progress = self._pool.progress(way.tried)
        if progress is None:
            return None
        return Awaited(
            decision=way.decided.decision, task=way.decided.task, sentence=progress.sentence
        )

    async def arrive(self, way: Journey, error: BaseException | None) -> None:
        """Stop the engine if it still writes, and put on record what became of a request.

        error: what went wrong, on the way to the first chunk or with whoever read the answer.
        """
        ask = way.ask
        try:
            if way.begun is not None:
                _, chunks, lease = way.begun
                await self._serving.end(chunks, lease)
        except ArbiterError as later:
            error = later
            raise
        finally:
            if isinstance(error, ArbiterError):
                error.decision = way.decided.decision
                way.failed = error
            if way.trace is not None:
                status, fault = status_of(way.served, way.failed)
                way.trace.ended(way.decided, way.served, status.value, fault)
            if not ask.rehearsal:
                self._behind.presence.leave()
                self._recording.record(way)
                self._arms.refresh()
                if ask.task is not None and self._behind.guesser is not None:
                    self._behind.guesser.learn(ask.work, ask.task)

    def choose(self, task: TaskName, limits: Limits) -> Choice:
        """Whom `auto` would pick now, and why; nothing is run."""
        return self._choosing.choose(task, limits)

    def capabilities(self, version: Version) -> frozenset[str]:
        """What a version can do with the engine that runs it here."""
        return self._pool.capabilities(version.artifact)

    def _route(self, ask: Ask) -> Route:
        task = self._behind.tasks.get(ask.task or GENERAL)
        if ask.expected is not None:
            self._behind.grader.check(task, ask.expected)
        match ask.target:
            case Named(name=said):
                name = self._registry.meant(said)
                version = self._registry.resolve(name)
                self._check(version, ask.work, name)
                route = Route(
                    task=task, alias=name, versions=(version,), reason=f"the caller named {name}"
                )
            case Pinned(name=said, digest_prefix=prefix):
                name = self._registry.meant(said)
                version = self._registry.pinned(name, prefix)
                self._check(version, ask.work, name)
                return Route(
                    task=task,
                    alias=name,
                    versions=(version,),
                    reason=f"the caller pinned {short(version.version)}",
                )
            case Auto():
                route = self._choosing.among_all(ask, task)
                why = self._splitting.banned(route)
                if why is not None:
                    return structs.replace(
                        route, reason=f"{route.reason}; its rollout passes by: {why}"
                    )
            case _:
                assert_never(ask.target)
        return route if ask.rehearsal else self._splitting.split(route, ask)

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

    def _decide(self, ask: Ask, route: Route) -> Decided:
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
            scores=route.considered,
            dropped=route.dropped,
            guessed=None if route.guess is None else route.guess.confidence,
            would_change=route.would_change,
            is_held=route.is_held,
            by_rule=route.by_rule,
            plan=None if route.assignment is None else route.assignment.plan,
            to_judge=route.assignment is not None
            and route.assignment.is_chosen
            and not self._recording.is_gradable(ask, route),
        )


class _Answering:
    """What `Dispatch.answer` gives: a request under way for as long as the context is open.

    A class and no generator with `contextlib` around it: that costs a request more than the choice
    of its model does.
    """

    __slots__ = ("_ask", "_dispatch", "_way")

    def __init__(self, dispatch: Dispatch, ask: Ask) -> None:
        self._dispatch = dispatch
        self._ask = ask
        self._way: Journey | None = None

    async def __aenter__(self) -> Served:
        """The answer, once its first chunk is there. Raises any `ArbiterError`."""
        way = self._way = self._dispatch.set_out(self._ask)
        try:
            return await self._dispatch.reach(way)
        except BaseException as error:
            await self._dispatch.arrive(way, error)
            raise

    def awaited(self) -> Awaited | None:
        """What it waits for, for whoever asks while `__aenter__` waits."""
        return None if self._way is None else self._dispatch.awaited(self._way)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the engine if the answer has not ended, and put on record what became of it."""
        if self._way is not None:
            await self._dispatch.arrive(self._way, error)
