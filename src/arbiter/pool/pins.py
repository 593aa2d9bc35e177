"""What a person wants to have in memory: names that are pinned, for good or until a date.

A pin belongs to a name, not to a version: when a swap moves the name, the pin goes with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from arbiter.clock import Clock
from arbiter.errors import UnknownModel
from arbiter.refs import ModelName, VersionId
from arbiter.registry.registry import Registry
from arbiter.storage.database import Database, Statement


class Pins:
    """Every pin."""

    def __init__(self, database: Database, clock: Clock, registry: Registry) -> None:
        self._database = database
        self._clock = clock
        self._registry = registry
        self._until: dict[ModelName, datetime | None] = {}

    async def load(self) -> None:
        """Read what was pinned before."""
        for name, until in await self._database.read("list_pins"):
            date = None if until is None else datetime.fromisoformat(str(until))
            self._until[ModelName(str(name))] = date

    def all(self) -> Mapping[ModelName, datetime | None]:
        """The names that are pinned now, each with its date; None: for good."""
        now = self._clock.now()
        return {name: until for name, until in self._until.items() if until is None or now < until}

    def versions(self) -> Mapping[VersionId, datetime | None]:
        """The versions that the pinned names stand for now; of several dates the latest."""
        found: dict[VersionId, datetime | None] = {}
        for name, until in self.all().items():
            try:
                version = self._registry.resolve(name).version
            except UnknownModel:
                continue  # the name was removed; if it comes back, so does its pin
            if version not in found:
                found[version] = until
            else:
                dates = (found[version], until)
                found[version] = None if None in dates else max(d for d in dates if d is not None)
        return found

    async def add(self, name: ModelName, until: datetime | None) -> None:
        """Pin a name. Durable when it returns. Raises `UnknownModel`."""
        self._registry.resolve(name)
        name = self._registry.meant(name)
        now = self._clock.now().isoformat()
        date = None if until is None else until.isoformat()
        await self._database.write(Statement(query="put_pin", parameters=(name, date, now)))
        self._until[name] = until

    async def remove(self, name: ModelName) -> bool:
        """Take a pin away. False: there was none."""
        if name not in self._until:
            return False
        await self._database.write(Statement(query="remove_pin", parameters=(name,)))
        del self._until[name]
        return True

    async def expire(self) -> tuple[ModelName, ...]:
        """Take away the pins whose date has passed; which those were."""
        over = tuple(name for name in self._until if name not in self.all())
        for name in over:
            await self.remove(name)
        return over
