"""A request's first byte: from a fresh instance, another host or another version if need be.

Before the first byte all may be tried again, within bounds; after it nothing is.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from math import inf

from msgspec import structs

from arbiter.dispatch.behind import Behind
from arbiter.dispatch.journey import Begun, Journey, Moved
from arbiter.dispatch.route import Route, may_go_on
from arbiter.errors import (
    ArbiterError,
    Busy,
    CannotServe,
    EngineError,
    InstanceLost,
    KeyRefused,
    LoadFailed,
    NotOffered,
    ServerGone,
    ShuttingDown,
)
from arbiter.inference import (
    Ask,
    Chat,
    Chunk,
    Embedding,
    Generation,
    needed,
)
from arbiter.knowledge.outcome import NO_FAULT, Attempt
from arbiter.pool.fairness import Who
from arbiter.pool.instance import Lease
from arbiter.pool.pool import loadable
from arbiter.pool.reply import Served, first_of, pieces_of
from arbiter.pool.siblings import Sought
from arbiter.pool.vain import vain
from arbiter.refs import short
from arbiter.registry.registry import Version
from arbiter.swap.evidence_rows import failure_of
from arbiter.swap.tripping import Failure

MOST_FALLBACKS = 3
"""How many versions that failed one request may be replaced by the next."""

FOUND_OUT_AT_ONCE = frozenset({ServerGone.code, NotOffered.code, CannotServe.code, KeyRefused.code})
"""Failures that cost nothing, so that any number of them may be passed over."""

FRESH_TRIES = 3
"""How often one request may find its instance dead before its first byte."""


class Serving:
    """Gets a first byte, from whoever of a route gives one."""

    def __init__(self, behind: Behind) -> None:
        self._registry = behind.registry
        self._pool = behind.pool
        self._controller = behind.controller
        self._clock = behind.clock

    async def reach(self, way: Journey) -> Served:
        """The first version of the route that gives a first byte."""
        ask, versions = way.ask, way.route.versions
        number, first = 0, None
        while way.begun is None:
            version = versions[number]
            way.tried = version.version
            try:
                request = _request(ask, self._pool.capabilities(version.artifact))
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

    def _following(self, way: Journey, number: int, error: ArbiterError) -> int | None:
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
        return following if may_go_on(way.route, number, following, error) else None

    async def _open(self, way: Journey, version: Version, request: Generation | Embedding) -> Begun:
        """The first chunk of one version, from a fresh instance when the present one is dead."""
        tries = 0
        avoid: tuple[str, ...] = ()
        busy: Busy | None = None
        while True:
            tries += 1
            try:
                return await self._begin(way, version, request, avoid)
            except InstanceLost as error:
                # nothing is loaded for the sake of those who are held back
                is_last = tries >= FRESH_TRIES or version.version == way.route.held_back
                if is_last or not self._may_again(way, error):
                    raise
            except Moved as moved:
                busy = _soonest(busy, moved.why)
                if tries >= FRESH_TRIES or not self._may_again(way, moved.why, moves=True):
                    raise (busy or moved.why) from moved
                avoid += (moved.at,)
            except (Busy, LoadFailed) as error:
                if busy is None or isinstance(error, ShuttingDown):
                    raise
                # that one was busy tells more than that no other one could be had beside it
                raise (_soonest(busy, error) or error) from error

    def _may_again(self, way: Journey, error: ArbiterError, *, moves: bool = False) -> bool:
        """Whether the house may try a request once more after an error; asked once it said no.

        moves: as `Again.may`.
        """
        if way.is_spent:
            return False
        may = self._pool.again.may(error, moves=moves)
        # a busy host that is not moved on from leaves the next version, which costs nothing
        way.is_spent = not may and not (moves and isinstance(error, Busy))
        return may

    async def _begin(
        self,
        way: Journey,
        version: Version,
        request: Generation | Embedding,
        avoid: tuple[str, ...],
    ) -> Begun:
        """An answer whose first chunk is there; `end` it. Raises `Moved`.

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
            why = error.why if isinstance(error, Moved) else error
            took = self._clock.monotonic() - asked_at
            way.vain.append(vain(version.version, lease, why, took_s=took))
            raise

    async def _first(self, way: Journey, lease: Lease, request: Generation | Embedding) -> Begun:
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
            await self.end(chunks, lease)
            if isinstance(error, EngineError | Busy) and self._pool.elsewhere.move_on(lease, error):
                raise Moved(error, lease.instance.key) from error
            raise
        return first, chunks, lease

    async def end(self, chunks: AsyncGenerator[Chunk, None], lease: Lease) -> None:
        """Stop the engine if it still writes, then let its slot go."""
        try:
            await chunks.aclose()
        finally:
            lease.stop_metering()
            self._pool.give_back(lease)

    def _note(self, route: Route, number: int, error: ArbiterError) -> None:
        """Tell the rollout how its candidate failed; only its own first try is its own."""
        blamed = isinstance(error, EngineError) and not error.ours and error.code not in NO_FAULT
        if route.assignment is not None and number == 0 and blamed:
            self._controller.note(route.assignment, _failure(error))


def _request(ask: Ask, can: frozenset[str]) -> Generation | Embedding:
    """What the engine is asked for."""
    work = ask.work
    if isinstance(work, Embedding):
        return work
    if isinstance(work, Chat) and work.tools is not None and "tools" not in needed(work) | can:
        # they may not be called, and an engine would refuse them for a model that knows no tools
        work = structs.replace(work, tools=None)
    return Generation(work=work, sampling=ask.sampling, stream=ask.stream, counts=ask.counts)


def _soonest(before: Busy | None, now: ArbiterError) -> Busy | None:
    """Of two that were busy, the one that says to come again first; else the one that was."""
    both = [one for one in (before, now) if isinstance(one, Busy)]
    return min(both, key=_pause_s, default=None)


def _pause_s(busy: Busy) -> float:
    return inf if busy.retry_after_s is None else busy.retry_after_s


def _failure(error: ArbiterError) -> Failure:
    if isinstance(error, LoadFailed) and "memory" in error.message.lower():
        return Failure.OOM
    return failure_of(error.code)
