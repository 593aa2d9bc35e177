"""What becomes of the models that servers offer: registered, known already, or changed.

`decide` is pure and says what becomes of a version that was found at a place; `Adoption` does it.
Looking is done by `arbiter.registry.discovery`; names and successors are the business
of `arbiter.swap.intake`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, assert_never

from arbiter.engines.base import Offer, Place, Site
from arbiter.errors import ArbiterError, UnknownModel
from arbiter.pool.pool import Pool
from arbiter.refs import ModelName, VersionId, legible
from arbiter.registry.artifact import Artifact
from arbiter.registry.discovery import Address, Discovery, ServerSighting
from arbiter.registry.provenance import Claim
from arbiter.registry.registry import Registry, Version
from arbiter.registry.served import served_artifact
from arbiter.swap.intake import Intake


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """It is registered, and where it was found is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settle:
    """The version is registered, and this is a place of it now.

    instead_of: the version that stood here before, when it is served nowhere any more.
    """

    instead_of: VersionId | None = None


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
    version: VersionId, *, here: VersionId | None, is_registered: bool, is_elsewhere: bool
) -> Step:
    """What becomes of a version that was found at a place.

    here: what was found there before. is_elsewhere: whether that is still served at another place
    that can be reached.

    >>> old, new = VersionId("sha256:" + "0" * 64), VersionId("sha256:" + "1" * 64)
    >>> decide(new, here=old, is_registered=False, is_elsewhere=True).__class__.__name__
    'Register'
    """
    if here == version:
        return Known()
    gone = None if is_elsewhere else here
    if is_registered:
        return Settle(instead_of=gone)
    return Register(predecessor=here) if gone is None else Replace(predecessor=gone)


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """What became of one model that was found.

    model: its name at its server, or its file, fit to be shown. what: ``registered`` just now,
    ``known`` from before, ``changed`` when a name now answers with other content, ``reading`` while
    its file is read, ``shown`` when it was only looked at, ``trouble`` when it cannot be used.
    """

    where: str
    model: str
    what: Literal["registered", "known", "changed", "reading", "shown", "trouble"]
    version: VersionId | None = None
    why: str = ""


class Adoption:
    """Takes in what servers offer."""

    def __init__(
        self,
        *,
        discovery: Discovery,
        registry: Registry,
        intake: Intake,
        pool: Pool,
        options: Mapping[str, Mapping[str, str]],
    ) -> None:
        self._discovery = discovery
        self._registry = registry
        self._intake = intake
        self._pool = pool
        self._options = options
        self._one_at_a_time = asyncio.Lock()

    async def adopt(
        self, sightings: Sequence[ServerSighting], *, register: bool
    ) -> tuple[Adopted, ...]:
        """Note what is there and what is not, and register what is new if that is wanted."""
        async with self._one_at_a_time:
            self._note(sightings)
            found = self._offers(sightings)
            return tuple([await self._adopt(o, site, register=register) for site, o in found])

    async def adopt_site(self, site: Site) -> tuple[Adopted, ...]:
        """Register everything that one server offers."""
        sighting = ServerSighting(address=Address(url=site.url, label=site.kind), site=site)
        return await self.adopt((sighting,), register=True)

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
        site = await self._discovery.site(Address(url=url, label="named", is_named=True))
        offer = next((one for one in site.offers if one.model == model), None)
        if offer is None:
            offered = ", ".join(legible(one.model) for one in site.offers)
            raise UnknownModel(
                f"{site.kind} at {url} offers no {model!r:.100}.",
                hint=f"It offers: {offered or 'nothing'}.",
            )
        place, artifact = self._seen(offer, site)
        before = None if predecessor is None else self._registry.resolve(predecessor).version
        version = await self._registry.add(artifact, name, predecessor=before, claim=claim, who=who)
        await self._registry.places.settle(place, version.version)
        return version

    def _seen(self, offer: Offer, site: Site) -> tuple[Place, Artifact]:
        place = Place(engine=site.engine, url=site.url, model=offer.model)
        format_ = self._discovery.format_of(site.engine)
        options = self._options.get(offer.model, {})
        return place, served_artifact(offer, place, format_=format_, options=options)

    def _note(self, sightings: Sequence[ServerSighting]) -> None:
        """Keep what is known of each place up to date: gone, back, or without its model."""
        places = self._registry.places
        for sighting in sightings:
            site = sighting.site
            url = sighting.address.url if site is None else site.url
            is_news = places.note(url, sighting.trouble)
            if site is None:
                self._pool.part_from(url, sighting.trouble or "It is not there.")
                continue
            offered = site.unread | {offer.model for offer in site.offers}
            for place in places.all():
                if place.url == url:
                    shown = legible(place.model)
                    lost = None if place.model in offered else f"it no longer offers {shown}"
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
            shown = legible(offer.model)
            return Adopted(where=site.url, model=shown, what="trouble", why=error.sentence)

    async def _adopted(self, offer: Offer, site: Site, *, register: bool) -> Adopted:
        place, artifact = self._seen(offer, site)
        here = self._registry.places.at(place)
        step = decide(
            artifact.version,
            here=here,
            is_registered=self._intake.is_registered(artifact.version),
            is_elsewhere=here is not None and self._is_elsewhere(here, place),
        )
        what: Literal["registered", "known", "changed", "shown"] = "known"
        why = ""
        match step:
            case Known():
                pass
            case Settle(instead_of=gone):
                await self._registry.places.settle(place, artifact.version)
                if gone is not None and self._registry.names_of(gone):
                    why = await self._intake.replace(gone, artifact.version, place)
                    what = "changed"
            case Register() | Replace() if not register:
                what = "shown"
            case Register(predecessor=predecessor):
                dated = predecessor is not None
                name = self._intake.name_for(artifact, offer.model, site.url, dated=dated)
                await self._intake.take_in(artifact, name, predecessor, place)
                what = "registered"
                if predecessor is not None:
                    why = await self._intake.beside(offer.model, artifact, predecessor, name)
            case Replace(predecessor=predecessor):
                name = self._intake.name_for(artifact, offer.model, site.url, dated=True)
                await self._intake.take_in(artifact, name, predecessor, place)
                why = await self._intake.replace(predecessor, artifact.version, place)
                what = "changed"
            case _:
                assert_never(step)
        shown = legible(offer.model)
        return Adopted(where=site.url, model=shown, what=what, version=artifact.version, why=why)

    def _is_elsewhere(self, version: VersionId, place: Place) -> bool:
        """Whether a version can be reached at another place."""
        places = self._registry.places
        return any(one != place and places.trouble(one) is None for one in places.of(version))
