"""Who kept failing lately: breakers that are not closed, and versions that move to another place.

What a breaker means is decided in `arbiter.pool.breaker`. Here it is said aloud, and a version that
fails where one server offers it is had from the next, where there is one.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Final, Protocol

from arbiter.clock import Clock
from arbiter.engines.base import Runner, ServedRunner
from arbiter.errors import EngineError, KeyRefused
from arbiter.inference import Usage
from arbiter.knowledge.speed import Timing
from arbiter.pool.breaker import Phase, Sign, sign_of
from arbiter.pool.instance import Instance
from arbiter.pool.lease import Lease, Lender
from arbiter.pool.pace import READ_AT_MOST, Change, remembered
from arbiter.refs import VersionId, short
from arbiter.registry.registry import Registry
from arbiter.storage.database import Database

LOG = logging.getLogger(__name__)
_NOBODY: Final[Mapping[VersionId, str]] = MappingProxyType({})


class Tell(Protocol):
    """Announces what became of an instance of a version."""

    def __call__(self, kind: str, *, version: VersionId, number: int, reason: str) -> None:
        """Once, now."""
        ...


class Doubts:
    """The instances of a pool that are passed over for now. tell: announces a breaker's moves."""

    def __init__(self, *, registry: Registry, clock: Clock, tell: Tell) -> None:
        self._registry = registry
        self._places = registry.places
        self._clock = clock
        self._tell = tell
        self._paces: dict[str, list[tuple[Timing, Usage, float]]] = {}
        """How fast every version answered before this start."""
        self._doubted: dict[str, Instance] = {}
        """Whose breaker is not closed, and who is slow, by the instance's key."""

    async def load(self, database: Database) -> None:
        """Read how fast every version answered before."""
        rows = await database.read("latest_paced", READ_AT_MOST)
        for version, one, usage, crowd in remembered(rows):
            self._paces.setdefault(version, []).append((one, usage, crowd))

    def attend(self, instance: Instance, *, is_ours: bool) -> None:
        """Hear from now on how it does. is_ours: no other program runs it, here or elsewhere."""
        before = self._paces.get(instance.spec.version, ())
        for one, usage, crowd in before if is_ours else ():
            instance.health.pace.remember(one, usage, crowd)
        instance.health.listener = partial(self._judged, instance)
        instance.health.on_pace = partial(self._paced, instance)

    def ailing(self) -> Mapping[VersionId, str]:
        """The versions of which an instance kept failing lately, with why; who can asks others.

        Nobody is refused because of it, and one request at a time tries whether it is over.
        """
        if not self._doubted:
            return _NOBODY
        found = [(one.spec.version, one.health.ailing) for one in self._doubted.values()]
        return {version: why for version, why in found if why is not None}

    def move_on(self, lease: Lease, error: EngineError) -> bool:
        """After a failure before the first byte: have the version served at its next place.

        False when it has none, or when the place is not to blame.
        """
        if sign_of(error) is Sign.NOTHING and not isinstance(error, KeyRefused):
            return False
        return self._move(lease.instance, lease.runner, error.code)

    def _judged(self, instance: Instance) -> None:
        """A breaker opened, is tried, or closed."""
        version, breaker = instance.spec.version, instance.health.breaker
        self._look_at(instance)
        if breaker.phase is Phase.OPEN:
            names = ", ".join(self._registry.names_of(version))
            LOG.warning(
                "%s keeps failing (%s); auto asks others for %.0f s",
                names or short(version),
                breaker.why,
                breaker.until - self._clock.monotonic(),
            )
        self._tell(
            f"breaker.{breaker.phase.value}",
            version=version,
            number=instance.number,
            reason=breaker.why,
        )
        if breaker.phase is Phase.OPEN and instance.runner is not None:
            self._move(instance, instance.runner, breaker.why)

    def _paced(self, instance: Instance, change: Change) -> None:
        """An instance has become slow, or is so no more."""
        version, why = instance.spec.version, instance.health.pace.why
        self._look_at(instance)
        if why is not None:
            names = ", ".join(self._registry.names_of(version))
            LOG.warning("%s is slow: %s", names or short(version), why)
        self._tell(
            f"pace.{change.value}", version=version, number=instance.number, reason=why or ""
        )
        if why is not None and instance.runner is not None:
            self._move(instance, instance.runner, f"it is slow: {why}")

    def _look_at(self, instance: Instance) -> None:
        """Have it in mind for as long as anything is the matter with it."""
        health = instance.health
        if health.breaker.phase is Phase.CLOSED and health.pace.why is None:
            self._doubted.pop(instance.key, None)
        else:
            self._doubted[instance.key] = instance

    def _move(self, instance: Lender, runner: Runner, why: str) -> bool:
        """Have a version that fails at one place served at another, if it has one."""
        if not isinstance(runner, ServedRunner):
            return False
        if not self._places.beside(instance.spec.version, runner.place):
            return False
        self._places.fail(runner.place)
        instance.leave(runner, why)
        return True
