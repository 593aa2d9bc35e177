"""Where versions are served that another program runs, and whether it is there.

A place is an address and a name there; it has one version at a time, and a version may have
several places. Where a version was found last is kept in the database; whether its server answers
now is only known to this run of the house. The only writer of both.

This module speaks to nobody: `arbiter.registry.discovery` looks, and tells what it found here.
"""

from __future__ import annotations

from collections.abc import Mapping

from arbiter.clock import Clock
from arbiter.engines.base import Place
from arbiter.refs import VersionId
from arbiter.storage.database import Database, Statement


class Places:
    """Every place that is known, in memory and in the database."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._at: dict[Place, VersionId] = {}
        self._gone: dict[str | Place, str] = {}
        self._failing: set[Place] = set()
        """There, and the last to be taken until they are looked at again."""
        self.revision = 0
        """Grows with every change, so that what was derived from the places can be kept."""

    async def load(self) -> None:
        """Read what is kept. Every server is taken to be there until somebody finds it gone."""
        for engine, url, model, version in await self._database.read("list_places"):
            place = Place(engine=str(engine), url=str(url), model=str(model))
            self._at[place] = VersionId(str(version))

    def of(self, version: VersionId) -> tuple[Place, ...]:
        """The places of a version: who is there first, who failed there last, then by address."""
        found = [place for place, one in self._at.items() if one == version]

        def order(place: Place) -> tuple[bool, bool, str, str]:
            is_away = self.trouble(place) is not None
            return is_away, place in self._failing, place.url, place.model

        return tuple(sorted(found, key=order))

    def beside(self, version: VersionId, place: Place) -> bool:
        """Whether a version is to be had at another place too, which has not failed lately."""
        return any(
            self.trouble(other) is None and other not in self._failing
            for other in self.of(version)
            if other != place
        )

    def is_well(self, place: Place) -> bool:
        """Whether a place is there, as far as is known, and has not failed lately."""
        return place not in self._failing and self.trouble(place) is None

    def fail(self, place: Place) -> None:
        """A place is there and failed a request: others are taken first until the next look.

        It stays a place to be had: a failure takes nobody away.
        """
        self._failing.add(place)
        self.revision += 1

    def at(self, place: Place) -> VersionId | None:
        """The version that was found at a place last."""
        return self._at.get(place)

    def all(self) -> Mapping[Place, VersionId]:
        """Every place with its version."""
        return dict(self._at)

    async def settle(self, place: Place, version: VersionId) -> None:
        """Note which version is served at a place. Nothing is written when that is known."""
        if self._at.get(place) == version:
            return
        await self._database.write(
            Statement(
                query="put_place",
                parameters=(
                    place.engine,
                    place.url,
                    place.model,
                    version,
                    self._clock.now().isoformat(),
                ),
            )
        )
        self.revision += 1
        self._at[place] = version

    def note(self, where: str | Place, trouble: str | None) -> bool:
        """Note whether a server, or one model there, can be reached; True when that is news.

        trouble: why it is taken to be gone, or None when it is there.
        """
        if trouble is None:
            failing = {p for p in self._failing if where not in (p, p.url)}
            self.revision += failing != self._failing
            self._failing = failing
        before = self._gone.get(where)
        if trouble == before:
            return False
        if trouble is None:
            del self._gone[where]
        else:
            self._gone[where] = trouble
        self.revision += 1
        return (trouble is None) != (before is None)

    def trouble(self, place: Place) -> str | None:
        """Why a place cannot be reached now, or None when it can, as far as is known."""
        return self._gone.get(place.url) or self._gone.get(place)

    def absent(self, version: VersionId) -> str | None:
        """Why a version that servers offer cannot be reached now, or None when it can.

        None too for a version that has no place: it was registered from a file.
        """
        places = self.of(version)
        troubles = [self.trouble(place) for place in places]
        if not places or None in troubles:
            return None
        return "; ".join(f"{p.url}: {t}" for p, t in zip(places, troubles, strict=True))
