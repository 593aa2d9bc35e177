"""Models that OpenAI-compatible servers offer: llama-server, LM Studio, vLLM and their like.

The servers run already, and are somebody else's: nothing is loaded in them or unloaded from them
here, beyond what they do themselves when they are asked. What a server is, and what it offers, is
learned in `arbiter.engines.openai_probe`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

from arbiter.engines.base import (
    Availability,
    Engine,
    EngineContext,
    LoadSpec,
    Offer,
    Place,
    Site,
    content_of,
)
from arbiter.engines.deadlines import within
from arbiter.engines.openai_facts import LLAMA_SERVER
from arbiter.engines.openai_probe import look_at, server_root
from arbiter.engines.openai_runner import OpenAIServerRunner, Patience
from arbiter.engines.remote import Remote
from arbiter.errors import (
    EngineRefused,
    KeyRefused,
    LoadFailed,
    NotOffered,
    NotThisKind,
    ServerGone,
)

LOOK_S: Final = 5.0

_MOST_NAMED: Final = 8


def engine(context: EngineContext) -> Engine:
    """The entry point."""
    return OpenAIServerEngine(context)


class OpenAIServerEngine:
    """Speaks to servers that run already.

    Option of a `LoadSpec`, for llama-server: ``cache_prompt`` (``true`` or ``false``; by default
    what the server does).
    """

    name = "openai_server"
    formats = frozenset({"openai"})
    features = frozenset[str]()
    usual = (
        ("LM Studio", "http://127.0.0.1:1234"),
        ("llama-server or LocalAI", "http://127.0.0.1:8080"),
        ("vLLM", "http://127.0.0.1:8000"),
        ("SGLang", "http://127.0.0.1:30000"),
        ("Docker Model Runner", "http://127.0.0.1:12434/engines"),
        ("Lemonade", "http://127.0.0.1:13305"),
    )

    def __init__(self, context: EngineContext, *, patience: Patience | None = None) -> None:
        self._clock = context.clock
        self._keys = context.keys
        self._alike = {server_root(url): first for url, first in context.alike.items()}
        waits = context.waits.said(first_s="first_s", next_s="next_s", whole_s="whole_s")
        self._patience = patience or Patience(**waits)

    def availability(self) -> Availability:
        """It needs nothing but servers to speak to."""
        return Availability(available=True, reason="speaks to servers that run already")

    async def look(self, url: str) -> Site:
        """What answers at this address.

        Raises `ServerGone`, `NotThisKind`, and `KeyRefused` when it wants a key.
        """
        remote = self._remote(server_root(url))
        try:
            return await self._look(remote)
        finally:
            await remote.close()

    async def load(self, spec: LoadSpec) -> OpenAIServerRunner:
        """Take the first place whose server is there and offers the model.

        Raises `ServerGone` when none is there, `NotOffered` when none that is has it any more,
        `KeyRefused` when one wants a key, and `LoadFailed` when one cannot be used.
        """
        cache_prompt = _cache_prompt(spec.options)
        gone: list[str] = []
        without: list[str] = []
        locked: list[str] = []
        others: list[str] = []
        for place in spec.places:
            try:
                return await self._reach(place, spec.digest, cache_prompt)
            except ServerGone as error:
                gone.append(error.message)
            except NotOffered as error:
                without.append(error.sentence)
            except KeyRefused as error:
                locked.append(error.sentence)
            except (LoadFailed, NotThisKind, EngineRefused) as error:
                others.append(error.sentence)
        if others:
            raise LoadFailed(" ".join(others + locked + without + gone))
        if locked:
            raise KeyRefused(" ".join(locked + without + gone))
        if without:
            raise NotOffered(" ".join(without + gone))
        raise ServerGone(
            " ".join(gone) or "No server is known to offer this model.",
            hint="Start the server again; it is looked for by itself.",
        )

    async def _reach(
        self, place: Place, content: str | None, cache_prompt: bool | None
    ) -> OpenAIServerRunner:
        remote = self._remote(server_root(place.url))
        try:
            site = await self._look(remote)
            offer = _offered(site, place, content, cache_prompt)
        except BaseException:
            await remote.close()
            raise
        return OpenAIServerRunner(
            remote=remote,
            place=place,
            site=site,
            offer=offer,
            clock=self._clock,
            patience=self._patience,
            has_key=self._key(remote.url) is not None,
            cache_prompt=cache_prompt,
        )

    async def _look(self, remote: Remote) -> Site:
        has_key = self._key(remote.url) is not None
        looking = look_at(remote, engine=self.name, has_key=has_key, connect=self._remote)
        try:
            return self._at_home(await within(self._clock, LOOK_S, looking))
        except TimeoutError as error:
            raise ServerGone(f"{remote.url} did not answer within {LOOK_S:.0f} s.") from error

    def _at_home(self, site: Site) -> Site:
        """What one of several servers that run the same models claims stands for all of them."""
        home = self._alike.get(server_root(site.url))
        if home is None:
            return site
        return replace(site, offers=tuple(replace(offer, home=home) for offer in site.offers))

    def _remote(self, url: str) -> Remote:
        return Remote(url, key=self._key(url))

    def _key(self, url: str) -> str | None:
        """The key for an address: its own, or that of another path at the same server."""
        exact = {server_root(at): key for at, key in self._keys.items()}
        return exact.get(url) or {_origin(at): key for at, key in exact.items()}.get(_origin(url))


def _offered(site: Site, place: Place, content: str | None, cache_prompt: bool | None) -> Offer:
    """The offer of a model.

    Raises `NotOffered` when the server has it not any more, `ServerGone` while it only starts,
    `LoadFailed` when it cannot have it so.
    """
    if cache_prompt is not None and site.kind != LLAMA_SERVER:
        raise LoadFailed(f"{site.kind} has no option 'cache_prompt'; llama-server has.")
    for offer in site.offers:
        if offer.model == place.model:
            if content is None or content_of(offer, place.url) == content:
                return offer
            raise NotOffered(
                f"{place.model} at {site.url} is not what was registered any more.",
                hint="Look again: arbiter models discover.",
            )
    if not site.offers and site.trouble:
        raise ServerGone(f"{site.kind} at {site.url}: {site.trouble[0]}")
    names = [repr(offer.model) for offer in site.offers]
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    listed = ", ".join(names[:_MOST_NAMED]) or "nothing"
    raise NotOffered(
        f"{site.kind} at {site.url} no longer offers {place.model!r}; it offers: {listed}{more}."
    )


def _cache_prompt(options: Mapping[str, str]) -> bool | None:
    unknown = sorted(options.keys() - {"cache_prompt"})
    if unknown:
        raise LoadFailed(
            f"openai_server has no option {unknown[0]!r}.", hint="It has cache_prompt."
        )
    cache = options.get("cache_prompt")
    if cache not in {None, "true", "false"}:
        raise LoadFailed(f"cache_prompt is true or false, not {cache!r}.")
    return None if cache is None else cache == "true"


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc
