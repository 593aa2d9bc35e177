"""The journey of a request, top to bottom: task, pick, arm, instance, tokens, outcome.

Everything before the first byte may be tried again: on a fresh instance when one died, on the
stable version when the candidate failed, on the next pick when the caller left the choice to the
house. After the first byte nothing is: an engine's death then ends the stream with an error.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random
from types import TracebackType
from typing import TYPE_CHECKING, assert_never

import msgspec
from msgspec import structs

from arbiter.clock import Clock
from arbiter.cost import unknown
from arbiter.errors import (
    ArbiterError,
    Busy,
    CannotDo,
    CannotServe,
    EngineError,
    EngineRefused,
    InstanceLost,
    KeyRefused,
    LoadFailed,
    NothingCapable,
    NothingThere,
    NotOffered,
    ServerGone,
    ShuttingDown,
    Unexpected,
    UnknownTask,
)
from arbiter.inference import (
    Arm,
    Ask,
    Auto,
    Awaited,
    Chat,
    Chunk,
    Considered,
    Decided,
    Dropped,
    Embedding,
    Generation,
    Limits,
    Named,
    Pinned,
    Work,
    lacking,
    needed,
    prompt_chars,
)
from arbiter.judge.grading import TaskGrader
from arbiter.knowledge import request_lines
from arbiter.knowledge.costs import Costs
from arbiter.knowledge.energies import Spend, Spender
from arbiter.knowledge.guess import Guess
from arbiter.knowledge.guesser import Guesser
from arbiter.knowledge.learning import Learning
from arbiter.knowledge.outcome import NO_FAULT, NOT_BEGUN, Attempt, Outcome, Status
from arbiter.knowledge.outcomes import Outcomes
from arbiter.knowledge.profiles import NOTHING, Profile, Profiles
from arbiter.knowledge.prompts import Prompts
from arbiter.knowledge.rules import Rules
from arbiter.knowledge.speed import Speed
from arbiter.knowledge.tasks import Task, Tasks
from arbiter.knowledge.tries import Vain
from arbiter.pool.accelerators import Accelerators
from arbiter.pool.fairness import Who
from arbiter.pool.instance import Lease
from arbiter.pool.pool import Pool, loadable
from arbiter.pool.presence import Presence
from arbiter.pool.reply import Receipt, Served, first_of, pieces_of
from arbiter.pool.siblings import Sought
from arbiter.pool.vain import answered, vain
from arbiter.refs import GENERAL, DecisionId, ModelName, TaskName, VersionId, new_id, short
from arbiter.registry.registry import Registry, Version
from arbiter.selection.contender import (
    Choice,
    Contender,
    Seen,
    Situation,
)
from arbiter.selection.conversations import Conversations
from arbiter.selection.room import demanded, has_room
from arbiter.selection.ruled import Preferences
from arbiter.selection.selector import Selector
from arbiter.swap.analysis import Failure
from arbiter.swap.assignment import Assignment, Detour, Ended
from arbiter.swap.controller import Controller
from arbiter.swap.evidence_rows import failure_of
from arbiter.swap.metrics import Ending
from arbiter.swap.shadowing import Copies, Copy

if TYPE_CHECKING:
    # needs the extra otel
    from arbiter.tracing.request import Trace, Traces

MOST_FALLBACKS = 3
"""How many versions that failed one request may be replaced by the next."""

FOUND_OUT_AT_ONCE = frozenset({ServerGone.code, NotOffered.code, CannotServe.code, KeyRefused.code})
"""Failures that cost nothing, so that any number of them may be passed over."""

FRESH_TRIES = 3
"""How often one request may find its instance dead before its first byte."""


class _Route(msgspec.Struct, frozen=True, kw_only=True):
    """Where a request goes: the alias, its versions in the order to try, and why."""

    task: Task
    alias: ModelName
    versions: tuple[Version, ...]
    reason: str
    probability: float = 1.0
    assignment: Assignment | None = None
    spare: VersionId | None = None
    """The candidate, where a request of the stable arm may go if the stable version is absent."""
    fallback: ModelName | None = None
    considered: tuple[Considered, ...] = ()
    would_change: str | None = None
    is_held: bool = False
    by_rule: bool = False
    dropped: tuple[Dropped, ...] = ()
    guess: Guess | None = None

    @property
    def arm(self) -> Arm:
        return Arm.NONE if self.assignment is None else self.assignment.arm

    @property
    def held_back(self) -> VersionId | None:
        """The version that was replaced, where it is to answer all the same."""
        found = self.assignment
        return found.stable if found is not None and found.arm is Arm.HOLDBACK else None

    @property
    def out_of_turn(self) -> VersionId | None:
        """The version of a rollout in time slices that has no turn now."""
        found = self.assignment
        return found.other if found is not None and found.in_turns else None

    def is_last(self, version: Version) -> bool:
        """Whether nothing follows this version that could serve when it fails."""
        return version.version in {self.spare, self._regular[-1].version}

    @property
    def _regular(self) -> tuple[Version, ...]:
        return tuple(one for one in self.versions if one.version != self.spare)


@dataclass(frozen=True, slots=True, kw_only=True)
class Behind:
    """The rooms that a request passes through."""

    registry: Registry
    tasks: Tasks
    rules: Rules
    profiles: Profiles
    learning: Learning
    outcomes: Outcomes
    costs: Costs
    prompts: Prompts
    guesser: Guesser | None
    """None where tasks are not to be guessed."""
    pool: Pool
    presence: Presence
    controller: Controller
    copies: Copies
    selector: Selector
    situation: Situation
    accelerators: Accelerators
    grader: TaskGrader
    clock: Clock
    dice: Random
    traces: Traces | None = None
    """None where no traces are wanted."""


class _Moved(Exception):
    """A version failed where it is served, before its first byte, and is to be had elsewhere.

    at: the instance that failed.
    """

    def __init__(self, why: EngineError, at: str) -> None:
        self.why = why
        self.at = at
        super().__init__(why.message)


_Begun = tuple[Chunk, AsyncGenerator[Chunk, None], Lease]
"""The first chunk of an answer, the generator of the others, and the lease that it holds."""


@dataclass(slots=True, kw_only=True)
class _Journey:
    """One request on its way, and what became of it so far."""

    ask: Ask
    route: _Route
    decided: Decided
    started: float
    attempts: list[Attempt] = field(default_factory=list)
    vain: list[Vain] = field(default_factory=list)
    """Every try that gave no answer, those of the same version too."""
    begun: _Begun | None = None
    served: Served | None = None
    failed: ArbiterError | None = None
    tried: VersionId
    """The version that was asked last."""
    is_spent: bool = False
    """Whether the house tries nothing again for it, because it has for too many."""
    wait_ms: float | None = None
    """From the request's arrival to the slot that serves it."""
    trace: Trace | None = None


