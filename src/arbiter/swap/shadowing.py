"""Asks the other version of a rollout what the first one has answered, when nobody is kept waiting.

What `arbiter.swap.pairing` drew comes here once its client has the answer. One copy runs at a time,
only while nobody is served, and on a version that is in memory already or fits beside the others.
Whoever comes has the machine at once: the copy is cut, and is asked again from the start later. It
is never given up for having been cut: long answers are cut more often, and those that ramble are
the wrong ones. A prompt is kept in memory until its copy has been asked, and nowhere else.

Nothing of a copy is served or put on record but its score. No tool is called: a request that may
call tools makes no pair.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from arbiter.clock import Clock
from arbiter.errors import (
    ArbiterError,
    Busy,
    CannotDo,
    EngineError,
    EngineUnavailable,
    ShuttingDown,
)
from arbiter.events import Announcer, Event
from arbiter.inference import Answer, Ask, Called, Chat, Completion, Delta, Pinned, Sampling
from arbiter.judge.grading import TaskGrader
from arbiter.knowledge.outcome import NO_FAULT
from arbiter.knowledge.tasks import Task
from arbiter.pool.instance import State
from arbiter.pool.pool import Pool, loadable
from arbiter.pool.presence import Presence
from arbiter.refs import DecisionId, ModelName, RolloutId, VersionId, short
from arbiter.registry.registry import Registry
from arbiter.storage.database import Database
from arbiter.swap.assignment import Assignment
from arbiter.swap.crashing import Crash, Place, nowhere
from arbiter.swap.traffic import Track

LOG = logging.getLogger(__name__)

QUIET_S = 1.0
"""How long nobody may have been served before a copy begins: whoever asks on is not run into."""

TRY_AGAIN_S = 60.0
"""Pause before a version that could not be asked is tried again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A request that has been answered and graded, to be asked of the other version.

    served: the score of the answer that its client got.
    """

    assignment: Assignment
    decision: DecisionId
    task: Task
    work: Chat | Completion
    sampling: Sampling
    stream: bool
    expected: str | None
    served: float


class Copies:
    """The copies that wait, the oldest first. `arbiter.swap.pairing` bounds how many there are."""

    def __init__(self) -> None:
        self._waiting: list[Copy] = []
        self._some = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Copy]:
        return iter(tuple(self._waiting))

    def add(self, copy: Copy) -> None:
        """It waits from now on."""
        self._waiting.append(copy)
        self._some.set()

    def remove(self, copy: Copy) -> None:
        """It was asked, or need not be."""
        self._waiting.remove(copy)
        if not self._waiting:
            self._some.clear()

    async def some(self) -> None:
        """Return when one waits."""
        await self._some.wait()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What a copy came to. score: None when it did not come about, by no fault of the version."""

    score: float | None


