"""Taking in a version that was found: under which name, and what becomes of the one before it.

A name never answers with other content in silence. A successor stands beside what was there where
that is still served somewhere, and else in its place, because a name that answers nothing helps
nobody. Its evidence starts empty either way; its graded cases are run in idle time
(`arbiter.swap.calibrating`).

What was found is the business of `arbiter.swap.adoption` and `arbiter.swap.found_files`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from arbiter.clock import Clock
from arbiter.engines.base import Place
from arbiter.errors import ArbiterError, StillInUse
from arbiter.events import Announcer, Event
from arbiter.pool.pool import Pool
from arbiter.refs import ModelName, VersionId, legible, parse_name, short
from arbiter.registry.artifact import Artifact
from arbiter.registry.moves import Move
from arbiter.registry.registry import Registry, Standing
from arbiter.swap.controller import Controller

WHO: Final = "discovery"


class Intake:
    """Registers what was found. The aliases wait for their models."""

    def __init__(
        self,
        *,
        registry: Registry,
        controller: Controller,
        pool: Pool,
        aliases: Mapping[str, str],
        clock: Clock,
        announcer: Announcer,
    ) -> None:
        self._registry = registry
        self._controller = controller
        self._pool = pool
        self._aliases = aliases
        self._clock = clock
        self._announcer = announcer

    def is_registered(self, version: VersionId) -> bool:
        """Whether a version is known here, whatever became of its names."""
        return any(one.version == version for one in self._registry.versions())

    async def take_in(
        self,
        artifact: Artifact,
        name: ModelName,
        predecessor: VersionId | None,
        place: Place | None,
    ) -> None:
        """Register it, and give it the aliases that wait for it."""
        await self._registry.add(artifact, name, predecessor=predecessor, who=WHO)
        if place is not None:
            await self._registry.places.settle(place, artifact.version)
        for alias, model in self._aliases.items():
            if model == name and all(one.name != alias for one in self._registry.names()):
                await self._registry.set_alias(
                    parse_name(alias), name, who="config", why="its model was found"
                )

    async def beside(
        self, model: str, artifact: Artifact, before: VersionId, name: ModelName
    ) -> str:
        """Say that a successor stands beside what was there, and what to do about it."""
        names = self._registry.names_of(before)
        known = model if model in names else next(iter(names), None)
        why = f"{legible(model)} has other content than {known or short(before)}"
        if known is not None:
            why += f"; roll it out: arbiter swap {known} {name}"
        self._announce(before, artifact.version, why)
        return why

    async def replace(self, old: VersionId, new: VersionId, place: Place) -> str:
        """Every name of a version that is served nowhere any more goes to its successor."""
        names = self._registry.names_of(old)
        model = legible(place.model)
        why = f"{model} has other content at {place.url}, and the old is offered nowhere"
        for rollout in self._controller.involving(old):
            await self._controller.abort(rollout, who=WHO, why=why)
        for name in names:
            move = Move(
                name=name,
                from_version=old,
                to_version=new,
                who=WHO,
                why=why,
                at=self._clock.now().isoformat(),
            )
            standings = {old: Standing.RETIRED, new: Standing.ACTIVE}
            await self._registry.move(move, standings=standings)
        # what is loaded under the old version's name may answer with the new content already
        with suppress(StillInUse):  # then it leaves like any other that no name means
            await self._pool.unload(old, reason=why)
        self._announce(old, new, why)
        return f"{why}: {', '.join(names) or 'no name'} now means {short(new)}"

    def name_for(self, artifact: Artifact, model: str, url: str, *, dated: bool) -> ModelName:
        """A name that stands for nothing else: the model's own, or with its date or its host."""
        base = artifact.name_hint
        with suppress(ArbiterError):
            # a server that was started on a file may call its model by the file's whole path
            base = parse_name(Path(model).stem if model.endswith(".gguf") else model)
        taken = {name.name for name in self._registry.names()}
        parts = urlsplit(url)
        where = str(parts.port or "") if parts.hostname == "127.0.0.1" else (parts.hostname or "")
        wishes = [] if dated else [base, f"{base}-{where}" if where else f"{base}-file"]
        wishes.append(f"{base}-{self._clock.now():%Y%m%d}")
        wishes += [f"{wishes[-1]}-{number}" for number in range(2, 100)]
        return parse_name(next(wish for wish in wishes if wish not in taken))

    def _announce(self, old: VersionId, new: VersionId, why: str) -> None:
        self._announcer.announce(
            Event(
                kind="model.changed",
                at=self._clock.now(),
                detail={"version": new, "predecessor": old, "reason": why},
            )
        )
