"""Servers that run beside the house, as the house sees them: they offer, change, and go away."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from arbiter.engines.base import LoadSpec, Offer, Runner, Site
from arbiter.engines.scripted import Reply, Say, Scripted, ScriptedRunner
from arbiter.errors import LoadFailed, NotThisKind, ServerGone

A, B = "http://127.0.0.1:7001", "http://127.0.0.1:7002"


def digest(letter: str) -> str:
    """A digest that is easy to tell from another."""
    return "sha256:" + letter * 64


def offer(model: str, letter: str, **more: object) -> Offer:
    """A model as its server describes it."""
    given = {"capabilities": frozenset({"chat", "completion"}), "context_length": 4096, **more}
    return Offer(model=model, digest=digest(letter), **given)  # type: ignore[arg-type]  # a test's shorthand


@dataclass
class Neighbour(Scripted):
    """An engine whose servers are a table: address, then what is offered there.

    strangers: addresses where something else answers. silent: where nothing is ever said.
    """

    servers: dict[str, list[Offer]] = field(default_factory=dict)
    strangers: frozenset[str] = frozenset()
    silent: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        super().__init__(name="neighbour", formats=frozenset({"neighbour"}))
        self.usual: tuple[tuple[str, str], ...] = ()
        self.asked_in_vain = asyncio.Event()
        self.living: dict[str, list[ScriptedRunner]] = {}

    async def look(self, url: str) -> Site:
        """What is at an address."""
        if url in self.silent:
            self.asked_in_vain.set()
            await asyncio.Event().wait()
        if url in self.strangers:
            raise NotThisKind(f"A web page answers at {url}.")
        if url not in self.servers:
            raise ServerGone(f"Nothing listens at {url}.")
        offers = tuple(self.servers[url])
        return Site(engine=self.name, url=url, kind="Neighbour", version="1.0", offers=offers)

    async def load(self, spec: LoadSpec) -> Runner:
        """The first place whose server is there and still has this content."""
        self.loads.append(spec)
        there = [place for place in spec.places if place.url in self.servers]
        if not there:
            raise ServerGone("No server that offers this model is there.")
        place = there[0]
        found = next((o for o in self.servers[place.url] if o.model == place.model), None)
        if found is None or found.digest != spec.digest:
            raise LoadFailed(f"{place.model} at {place.url} is not what it was.")
        runner = ScriptedRunner(spec, reply=_says(f"{place.model} at {place.url[-4:]}"))
        self.living.setdefault(place.url, []).append(runner)
        return runner

    def stop(self, url: str) -> None:
        """The server at this address is killed."""
        del self.servers[url]
        for runner in self.living.pop(url, []):
            runner.die("the server was killed")


def _says(text: str) -> Reply:
    return lambda request: [Say(text)]  # noqa: ARG005  # whatever was asked