class Shadowing:
    """The background work for pairs. The only one that asks copies.

    track: the live side of a rollout, while it goes on. crash: for tests that kill the house.
    """

    def __init__(  # noqa: PLR0913  # each is a room that it needs
        self,
        *,
        copies: Copies,
        answer: Answer,
        track: Callable[[RolloutId], Track | None],
        registry: Registry,
        pool: Pool,
        presence: Presence,
        grader: TaskGrader,
        database: Database,
        clock: Clock,
        announcer: Announcer,
        crash: Crash | None = None,
    ) -> None:
        self._copies = copies
        self._answer = answer
        self._track = track
        self._registry = registry
        self._pool = pool
        self._presence = presence
        self._grader = grader
        self._database = database
        self._clock = clock
        self._announcer = announcer
        self._at = crash or nowhere
        self._held_up: dict[VersionId, float] = {}
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """How many copies are still to be asked."""
        return len(self._copies)

    def open(self) -> None:
        """Ask copies from now on."""
        self._task = asyncio.create_task(self._run(), name="copies of requests")
        self._task.add_done_callback(_report)

    async def close(self) -> None:
        """Stop. What waits is lost with its prompts, and is evidence of nothing."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await self._copies.some()
            pause_s = await self._step()
            if pause_s > 0.0:
                await self._clock.sleep(pause_s)

    async def _step(self) -> float:
        """Ask one copy, or none; seconds until the next look."""
        for copy in self._copies:
            if self._track(copy.assignment.rollout) is None:
                self._copies.remove(copy)
        await self._presence.departure()
        left = QUIET_S - self._presence.quiet_s
        if left > 0.0 or not len(self._copies):
            return max(left, 0.0)
        now = self._clock.monotonic()
        ready = (c for c in self._copies if self._held_up.get(c.assignment.other, now) <= now)
        first = next(ready, None)
        if first is None:
            return TRY_AGAIN_S
        await self._carry_out(first)
        return 0.0

    async def _carry_out(self, copy: Copy) -> None:
        version = copy.assignment.other
        name, *_ = self._registry.names_of(version) or (None,)
        try:
            if name is None:
                asked: _Asked | None = _Asked(score=None)
            elif await self._is_ready(version):
                asked = await self._presence.unless_somebody_comes(self._asked(copy, name))
            else:
                return
        except ArbiterError as error:
            LOG.warning("copies wait for %s: %s", short(version), error.sentence)
            self._hold_up(version)
            return
        if asked is not None:
            self._copies.remove(copy)
            self._keep(copy, asked)

    def _hold_up(self, version: VersionId) -> None:
        self._held_up[version] = self._clock.monotonic() + TRY_AGAIN_S

    async def _is_ready(self, id_: VersionId) -> bool:
        """Whether it can be asked at once; loads it where that puts nobody out."""
        version = self._registry.version(id_)
        if self._registry.places.absent(id_) is None:
            if self._pool.states().get(id_) is not State.READY:
                spare = self._pool.warm_spare(loadable(version))
                await self._presence.unless_somebody_comes(spare)
            if self._pool.states().get(id_) is State.READY:
                return True
        if not self._presence.is_anybody_here:
            self._hold_up(id_)
        return False

    async def _asked(self, copy: Copy, name: ModelName) -> _Asked | None:
        """The score of the other version's answer, graded as the first one was.

        None when it was not to be had just now. An answer that fails scores 0, as it does in the
        randomised test. Raises when nothing can be asked of the version now.
        """
        async with self._presence.spare:
            # nothing is awaited between this look and the lease: a copy never makes the pool load
            if self._pool.states().get(copy.assignment.other) is not State.READY:
                return None
            try:
                text = await self._text(copy, name)
            except (Busy, ShuttingDown, EngineUnavailable):
                raise
            except ArbiterError as error:
                return _Asked(score=_failed(error))
        grade = None if text is None else self._grader(copy.task, text, copy.expected)
        return _Asked(score=0.0 if grade is None else grade.score)

    async def _text(self, copy: Copy, name: ModelName) -> str | None:
        """What it writes; None when it wants a tool called, which none was offered."""
        ask = Ask(
            target=Pinned(name=name, digest_prefix=copy.assignment.other),
            work=copy.work,
            sampling=copy.sampling,
            stream=copy.stream,
            task=copy.task.name,
            conversation=copy.assignment.unit,
            rehearsal=True,
        )
        pieces: list[str] = []
        is_text = True
        async with self._answer.answer(ask) as reply:
            async for chunk in reply.chunks():
                if isinstance(chunk, Delta):
                    pieces.append(chunk.text)
                is_text = is_text and not isinstance(chunk, Called)
        return "".join(pieces) if is_text else None

    def _keep(self, copy: Copy, asked: _Asked) -> None:
        assignment = copy.assignment
        track = self._track(assignment.rollout)
        if track is None:
            return
        if asked.score is None:
            track.unpaired(assignment)
            return
        rows, then = track.paired(
            assignment,
            task=copy.task.name,
            decision=copy.decision,
            served=copy.served,
            other=asked.score,
        )
        if then is None:
            return  # the rollout was taken up anew since it was drawn
        self._at(Place.ASKED)
        self._database.enqueue(*rows, then=partial(self._stored, copy, asked.score, then))
        self._at(Place.PAIRED)

    def _stored(
        self, copy: Copy, other: float, then: Callable[[bool], None], durable: bool
    ) -> None:
        then(durable)
        if not durable:
            return
        self._announcer.announce(
            Event(
                kind="shadow.pair",
                at=self._clock.now(),
                detail={
                    "rollout": copy.assignment.rollout,
                    "decision": copy.decision,
                    "task": copy.task.name,
                    "served": copy.served,
                    "other": other,
                },
            )
        )


def _failed(error: ArbiterError) -> float | None:
    """What a copy scores that failed so: 0 where that is the version's doing, else nothing."""
    if error.code in NO_FAULT:
        return None
    # what one version has answered is not to be refused by the other
    return 0.0 if isinstance(error, CannotDo | EngineError) else None


def _report(task: asyncio.Task[None]) -> None:
    """A fault of ours in the background must not pass in silence."""
    if not task.cancelled() and task.exception() is not None:
        LOG.error("%s are no longer asked", task.get_name(), exc_info=task.exception())
