"""Probes the instances that are in memory: a few tokens, when nobody uses them.

`arbiter.pool.probe` says when, what and what it means. Nothing is ever loaded for a probe, and what
another program runs is asked only where that program says that it has it in memory. A probe is no
use of a model and no request: it has no decision, no cost and no outcome, and keeps nobody in
memory. Whoever comes while one goes on for no other reason than time ends it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing
from functools import partial
from math import inf
from typing import Final

from arbiter.clock import Clock
from arbiter.engines.base import ServedRunner, ServerEngine
from arbiter.engines.deadlines import within
from arbiter.errors import ArbiterError, EngineError, InstanceLost
from arbiter.events import Announcer, Detail, Event
from arbiter.inference import Chunk, Embedding, Generation
from arbiter.pool.breaker import Phase, Sign, sign_of
from arbiter.pool.health import Probed
from arbiter.pool.instance import Instance, Lease, State
from arbiter.pool.pool import Pool
from arbiter.pool.presence import Presence
from arbiter.pool.probe import (
    MOST_PIECES,
    Fault,
    Standing,
    Verdict,
    faults,
    question,
    reason_to_probe,
    verdict,
)
from arbiter.pool.reply import pieces_of
from arbiter.refs import VersionId, short

LOG = logging.getLogger(__name__)

LOOK_S: Final = 1.0
"""How often it is looked whether a probe is due; a look that finds none reads a few numbers."""

GRACE_S: Final = 5.0
"""When a breaker's pause is over, a probe has this long to be the trial instead of a request."""


BATTERY_S: Final = 10.0
"""What was said of the battery is believed for so long: to ask takes a thread."""