class Dispatch:
    """Answers requests (`arbiter.inference.Answer`)."""

    def __init__(self, behind: Behind) -> None:
        self._behind = behind
        self._registry = behind.registry
        self._outcomes = behind.outcomes
        self._pool = behind.pool
        self._controller = behind.controller
        self._clock = behind.clock
        self._preferences = Preferences(behind.rules, behind.tasks, behind.registry)
        self._contenders: tuple[tuple[object, ...], tuple[Contender, ...]] | None = None
        self._seen: dict[TaskName, tuple[Seen, ...]] = {}
        self._words: dict[TaskName, tuple[Choice, tuple[Considered, ...]]] = {}
        self._conversations = Conversations()
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

    def set_out(self, ask: Ask) -> _Journey:
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

    def _set_out(self, ask: Ask) -> _Journey:
        if self._closed:
            raise ShuttingDown(retry_after_s=1)
        started = self._clock.monotonic()
        route = self._route(ask)
        decided = self._decide(ask, route)
        way = _Journey(
            ask=ask, route=route, decided=decided, started=started, tried=decided.version
        )
        if not ask.rehearsal:
            self._outcomes.begin(way.decided, caller=ask.caller)
            self._behind.presence.come()
            self._pool.again.came(started)
        return way

    async def reach(self, way: _Journey) -> Served:
        """The answer, once its first chunk is there."""
        served = way.served = await self._serve_or_fail(way)
        if way.attempts and not way.ask.rehearsal:
            # feedback may come while the answer streams: it belongs to who answers
            self._outcomes.begin(way.decided, caller=way.ask.caller)
        return served

    def awaited(self, way: _Journey) -> Awaited | None:
        """What a request waits for now, if anything is known of it."""
        progress = self._pool.progress(way.tried)
        if progress is None:
            return None
        return Awaited(
            decision=way.decided.decision, task=way.decided.task, sentence=progress.sentence
        )

    async def arrive(self, way: _Journey, error: BaseException | None) -> None:
        """Stop the engine if it still writes, and put on record what became of a request.

        error: what went wrong, on the way to the first chunk or with whoever read the answer.
        """
        ask = way.ask
        try:
            if way.begun is not None:
                _, chunks, lease = way.begun
                await self._end(chunks, lease)
        except ArbiterError as later:
            error = later
            raise
        finally:
            if isinstance(error, ArbiterError):
                error.decision = way.decided.decision
                way.failed = error
            if way.trace is not None:
                status, fault = _status(way.served, way.failed)
                way.trace.ended(way.decided, way.served, status.value, fault)
            if not ask.rehearsal:
                self._behind.presence.leave()
                self._record(way)
                self._refresh()
                if ask.task is not None and self._behind.guesser is not None:
                    self._behind.guesser.learn(ask.work, ask.task)

    def _refresh(self) -> None:
        """Work out what was learned now that nobody waits, and not when the next one asks."""
        learning = self._behind.learning
        while learning.changed:
            task = learning.changed.pop()
            if task in self._seen:
                self._behind.selector.refresh(task, self._looked_at(task))

    def choose(self, task: TaskName, limits: Limits) -> Choice:
        """Whom `auto` would pick now, and why; nothing is run."""
        found = self._behind.tasks.get(task)
        return self._pick(found, found.limits.narrowed(limits), conversation=None)

    def capabilities(self, version: Version) -> frozenset[str]:
        """What a version can do with the engine that runs it here."""
        return self._pool.capabilities(version.artifact)

    def _route(self, ask: Ask) -> _Route:
        task = self._behind.tasks.get(ask.task or GENERAL)
        if ask.expected is not None:
            self._behind.grader.check(task, ask.expected)
        match ask.target:
            case Named(name=said):
                name = self._registry.meant(said)
                version = self._registry.resolve(name)
                self._check(version, ask.work, name)
                route = _Route(
                    task=task, alias=name, versions=(version,), reason=f"the caller named {name}"
                )
            case Pinned(name=said, digest_prefix=prefix):
                name = self._registry.meant(said)
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
                contexts = (one.context for one in self._arms())
                limits = limits.narrowed(demanded(ask.work, ask.sampling.max_tokens, contexts))
                route = self._guessed(ask, limits) or self._automatic(ask, task, limits)
                why = self._banned(route)
                if why is not None:
                    return structs.replace(
                        route, reason=f"{route.reason}; its rollout passes by: {why}"
                    )
            case _:
                assert_never(ask.target)
        return route if ask.rehearsal else self._split(route, ask)

    def _banned(self, route: _Route) -> str | None:
        """Why the candidate of the route's alias may not answer its task, if a rule says so."""
        preference = self._preferences.get(route.task.name)
        rollout = self._controller.active(route.alias)
        if preference is None or rollout is None or not rollout.phase.is_live:
            return None
        return preference.never.get(rollout.candidate)

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
        """
        guesser = self._behind.guesser
        if ask.task is not None or guesser is None:
            return None
        guess = guesser.guess(ask.work, self._behind.tasks.parents())
        if guess is not None:
            with suppress(UnknownTask, NothingCapable, NothingThere):
                route = self._automatic(ask, self._behind.tasks.get(guess.task), limits)
                return structs.replace(route, guess=guess, reason=f"{guess}; {route.reason}")
        return None

    def _automatic(self, ask: Ask, task: Task, limits: Limits) -> _Route:
        now, talk = self._clock.monotonic(), ask.talk or ask.conversation
        held = None if ask.rehearsal else self._conversations.get(talk, task.name, now=now)
        choice = self._fitting(
            task,
            task.limits.narrowed(limits),
            conversation=talk,
            held=None if held is None else held.version,
        )
        picked = (one.contender.version for one in choice.scored)
        in_turn = (*picked, *choice.rest, *self._last_resort(choice))
        versions = tuple([self._registry.version(version) for version in in_turn])
        probability = choice.probability
        is_held = held is not None and held.version == versions[0].version and not choice.by_rule
        if held is not None and is_held:
            # what was drawn then is what its later turns are owed to
            probability = held.probability
        elif not ask.rehearsal and not choice.by_rule:
            self._conversations.hold(
                talk, task.name, versions[0].version, probability=probability, now=now
            )
        return _Route(
            task=task,
            alias=choice.alias,
            versions=versions,
            reason=choice.reason,
            probability=probability,
            fallback=None if choice.fallback is None else choice.fallback.contender.name,
            considered=self._considered(task.name, choice),
            would_change=choice.would_change,
            is_held=is_held,
            by_rule=choice.by_rule,
            dropped=choice.dropped,
        )

    def _last_resort(self, choice: Choice) -> tuple[VersionId, ...]:
        """Who was passed over for its failures alone: better than nobody."""
        ailing = self._pool.ailing()
        if not ailing:
            return ()
        absent = self._registry.places.absent
        able = (drop.version for drop in choice.dropped if drop.is_absent)
        return tuple(one for one in able if one in ailing and absent(one) is None)

    def _considered(self, task: TaskName, choice: Choice) -> tuple[Considered, ...]:
        """Everybody in words; the same again while the pick and its reasons are the same."""
        known = self._words.get(task)
        if known is None or known[0] is not choice:
            known = self._words[task] = (choice, choice.considered)
        return known[1]

    def _fitting(
        self, task: Task, limits: Limits, *, conversation: str | None, held: VersionId | None
    ) -> Choice:
        """As `_pick`, but room for the longest answer is asked of nobody if nobody has it."""
        try:
            return self._pick(task, limits, conversation=conversation, held=held)
        except (NothingCapable, NothingThere):
            if limits.answer_tokens is None:
                raise
        limits = replace(limits, answer_tokens=None)
        return self._pick(task, limits, conversation=conversation, held=held)

    def _pick(
        self,
        task: Task,
        limits: Limits,
        *,
        conversation: str | None,
        held: VersionId | None = None,
    ) -> Choice:
        pick = partial(
            self._behind.selector.pick,
            task=task,
            limits=limits,
            rule=self._preferences.get(task.name),
            situation=self._behind.situation,
            conversation=conversation,
            held=held,
        )
        seen = self._looked_at(task.name)
        try:
            return pick(seen)
        except NothingThere:
            if not self._pool.ailing():
                raise
            # a breaker never takes away the last who could serve
            return pick(tuple([self._forgiven(one) for one in seen]))

    def _forgiven(self, seen: Seen) -> Seen:
        one = seen.contender
        if one.absent is None or one.version not in self._pool.ailing():
            return seen
        absent = self._registry.places.absent(one.version)
        return replace(seen, contender=replace(one, absent=absent))

    def _looked_at(self, task: TaskName) -> tuple[Seen, ...]:
        """Every contender with its profile; the same values again where nothing changed."""
        arms, before = self._arms(), self._seen.get(task, ())
        profiles, speeds = self._behind.profiles, self._behind.profiles.speeds
        energies = self._behind.costs.energies
        is_weighed = self._weighs_energy(task)
        if len(before) != len(arms):
            before = tuple([Seen(contender=one, profile=NOTHING) for one in arms])
        seen = tuple(
            [
                _seen(
                    old,
                    one,
                    profiles.get(one.version, task),
                    speeds.get(one.version, task),
                    spend=energies.get(one.version, task) if is_weighed else None,
                )
                for old, one in zip(before, arms, strict=True)
            ]
        )
        self._seen[task] = seen
        return seen

    def _weighs_energy(self, task: TaskName) -> bool:
        try:
            own = self._behind.tasks.get(task).weights
        except UnknownTask:
            return False  # it went while one of its requests was answered
        return (own or self._behind.situation.weights).energy > 0.0

    def _arms(self) -> Sequence[Contender]:
        """Whom `auto` may pick: one contender a version, made anew only when something changed."""
        key = (
            self._registry.revision,
            self._pool.revision,
            self._controller.revision,
            self._registry.places.revision,
            self._behind.tasks.revision,
            tuple(self._pool.ailing().items()),
        )
        if self._contenders is None or self._contenders[0] != key:
            self._behind.selector.relate(
                predecessors=self._lineage(), parents=self._behind.tasks.parents()
            )
            names = self._registry.arms(self._controller.aliases())
            self._contenders = (key, tuple(self._contender(v, n) for v, n in names.items()))
        return self._contenders[1]

    def _lineage(self) -> Mapping[VersionId, VersionId]:
        """Which version succeeded which, as far as anybody said."""
        known = {one.version: one.predecessor for one in self._registry.versions()}
        own = {new: old for new, old in known.items() if old is not None}
        return {**self._behind.learning.lineage, **own}

    def _contender(self, version_id: VersionId, name: ModelName) -> Contender:
        version = self._registry.version(version_id)
        need, measured = self._pool.predicted_bytes(loadable(version))
        return Contender(
            name=name,
            version=version_id,
            capabilities=self.capabilities(version),
            context=self._pool.room_in(loadable(version)),
            memory_bytes=need,
            memory_measured=measured,
            unavailable=self._pool.unavailable(version.artifact.format),
            absent=self._absent(version_id, name),
            is_outside=loadable(version).is_outside,
            no_accelerator=self._behind.accelerators.lacking(
                format_=version.artifact.format, places=self._registry.places.of(version_id)
            ),
        )

    def _absent(self, version: VersionId, name: ModelName) -> str | None:
        """Why a version is not to be had under a name now."""
        if self._controller.detour(name) is not None:
            return None  # a rollout's other version answers for one that is not there
        absent = self._registry.places.absent(version)
        if absent is None and self._controller.active(name) is None:
            # a version in a rollout fails for all to see: that is its evidence
            absent = self._pool.ailing().get(version)
        return absent

    def _split(self, route: _Route, ask: Ask) -> _Route:
        """Let the alias's rollout, or its watched promotion, say which version answers."""
        assignment = self._controller.draw(
            route.alias,
            ask.conversation,
            fits=lambda old: self._could(old, route, ask),
            may_pair=partial(self._may_pair, route, ask),
        )
        if assignment is None:
            return route
        if isinstance(assignment, Detour):
            return self._detoured(route, assignment)
        if assignment.arm in {Arm.PROMOTED, Arm.HOLDBACK}:
            return self._watched(route, assignment)
        first = self._registry.version(assignment.version)
        stable = self._registry.version(assignment.stable)
        candidate = assignment.arm is Arm.CANDIDATE
        share = assignment.probability if candidate else 1 - assignment.probability
        second = stable if candidate else self._registry.version(assignment.candidate)
        others = tuple(v for v in route.versions[1:] if v.version != first.version)
        return structs.replace(
            route,
            versions=(first, second, *others),
            assignment=assignment,
            spare=None if candidate else assignment.candidate,
            probability=route.probability * share,
            reason=f"{route.reason}; the {assignment.arm.value} arm of {assignment.rollout}",
        )

    def _could(self, old: VersionId, route: _Route, ask: Ask) -> bool:
        """Whether a version that was replaced could do what is asked of its successor for certain.

        Never vectors: those of two versions cannot be compared with each other.
        """
        work = ask.work
        if isinstance(work, Embedding):
            return False
        version = self._registry.version(old)
        can = self.capabilities(version)
        preference = self._preferences.get(route.task.name)
        is_banned = preference is not None and old in preference.never
        if is_banned or not can or lacking(work, can):
            return False
        room = self._pool.room_in(loadable(version))
        return has_room(room, prompt_chars(work), ask.sampling.max_tokens)

    def _watched(self, route: _Route, assignment: Assignment) -> _Route:
        """While a promotion is watched a few conversations keep the old version."""
        chance, versions = assignment.probability, route.versions
        if assignment.arm is Arm.HOLDBACK:
            chance = 1 - chance
            versions = (self._registry.version(assignment.stable), *versions)
            why = f"held back by {assignment.rollout}, as {chance:.0%} of conversations are"
        else:
            why = f"the promoted arm of {assignment.rollout}"
        return structs.replace(
            route,
            versions=versions,
            assignment=assignment,
            probability=route.probability * chance,
            reason=f"{route.reason}; {why}",
        )

    def _may_pair(self, route: _Route, ask: Ask) -> bool:
        """Whether both versions' answers to this request can be graded: known before there is one.

        A call of a tool is graded by no rule. What may call one makes no pair, or only those would
        be pairs in which it happened not to.
        """
        if (
            isinstance(ask.work, Embedding)
            or "tools" in needed(ask.work)
            or route.guess is not None
        ):
            return False
        return self._behind.grader(route.task, "", ask.expected) is not None

    def _detoured(self, route: _Route, detour: Detour) -> _Route:
        """To the version of a rollout that is there; the request is no evidence."""
        both = (self._registry.version(detour.version), self._registry.version(detour.absent))
        return structs.replace(
            route,
            versions=(*both, *(v for v in route.versions[1:] if v not in both)),
            reason=f"{route.reason}; {detour.why}, so the other one answers",
        )

    def _decide(self, ask: Ask, route: _Route) -> Decided:
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
            and not self._is_gradable(ask, route),
        )

    async def _serve_or_fail(self, way: _Journey) -> Served:
        """As `_serve`; a fault of ours is put on record as one, and not as a hang-up."""
        try:
            return await self._serve(way)
        except ArbiterError:
            raise
        except Exception:
            way.failed = Unexpected()
            raise

    async def _serve(self, way: _Journey) -> Served:
        """The first version of the route that gives a first byte."""
        ask, versions = way.ask, way.route.versions
        number, first = 0, None
        while way.begun is None:
            version = versions[number]
            way.tried = version.version
            try:
                request = _request(ask, self.capabilities(version))
                way.begun = await self._open(way, version, request)
            except (EngineError, Busy) as error:
                if way.trace is not None:
                    way.trace.failed(error)
                self._note(way.route, number, error)
                following = self._following(way, number, error)
                if following is None:
                    raise
                first = first or error
                if not self._may_again(way, error):
                    raise first from error
                way.attempts.append(Attempt(version=version.version, error=error.code))
                number = following
        if number:
            way.decided = structs.replace(
                way.decided,
                version=way.tried,
                reason=f"{way.decided.reason}; {short(versions[0].version)} failed "
                f"({way.attempts[0].error}), served by the next",
            )
        chunk, rest, lease = way.begun
        served = Served(
            decided=way.decided,
            first=chunk,
            rest=rest,
            lease=lease,
            clock=self._clock,
            started=way.started,
            timed=ask.stream,
            wait_ms=way.wait_ms,
        )
        served.earlier = tuple([one.cpu for one in way.vain])
        return served

    def _following(self, way: _Journey, number: int, error: ArbiterError) -> int | None:
        """Which version of the route to try after this one failed so; None: nothing is left."""
        absent = self._registry.places.absent
        failed = sum(attempt.error not in FOUND_OUT_AT_ONCE for attempt in way.attempts)
        versions = way.route.versions
        # the candidate serves for a stable version that is away, not for one that failed
        spare = None if isinstance(error, ServerGone | NotOffered) else way.route.spare
        # whoever has no turn now would have to be loaded, for want of a free slot
        barred = {spare, way.route.out_of_turn if isinstance(error, Busy) else None}
        later = (n for n in range(number + 1, len(versions)) if versions[n].version not in barred)
        following = next((n for n in later if absent(versions[n].version) is None), None)
        if following is None or failed >= MOST_FALLBACKS:
            return None
        return following if _may_go_on(way.route, number, following, error) else None

    async def _open(
        self, way: _Journey, version: Version, request: Generation | Embedding
    ) -> _Begun:
        """The first chunk of one version, from a fresh instance when the present one is dead."""
        tries = 0
        avoid: tuple[str, ...] = ()
        while True:
            tries += 1
            try:
                return await self._begin(way, version, request, avoid)
            except InstanceLost as error:
                # nothing is loaded for the sake of those who are held back
                is_last = tries >= FRESH_TRIES or version.version == way.route.held_back
                if is_last or not self._may_again(way, error):
                    raise
            except _Moved as moved:
                if tries >= FRESH_TRIES or not self._may_again(way, moved.why):
                    raise moved.why from moved
                avoid += (moved.at,)

    def _may_again(self, way: _Journey, error: ArbiterError) -> bool:
        """Whether the house may try a request once more after an error; asked once it said no."""
        if not way.is_spent:
            way.is_spent = not self._pool.again.may(error)
        return not way.is_spent

    async def _begin(
        self,
        way: _Journey,
        version: Version,
        request: Generation | Embedding,
        avoid: tuple[str, ...],
    ) -> _Begun:
        """An answer whose first chunk is there; `_end` it. Raises `_Moved`.

        avoid: the instances of the version that failed this request already.
        """
        if way.trace is not None:
            way.trace.asks(version.version)
        asked_at, lease = self._clock.monotonic(), None
        try:
            lease = await self._pool.take(
                loadable(version),
                who=Who(way.ask.caller, way.ask.conversation),
                patient=way.route.is_last(version),
                bounded=not way.ask.rehearsal or way.ask.counts,
                helper=way.ask.helper,
                options=way.ask.load_options,
                sought=Sought(way.ask.work, avoid),
            )
            return await self._first(way, lease, request)
        except BaseException as error:
            why = error.why if isinstance(error, _Moved) else error
            took = self._clock.monotonic() - asked_at
            way.vain.append(vain(version.version, lease, why, took_s=took))
            raise

    async def _first(self, way: _Journey, lease: Lease, request: Generation | Embedding) -> _Begun:
        """The first chunk of an instance's answer. Raises as `_begin`, its slot given back."""
        chunks = pieces_of(lease.runner, request)
        try:
            way.wait_ms = (self._clock.monotonic() - way.started) * 1000
            if way.trace is not None:
                way.trace.lent(lease)
            lease.start_metering()
            first = await first_of(chunks, lease)
            if way.trace is not None:
                way.trace.begun()
        except BaseException as error:
            await self._end(chunks, lease)
            if isinstance(error, EngineError) and self._pool.move_on(lease, error):
                raise _Moved(error, lease.instance.key) from error
            raise
        return first, chunks, lease

    async def _end(self, chunks: AsyncGenerator[Chunk, None], lease: Lease) -> None:
        """Stop the engine if it still writes, then let its slot go."""
        try:
            await chunks.aclose()
        finally:
            lease.stop_metering()
            self._pool.give_back(lease)

    def _note(self, route: _Route, number: int, error: ArbiterError) -> None:
        """Tell the rollout how its candidate failed; only its own first try is its own."""
        blamed = isinstance(error, EngineError) and not error.ours and error.code not in NO_FAULT
        if route.assignment is not None and number == 0 and blamed:
            self._controller.note(route.assignment, _failure(error))

    def _record(self, way: _Journey) -> None:
        ask, route, served = way.ask, way.route, way.served
        status, error = _status(served, way.failed)
        receipt = Receipt() if served is None else served.receipt
        grade = self._grade(ask, route, served) if status is Status.SUCCESS else None
        statements, then = self._unit(way, status, grade)
        if status is Status.SUCCESS and served is not None and served.is_text:
            statements += self._behind.prompts.statements(ask, way.decided, served.text)
        lease = None if way.begun is None else way.begun[2]
        latency = receipt.latency_ms
        if latency is None and status is Status.FAILURE:
            latency = (self._clock.monotonic() - way.started) * 1000
        outcome = Outcome(
            decision=way.decided.decision,
            task=route.task.name,
            version=way.tried,
            status=status,
            error=None if error is None else error.code,
            detail=None if error is None else error.sentence[:2000],
            latency_ms=latency,
            wait_ms=None if latency is None else way.wait_ms,
            load_ms=None if lease is None or latency is None else lease.load_ms,
            ttft_ms=receipt.ttft_ms,
            prompt_chars=prompt_chars(ask.work),
            answer_room=ask.sampling.max_tokens,
            needs=needed(ask.work),
            usage=receipt.usage,
            timings=receipt.timings,
            cpu=unknown(NOT_BEGUN) if lease is None else lease.stop_metering(),
            concurrency=None if lease is None else lease.concurrency,
            grade=grade,
            attempts=() if status is Status.REFUSED else tuple(way.attempts),
        )
        self._outcomes.end(
            way.decided,
            outcome,
            caller=ask.caller,
            also=statements,
            then=then,
        )
        request_lines.tell(way.decided, outcome, caller=ask.caller)
        # known a moment later, when the counters have moved
        if lease is not None:
            answered_it = status is Status.SUCCESS
            counts = answered_it or status is Status.FAILURE
            spender = Spender(version=way.tried, task=route.task.name, answered=answered_it)
            self._behind.costs.expect(
                way.decided.decision,
                lease.then,
                of=spender if counts else None,
                who=(way.decided.alias, way.tried, route.task.name),
            )
        if way.vain:
            last = None if lease is None else answered(way.tried, lease, took_ms=latency)
            self._behind.costs.expect_tries(
                way.decided.decision, way.vain, task=route.task.name, answered=last
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
            elif status is Status.FAILURE and not _is_no_fault(way.failed or served.error):
                self._controller.note(route.assignment, Failure.CRASH)
        gradable = self._is_gradable(way.ask, route)
        counts = gradable or route.assignment.is_chosen
        score = _unit_score(way, status, grade) if counts else None
        if route.assignment.is_paired:
            self._shadow(way, route.assignment, score)
        return self._controller.ended(
            route.assignment,
            task=route.task.name,
            decision=way.decided.decision,
            score=score,
            ending=_ending(way, status),
            waits=counts and not gradable and score is None and status is Status.SUCCESS,
        )

    def _is_gradable(self, ask: Ask, route: _Route) -> bool:
        rule = self._behind.grader(route.task, "", ask.expected)
        return rule is not None and route.guess is None

    def _shadow(self, way: _Journey, assignment: Assignment, score: float | None) -> None:
        """Have the other version asked the same, once nobody waits."""
        ask, track = way.ask, self._controller.track(assignment.rollout)
        if track is None:
            return
        if score is None or isinstance(ask.work, Embedding):
            track.unpaired(assignment)
            return
        self._behind.copies.add(
            Copy(
                assignment=assignment,
                decision=way.decided.decision,
                task=way.route.task,
                work=ask.work,
                sampling=ask.sampling,
                stream=ask.stream,
                expected=ask.expected,
                served=score,
            )
        )

    def _grade(self, ask: Ask, route: _Route, served: Served | None) -> float | None:
        # by the grader of a task that was guessed wrongly it would be wrong on record for good
        if served is None or not served.is_text or route.guess is not None:
            return None
        grade = self._behind.grader(route.task, "".join(served.text), ask.expected)
        return None if grade is None else grade.score


class _Answering:
    """What `Dispatch.answer` gives: a request under way for as long as the context is open.

    A class and no generator with `contextlib` around it: that costs a request more than the choice
    of its model does.
    """

    __slots__ = ("_ask", "_dispatch", "_way")

    def __init__(self, dispatch: Dispatch, ask: Ask) -> None:
        self._dispatch = dispatch
        self._ask = ask
        self._way: _Journey | None = None

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


def _seen(
    old: Seen, one: Contender, profile: Profile, speed: Speed, *, spend: Spend | None
) -> Seen:
    """The same value again where nothing changed, so that what follows from it can be kept."""
    if (
        old.contender is one
        and old.profile is profile
        and old.speed is speed
        and old.spend is spend
    ):
        return old
    return Seen(contender=one, profile=profile, speed=speed, spend=spend)


def _request(ask: Ask, can: frozenset[str]) -> Generation | Embedding:
    """What the engine is asked for."""
    work = ask.work
    if isinstance(work, Embedding):
        return work
    if isinstance(work, Chat) and work.tools is not None and "tools" not in needed(work) | can:
        # they may not be called, and an engine would refuse them for a model that knows no tools
        work = structs.replace(work, tools=None)
    return Generation(work=work, sampling=ask.sampling, stream=ask.stream, counts=ask.counts)


def _status(
    served: Served | None, failed: ArbiterError | None
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
    if not isinstance(error, EngineRefused) or isinstance(error, CannotServe):
        return True
    if number == 0 and route.arm in {Arm.CANDIDATE, Arm.HOLDBACK}:
        return True
    here = route.versions[number].artifact.context_length
    there = route.versions[following].artifact.context_length
    return here is not None and there is not None and there > here


def _unit_score(way: _Journey, status: Status, grade: float | None) -> float | None:
    """The score of a unit by intention to treat: it belongs to the arm that it was drawn for.

    A version whose request another one had to serve scores 0, however good that answer was, and
    in either arm alike: otherwise equal versions that fail equally often would look unequal. What
    is not a version's doing (a hang-up, a request that nobody can serve, a full house, a server
    that is gone) scores nothing.
    """
    if status in {Status.CANCELLED, Status.REFUSED}:
        return None
    if way.attempts and way.attempts[0].error in NO_FAULT:
        return None
    error = way.failed or (None if way.served is None else way.served.error)
    if not way.attempts and _is_no_fault(error):
        return None
    return 0.0 if status is Status.FAILURE or way.attempts else grade


def _ending(way: _Journey, status: Status) -> Ending | None:
    """How the version that was drawn answered; None where that is not its doing."""
    if way.attempts:
        first = way.attempts[0].error
        return None if first in NO_FAULT else Ending(failure=failure_of(first))
    served = way.served
    error = way.failed or (None if served is None else served.error)
    if status in {Status.CANCELLED, Status.REFUSED} or _is_no_fault(error):
        return None
    if error is not None or served is None:
        return Ending(failure=Failure.CRASH if error is None else failure_of(error.code))
    if served.is_text and not "".join(served.text).strip():
        return Ending(failure=Failure.EMPTY)
    latency = served.receipt.latency_ms
    return Ending(latency_ms=None if latency is None else max(0.0, latency - (way.wait_ms or 0.0)))


def _is_no_fault(error: ArbiterError | None) -> bool:
    return error is not None and error.code in NO_FAULT


def _failure(error: ArbiterError) -> Failure:
    if isinstance(error, LoadFailed) and "memory" in error.message.lower():
        return Failure.OOM
    return failure_of(error.code)
