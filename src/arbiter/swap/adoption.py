"""What becomes of the models that were found: registered, known already, or changed under a name.

A name never answers with other content in silence. Where a server's tag has other content than
before, that content is a new version with the old one as its predecessor: beside the old one where
that is still served somewhere, else in its place, because a name that answers nothing helps nobody.
Its evidence starts empty either way; its graded cases are run in idle time
(`arbiter.swap.calibrating`).

`decide` is pure; `Adoption` does what it says. Looking is done by `arbiter.registry.discovery`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, assert_never
from urllib.parse import urlsplit

from arbiter.clock import Clock
from arbiter.config import Settings
from arbiter.engines.base import Offer, Place, Site
from arbiter.errors import ArbiterError, UnknownModel
from arbiter.events import Announcer, Event
from arbiter.pool.pool import Pool
from arbiter.refs import ModelName, VersionId, parse_name, short
from arbiter.registry.artifact import Artifact, examine, is_unchanged
from arbiter.registry.discovery import (
    Address,
    Discovery,
    FileSighting,
    ServerSighting,
    Survey,
)
from arbiter.registry.moves import Move
from arbiter.registry.provenance import Claim
from arbiter.registry.registry import Registry, Standing, Version
from arbiter.registry.served import served_artifact
from arbiter.swap.controller import Controller

LOG = logging.getLogger(__name__)

WHO: Final = "discovery"
FOLDERS_EVERY: Final = 4
"""Folders change less often than servers do, and listing them costs more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """It is registered, and where it was found is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settle:
    """The version is registered; this is one more place of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Register:
    """It is new. predecessor: the version that stood here before and is still served elsewhere."""

    predecessor: VersionId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Replace:
    """It is new, and what stood here before is served nowhere any more."""

    predecessor: VersionId


Step = Known | Settle | Register | Replace


