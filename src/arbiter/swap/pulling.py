"""`arbiter pull`: newer content for a name at its server, without losing the old.

Before a server fetches anything, the present content gets a second, dated name there. So the old
version stays where it can be served, and the new one is a successor that a swap can roll out and
take back. When nothing new came, or the fetching failed, the second name is taken away again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from arbiter.clock import Clock
from arbiter.engines.base import PullingEngine, PullStep, Site
from arbiter.errors import ArbiterError, EngineError, InvalidField, ServerGone
from arbiter.refs import ModelName, parse_name
from arbiter.registry.discovery import Address, Discovery
from arbiter.registry.registry import Registry
from arbiter.swap.adoption import Adopted, Adoption


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """What a pull came to.

    kept_as: the name that the old content has at the server now; None when there was none, or
    nothing new came. adopted: what became of what the server offers now.
    """

    url: str
    model: str
    is_new: bool
    kept_as: str | None
    adopted: tuple[Adopted, ...]


class Pulling:
    """Has servers fetch models."""

    def __init__(
        self, *, discovery: Discovery, registry: Registry, adoption: Adoption, clock: Clock
    ) -> None:
        self._discovery = discovery
        self._registry = registry
        self._adoption = adoption
        self._clock = clock

    async def pull(self, name: str, *, url: str | None, tell: Callable[[PullStep], None]) -> Pulled:
        """Fetch what a name stands for at its server now, and take it in.

        name: a registered name, or a name at the server. url: which server; by default the one
        that offers it, or the only one that can fetch. Raises `InvalidField` when several could,
        or for what is no name: a server might take it for a place. `ServerGone` when none is
        there, `EngineError` with the server's words.
        """
        site, model = await self._where(parse_name(name, what="model"), url)
        engine = self._discovery.puller(site.engine)
        before = _content(site, model)
        if before is None and _tagged(model) in site.unread:
            raise EngineError(
                f"What {model} is now at {site.url} could not be learned, so nothing was pulled: "
                "its present content might be lost.",
                hint="Try again.",
            )
        kept_as = None
        if before is not None:
            kept_as = _dated(site, model, f"{self._clock.now():%Y%m%d}")
            await engine.copy(site.url, model, kept_as)
        try:
            async for step in engine.pull(site.url, model):
                tell(step)
        except BaseException:
            await self._tidy(engine, site.url, model, before=before, kept_as=kept_as)
            raise
        after = await self._discovery.site(Address(url=site.url, label="named"))
        is_new = _content(after, model) != before
        if kept_as is not None and not is_new:
            await self._forget(engine, site.url, kept_as)
            kept_as = None
        adopted = await self._adoption.adopt_site(after)
        return Pulled(
            url=site.url,
            model=model,
            is_new=is_new,
            kept_as=kept_as,
            adopted=tuple(a for a in adopted if a.model == _tagged(model)),
        )

    async def _tidy(
        self,
        engine: PullingEngine,
        url: str,
        model: str,
        *,
        before: str | None,
        kept_as: str | None,
    ) -> None:
        """Take the second name away after a pull that failed, if the first has what it had.

        When that cannot be learned, the second name stays: it may be all that is left.
        """
        if kept_as is None:
            return
        try:
            site = await self._discovery.site(Address(url=url, label="named"))
        except ArbiterError:
            return
        if _content(site, model) == before:
            await self._forget(engine, url, kept_as)

    async def _forget(self, engine: PullingEngine, url: str, name: str) -> None:
        try:
            await engine.drop(url, name)
        except ArbiterError:
            # a name too many at the server is no reason to hide why the pull failed
            return

    async def _where(self, name: ModelName, url: str | None) -> tuple[Site, str]:
        """The server that is to fetch, and the model's name there."""
        known = {
            place.url: place.model
            for entry in self._registry.names()
            if entry.name == name
            for place in self._registry.places.of(entry.version)
            if self._discovery.can_pull(place.engine)
        }
        sites = await self._sites(url)
        chosen = [site for site in sites if site.url in known] or sites
        if not chosen:
            raise ServerGone(
                "No server was found that can fetch models.",
                hint="Start Ollama, or name its address: arbiter pull NAME --from URL.",
            )
        if len(chosen) > 1:
            urls = ", ".join(site.url for site in chosen)
            raise InvalidField(f"Several servers could fetch it: {urls}.", hint="Add --from URL.")
        site = chosen[0]
        # a name of the server's own comes first: after a pull the registered one stands for the
        # dated name until a swap, and nobody could fetch that
        is_offered = any(offer.model == _tagged(name) for offer in site.offers)
        return site, name if is_offered else known.get(site.url, name)

    async def _sites(self, url: str | None) -> list[Site]:
        if url is not None:
            site = await self._discovery.site(Address(url=url, label="named", is_named=True))
            if not self._discovery.can_pull(site.engine):
                raise InvalidField(f"{site.kind} at {url} cannot fetch models.")
            return [site]
        survey = await self._discovery.survey(folders=False)
        return [
            sighting.site
            for sighting in survey.servers
            if sighting.site is not None and self._discovery.can_pull(sighting.site.engine)
        ]


def _content(site: Site, model: str) -> str | None:
    return next((o.digest for o in site.offers if o.model == _tagged(model)), None)


def _tagged(model: str) -> str:
    """A name with its tag, as servers list it.

    >>> _tagged("gemma3"), _tagged("hf.co/someone/gemma3:1b")
    ('gemma3:latest', 'hf.co/someone/gemma3:1b')
    """
    return model if ":" in model.rpartition("/")[2] else f"{model}:latest"


def _dated(site: Site, model: str, date: str) -> str:
    """A free name for the old content."""
    taken = {offer.model for offer in site.offers}
    wish = f"{_tagged(model)}-until-{date}"
    more = (f"{wish}-{number}" for number in range(2, 1000))
    return wish if wish not in taken else next(one for one in more if one not in taken)
