"""Servers that run beside the house, as the house sees them: they offer, change, and go away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, field, replace

from arbiter.engines.base import LoadSpec, Offer, Place, PullStep, Runner, Site
from arbiter.engines.scripted import Hold, Reply, Say, Scripted, ScriptedRunner, Step
from arbiter.errors import EngineRefused, NotOffered, NotThisKind, ServerGone
from arbiter.inference import Generation

A, B = "http://127.0.0.1:7001", "http://127.0.0.1:7002"


def digest(letter: str) -> str:
    """A digest that is easy to tell from another."""
    return "sha256:" + letter * 64


def offer(model: str, letter: str, **more: object) -> Offer:
    """A model as its server describes it."""
    given = {"capabilities": frozenset({"chat", "completion"}), "context_length": 4096, **more}
    return Offer(model=model, digest=digest(letter), **given)  # type: ignore[arg-type]  # a test's shorthand


class Lodger(ScriptedRunner):
    """A model at one of these servers."""

    def __init__(self, spec: LoadSpec, place: Place, *, reply: Reply) -> None:
        super().__init__(spec, reply=reply)
        self.place = place


@dataclass
class Neighbour(Scripted):
    """An engine whose servers are a table: address, then what is offered there.

    strangers: addresses where something else answers. silent: where nothing is ever said; an
    answer that has begun there goes on once `thawed` is set. answers: what a model says.
    faults: how many looks fail in a way that nobody thought of.
    library: what a pull of a name fetches. unread: models that are not described now.
    exhausted_by_pulls: after a pull nothing answers for a while.
    """

    servers: dict[str, list[Offer]] = field(default_factory=dict)
    strangers: frozenset[str] = frozenset()
    silent: frozenset[str] = frozenset()
    answers: dict[str, Reply] = field(default_factory=dict)
    faults: int = 0
    library: dict[str, Offer] = field(default_factory=dict)
    unread: frozenset[str] = frozenset()
    exhausted_by_pulls: bool = False
    dropped: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(name="neighbour", formats=frozenset({"neighbour"}))
        self.usual: tuple[tuple[str, str], ...] = ()
        self.asked_in_vain = asyncio.Event()
        self.held = asyncio.Event()
        self.thawed = asyncio.Event()
        self.living: dict[str, list[ScriptedRunner]] = {}

    async def look(self, url: str) -> Site:
        """What is at an address."""
        if self.faults:
            self.faults -= 1
            raise RuntimeError("a fault of the engine's own")
        if url in self.silent:
            self.asked_in_vain.set()
            await asyncio.Event().wait()
        if url in self.strangers:
            raise NotThisKind(f"A web page answers at {url}.")
        if url not in self.servers:
            raise ServerGone(f"Nothing listens at {url}.")
        listed = self.servers[url]
        return Site(
            engine=self.name,
            url=url,
            kind="Neighbour",
            version="1.0",
            offers=tuple(o for o in listed if o.model not in self.unread),
            unread=self.unread & {o.model for o in listed},
        )

    async def load(self, spec: LoadSpec) -> Runner:
        """The first place whose server is there and still has this content."""
        self.loads.append(spec)
        there = [p for p in spec.places if p.url in self.servers and p.url not in self.silent]
        if not there:
            raise ServerGone("No server that offers this model is there.")
        place = there[0]
        found = next((o for o in self.servers[place.url] if o.model == place.model), None)
        if found is None or found.digest != spec.digest:
            raise NotOffered(f"{place.model} at {place.url} is not what it was.")
        runner = Lodger(spec, place, reply=self._reply_at(place))
        self.living.setdefault(place.url, []).append(runner)
        return runner

    def _reply_at(self, place: Place) -> Reply:
        says = self.answers.get(place.model) or _says(f"{place.model} at {place.url[-4:]}")

        def reply(request: Generation) -> Iterator[Step]:
            for step in says(request):
                if place.url in self.silent:
                    self.held.set()
                    yield Hold(self.thawed)
                yield step

        return reply

    async def pull(self, url: str, model: str) -> AsyncGenerator[PullStep, None]:
        """Fetch what the library has under a name."""
        yield PullStep(status="pulling manifest")
        if model not in self.library:
            raise EngineRefused(f"pull model manifest: file does not exist: {model}")
        self.servers[url] = [o for o in self.servers[url] if o.model != model]
        self.servers[url].append(self.library[model])
        if self.exhausted_by_pulls:
            self.servers.pop(url)
        yield PullStep(status="success", completed=1, total=1)

    async def copy(self, url: str, model: str, under: str) -> None:
        """One more name for the same content."""
        found = next(o for o in self.servers[url] if o.model == model)
        self.servers[url].append(replace(found, model=under))

    async def drop(self, url: str, model: str) -> None:
        """One name less."""
        self.dropped.append(model)
        self.servers[url] = [o for o in self.servers[url] if o.model != model]

    def stop(self, url: str) -> None:
        """The server at this address is killed."""
        del self.servers[url]
        for runner in self.living.pop(url, []):
            runner.die("the server was killed")


def _says(text: str) -> Reply:
    return lambda request: [Say(text)]  # noqa: ARG005  # whatever was asked