def decide(
    version: VersionId,
    *,
    here: VersionId | None,
    is_registered: bool,
    is_elsewhere: bool,
) -> Step:
    """What becomes of a version that was found at a place.

    here: what was found there before. is_elsewhere: whether that is still served at another place.

    >>> old, new = VersionId("sha256:" + "0" * 64), VersionId("sha256:" + "1" * 64)
    >>> decide(new, here=old, is_registered=False, is_elsewhere=True).__class__.__name__
    'Register'
    """
    if here == version:
        return Known()
    if is_registered:
        return Settle()
    if here is None:
        return Register()
    return Register(predecessor=here) if is_elsewhere else Replace(predecessor=here)


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """What became of one model that was found.

    model: its name at its server, or its file. what: ``registered`` just now, ``known`` from
    before, ``changed`` when a name now answers with other content, ``shown`` when it was only
    looked at, ``trouble`` when it cannot be used, and why.
    """

    where: str
    model: str
    what: Literal["registered", "known", "changed", "shown", "trouble"]
    version: VersionId | None = None
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was looked at, and what became of each model that was found."""

    survey: Survey
    adopted: tuple[Adopted, ...]


class Adoption:
    """Registers what was found, as far as the settings say so."""

    def __init__(
        self,
        *,
        discovery: Discovery,
        registry: Registry,
        controller: Controller,
        pool: Pool,
        settings: Settings,
        clock: Clock,
        announcer: Announcer,
    ) -> None:
        self.discovery = discovery
        self._registry = registry
        self._controller = controller
        self._pool = pool
        self._settings = settings.discovery
        self._aliases = settings.aliases
        self._clock = clock
        self._announcer = announcer
        self._one_at_a_time = asyncio.Lock()
        self._watching: asyncio.Task[None] | None = None
        self._refused: dict[Path, tuple[int, str]] = {}
        """Files that cannot be models, by their size: not read again until they grow."""

    def open(self, tell: Callable[[Report], None]) -> None:
        """Look in the background from now on, register by the settings, and tell what was found."""
        self._watching = asyncio.create_task(self._watch(tell), name="looking for models")
        self._watching.add_done_callback(_report)

    async def _watch(self, tell: Callable[[Report], None]) -> None:
        number = 0
        while True:
            tell(await self.look(folders=number % FOLDERS_EVERY == 0))
            number += 1
            await self._clock.sleep(self._settings.every_s)

    async def look(
        self, *, register: Literal["all", "servers", "none"] | None = None, folders: bool = True
    ) -> Report:
        """Look once. register: what to register of it; by default what the settings say."""
        which = register or self._settings.register_found
        survey = await self.discovery.survey(folders=folders)
        async with self._one_at_a_time:
            adopted = await self._adopt_servers(survey.servers, register=which != "none")
            for folder in survey.folders:
                adopted += [
                    await self._adopt_file(file, register=which == "all") for file in folder.files
                ]
        return Report(survey=survey, adopted=tuple(adopted))

    async def adopt(self, site: Site) -> tuple[Adopted, ...]:
        """Register everything that one server offers."""
        sighting = ServerSighting(address=Address(url=site.url, label=site.kind), site=site)
        async with self._one_at_a_time:
            return tuple(await self._adopt_servers((sighting,), register=True))

    async def _adopt_servers(
        self, sightings: Sequence[ServerSighting], *, register: bool
    ) -> list[Adopted]:
        self._note(sightings)
        return [
            await self._adopt(offer, site, register=register)
            for site, offer in self._offers(sightings)
        ]

    async def add(
        self,
        url: str,
        model: str,
        name: ModelName,
        *,
        predecessor: ModelName | None = None,
        claim: Claim | None = None,
        who: str = "user",
    ) -> Version:
        """Register one model of a server under a name, on a person's word.

        claim: what they say of its making.

        Raises `UnknownModel` that lists what the server offers, `ServerGone`, `NotThisKind`.
        """
        site = await self.discovery.site(Address(url=url, label="named", is_named=True))
        offer = next((one for one in site.offers if one.model == model), None)
        if offer is None:
            raise UnknownModel(
                f"{site.kind} at {url} offers no {model!r:.100}.",
                hint=f"It offers: {', '.join(one.model for one in site.offers) or 'nothing'}.",
            )
        place, artifact = self._seen(offer, site)
        before = None if predecessor is None else self._registry.resolve(predecessor).version
        version = await self._registry.add(artifact, name, predecessor=before, claim=claim, who=who)
        await self._registry.places.settle(place, version.version)
        return version

    async def close(self) -> None:
        """Stop what runs in the background. A later start takes it up again."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)

    def _seen(self, offer: Offer, site: Site) -> tuple[Place, Artifact]:
        place = Place(engine=site.engine, url=site.url, model=offer.model)
        format_ = self.discovery.format_of(site.engine)
        options = self._settings.options.get(offer.model, {})
        return place, served_artifact(offer, place, format_=format_, options=options)

    def _note(self, sightings: Sequence[ServerSighting]) -> None:
        """Keep what is known of each place up to date: gone, back, or without its model."""
        places = self._registry.places
        for sighting in sightings:
            url = sighting.address.url
            is_news = places.note(url, sighting.trouble)
            if sighting.site is None:
                continue
            offered = {offer.model for offer in sighting.site.offers}
            for place in places.all():
                if place.url == url:
                    lost = None if place.model in offered else f"it no longer offers {place.model}"
                    is_news |= places.note(place, lost)
            if is_news:
                self._pool.welcome_back(url)

    def _offers(self, sightings: Sequence[ServerSighting]) -> list[tuple[Site, Offer]]:
        """Every offer; those of known versions first, because a new one may leave them a place."""
        found = [
            (sighting.site, offer)
            for sighting in sightings
            if sighting.site is not None
            for offer in sighting.site.offers
        ]
        known = {version.version for version in self._registry.versions()}
        return sorted(found, key=lambda pair: self._seen(pair[1], pair[0])[1].version not in known)

    async def _adopt(self, offer: Offer, site: Site, *, register: bool) -> Adopted:
        try:
            return await self._adopted(offer, site, register=register)
        except ArbiterError as error:
            return Adopted(where=site.url, model=offer.model, what="trouble", why=error.sentence)

    async def _adopted(self, offer: Offer, site: Site, *, register: bool) -> Adopted:
        place, artifact = self._seen(offer, site)
        places = self._registry.places
        here = places.at(place)
        step = decide(
            artifact.version,
            here=here,
            is_registered=any(v.version == artifact.version for v in self._registry.versions()),
            is_elsewhere=here is not None and any(one != place for one in places.of(here)),
        )
        what: Literal["registered", "known", "changed", "shown"] = "known"
        why = ""
        match step:
            case Known():
                pass
            case Settle():
                await places.settle(place, artifact.version)
            case Register() | Replace() if not register:
                what = "shown"
            case Register(predecessor=predecessor):
                name = self._name(artifact, offer.model, site.url, dated=predecessor is not None)
                await self._take_in(artifact, name, predecessor, place)
                what = "registered"
                if predecessor is not None:
                    why = await self._beside(offer.model, artifact, predecessor, name)
            case Replace(predecessor=predecessor):
                name = self._name(artifact, offer.model, site.url, dated=True)
                await self._take_in(artifact, name, predecessor, place)
                why = await self._replace(predecessor, artifact.version, place)
                what = "changed"
            case _:
                assert_never(step)
        return Adopted(
            where=site.url, model=offer.model, what=what, version=artifact.version, why=why
        )

    async def _adopt_file(self, file: FileSighting, *, register: bool) -> Adopted:
        where, model = str(file.path.parent), file.path.name
        known = next(
            (v for v in self._registry.versions() if v.artifact.path == str(file.path.resolve())),
            None,
        )
        if known is not None and is_unchanged(known.artifact):
            return Adopted(where=where, model=model, what="known", version=known.version)
        trouble = file.trouble or self._refused_before(file)
        if trouble is None and not register:
            return Adopted(where=where, model=model, what="shown")
        if trouble is None:
            try:
                return await self._adopted_file(file, None if known is None else known.version)
            except ArbiterError as error:
                trouble = error.sentence
                self._refused[file.path] = (file.size_bytes, trouble)
        return Adopted(where=where, model=model, what="trouble", why=trouble)

    async def _adopted_file(self, file: FileSighting, before: VersionId | None) -> Adopted:
        artifact = await asyncio.to_thread(examine, file.path)
        where, model = str(file.path.parent), file.path.name
        if any(v.version == artifact.version for v in self._registry.versions()):
            return Adopted(where=where, model=model, what="known", version=artifact.version)
        name = self._name(artifact, artifact.name_hint, "", dated=before is not None)
        await self._take_in(artifact, name, before, None)
        why = ""
        if before is not None:
            # a file that changed is refused under its old name; a person says what becomes of it
            why = await self._beside(model, artifact, before, name)
        return Adopted(
            where=where, model=model, what="registered", version=artifact.version, why=why
        )

    def _refused_before(self, file: FileSighting) -> str | None:
        size, trouble = self._refused.get(file.path, (-1, ""))
        return trouble if size == file.size_bytes else None

    async def _take_in(
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
                await self._registry.set_alias(parse_name(alias), name, who="config")

    async def _beside(
        self, model: str, artifact: Artifact, before: VersionId, name: ModelName
    ) -> str:
        names = self._registry.names_of(before)
        known = model if model in names else next(iter(names), None)
        why = f"{model} has other content than {known or short(before)}"
        if known is not None:
            why += f"; roll it out: arbiter swap {known} {name}"
        self._announce(before, artifact.version, why)
        return why

    async def _replace(self, old: VersionId, new: VersionId, place: Place) -> str:
        """Every name of a version that is served nowhere any more goes to its successor."""
        names = self._registry.names_of(old)
        why = f"{place.model} has other content at {place.url}, and the old is offered nowhere"
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
        await self._pool.unload(old, reason=why)
        self._announce(old, new, why)
        return f"{why}: {', '.join(names) or 'no name'} now means {short(new)}"

    def _announce(self, old: VersionId, new: VersionId, why: str) -> None:
        self._announcer.announce(
            Event(
                kind="model.changed",
                at=self._clock.now(),
                detail={"version": new, "predecessor": old, "reason": why},
            )
        )

    def _name(self, artifact: Artifact, model: str, url: str, *, dated: bool) -> ModelName:
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


def _report(task: asyncio.Task[None]) -> None:
    """A fault of ours in the background must not pass in silence."""
    if not task.cancelled() and task.exception() is not None:
        LOG.error("%s has stopped", task.get_name(), exc_info=task.exception())