class Probing:
    """The background work. on_battery: whether this machine runs on its battery; None: unknown."""

    def __init__(
        self,
        *,
        pool: Pool,
        presence: Presence,
        clock: Clock,
        announcer: Announcer,
        on_battery: Callable[[], bool | None],
    ) -> None:
        self._pool = pool
        self._presence = presence
        self._clock = clock
        self._announcer = announcer
        self._on_battery = on_battery
        self._is_on_mains = False
        self._ask_again_at = 0.0
        self._habits: dict[VersionId, frozenset[Fault]] = {}
        self._under_way: dict[Instance, asyncio.Task[None]] = {}
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Look from now on, if the settings say so; a later change of them counts too."""
        self._task = asyncio.create_task(self._run(), name="the probes")
        self._task.add_done_callback(_report)

    async def close(self) -> None:
        """Stop, and give back what is being probed."""
        tasks = [task for task in (self._task, *self._under_way.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def settle(self) -> None:
        """Return when every probe that is under way has ended."""
        await asyncio.gather(*self._under_way.values())

    async def _run(self) -> None:
        while True:
            await self.look()
            if self._pool.settings.probe_s:
                await self._clock.sleep(LOOK_S)
            else:
                self._pool.reconfigured.clear()
                await self._pool.reconfigured.wait()

    async def look(self) -> None:
        """Look once, and begin the probes that are due."""
        if not self._due() or not await self._may_now():
            return
        # once more: the battery is asked in a thread, and meanwhile much may have happened
        for instance, why, is_doubted in self._due():
            task = asyncio.create_task(self._probe(instance, why, is_doubted=is_doubted))
            self._under_way[instance] = task
            task.add_done_callback(partial(self._ended, instance))

    def _due(self) -> list[tuple[Instance, str, bool]]:
        """Whom to probe now, why, and whether it is doubted; breakers learn who tries them."""
        every_s = self._pool.settings.probe_s
        due = []
        for instance in self._pool.instances():
            standing = self._standing(instance)
            instance.health.grace_s = GRACE_S if every_s and not standing.is_outside else 0.0
            why = reason_to_probe(standing, every_s=every_s) if every_s else None
            if why is not None and instance not in self._under_way:
                due.append((instance, why, standing.is_trial_due or bool(standing.failures)))
        return due

    def _ended(self, instance: Instance, task: asyncio.Task[None]) -> None:
        del self._under_way[instance]
        _report(task)

    async def _may_now(self) -> bool:
        if self._pool.settings.probe_on_battery:
            return True
        now = self._clock.monotonic()
        if now >= self._ask_again_at:
            # what nobody can say is taken for a battery
            self._is_on_mains = await asyncio.to_thread(self._on_battery) is False
            self._ask_again_at = now + BATTERY_S
        return self._is_on_mains

    def _standing(self, instance: Instance) -> Standing:
        now, health = self._clock.monotonic(), instance.health
        breaker, probed = health.breaker, health.probed
        lately = (instance.usage.last, instance.since, 0.0 if probed is None else probed.at)
        is_open = breaker.phase is not Phase.CLOSED
        return Standing(
            is_ready=instance.state is State.READY and instance.runner is not None,
            in_use=instance.leases + instance.waiting,
            idle_s=now - max(lately),
            failures=breaker.failures,
            is_trial_due=is_open and now >= breaker.until,
            is_passed_over=is_open and now < breaker.until,
            probed_s=inf if probed is None else now - probed.at,
            is_outside=isinstance(instance.runner, ServedRunner),
            is_quiet=not self._presence.is_anybody_here and not self._presence.spare.locked(),
        )

    async def _probe(self, instance: Instance, why: str, *, is_doubted: bool) -> None:
        request = question(instance.spec.capabilities)
        if request is None or not await _is_in_memory(instance):
            self._note(instance, Sign.NOTHING, "")
            return
        lease = instance.take_idle()
        if lease is None:
            return  # somebody came meanwhile
        LOG.debug("%s is probed: %s", short(instance.spec.version), why)
        try:
            asking = self._asked(instance, lease, request)
            if is_doubted:
                found = await asking
            else:
                async with self._presence.spare:
                    found = await self._presence.unless_somebody_comes(asking) or found_nothing()
        finally:
            self._pool.give_back(lease)
        self._note(instance, found.sign, found.why)

    async def _asked(
        self, instance: Instance, lease: Lease, request: Generation | Embedding
    ) -> Verdict:
        """What came of a probe; the breaker is told."""
        version, limit_s = instance.spec.version, self._pool.settings.probe_limit_s
        habits = self._habits.get(version)
        known = habits or frozenset()
        try:
            heard = await within(self._clock, limit_s, _heard(lease, request))
            found = verdict(faults(heard), habits)
            self._habits[version] = found.habits
        except TimeoutError:
            why = f"a probe: no whole answer in {limit_s:.0f} s"
            found = Verdict(sign=Sign.ILL, why=why, habits=known)
        except ArbiterError as error:
            found = Verdict(sign=sign_of(error), why=f"a probe: {error.code}", habits=known)
            if isinstance(error, InstanceLost):
                instance.lost(lease.runner)
        lease.passage.tell(found.sign, found.why)
        if found.sign is Sign.WELL:
            instance.answered()
        return found

    def _note(self, instance: Instance, sign: Sign, why: str) -> None:
        is_ill = sign in {Sign.ILL, Sign.LOST}
        instance.health.note(
            Probed(at=self._clock.monotonic(), sign=sign, why=why if is_ill else "")
        )
        if is_ill:
            version = instance.spec.version
            LOG.warning("%s failed a probe: %s", short(version), why)
            detail: dict[str, Detail] = {
                "version": version,
                "number": instance.number,
                "reason": why,
            }
            self._announcer.announce(
                Event(kind="probe.failed", at=self._clock.now(), detail=detail)
            )


def found_nothing() -> Verdict:
    """A probe that was cut says nothing."""
    return Verdict(sign=Sign.NOTHING, why="", habits=frozenset())


async def _heard(lease: Lease, request: Generation | Embedding) -> list[Chunk]:
    """The pieces of an answer, and no more than a probe needs."""
    chunks: list[Chunk] = []
    async with aclosing(pieces_of(lease.runner, request)) as pieces:
        async for piece in pieces:
            chunks.append(piece)
            if len(chunks) >= MOST_PIECES:
                break
    return chunks


async def _is_in_memory(instance: Instance) -> bool:
    """Whether a probe would load nothing. What nobody can say is taken for no."""
    runner, engine = instance.runner, instance.engine
    if not isinstance(runner, ServedRunner):
        return runner is not None
    if not isinstance(engine, ServerEngine):
        return False
    try:
        site = await engine.look(runner.place.url)
    except EngineError:
        return False  # it is gone, or says nothing: whoever looks after servers finds that out
    return any(one.model == runner.place.model and one.loaded for one in site.offers)


def _report(task: asyncio.Task[None]) -> None:
    """A fault of ours in the background must not pass in silence."""
    if not task.cancelled() and task.exception() is not None:
        LOG.error("%s came to grief", task.get_name(), exc_info=task.exception())
