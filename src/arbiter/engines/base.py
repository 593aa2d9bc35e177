"""The seam between the house and whatever runs a model.

An `Engine` is a kind of runtime; a `Runner` is one version loaded in it. Engines from other
packages are found through the entry-point group ``arbiter.engines.v1``: each entry point is a
callable that takes an `EngineContext` and returns an `Engine`. `docs/how-to/add-an-engine.md`
builds one. The contract suite in ``tests/contract/test_engines.py`` is what each must pass.

This module knows no engine by name.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Protocol, runtime_checkable

from arbiter.clock import Clock
from arbiter.cost import Footprint
from arbiter.errors import ConfigError
from arbiter.inference import Chunk, Embedding, Finish, Generation, Vectors
from arbiter.refs import VersionId, digest

LOG = logging.getLogger(__name__)
GROUP = "arbiter.engines.v1"


Fact = str | int | float | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a model is found that another program serves: its address there, its name there."""

    engine: str
    url: str
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadSpec:
    """What to load and how: a version's file or places, and the options of the instance.

    path: the file; meaningless when there are places. context: tokens for one request. slots:
    requests that may run at once. threads: None leaves it to the engine. places: where the
    version is served already, the best first; the engine takes the first that is there. digest:
    what a served version is known by (`content_of`): another content is refused.
    capabilities: what the version is known to do, because some are loaded otherwise for it.
    """

    version: VersionId
    path: Path
    context: int
    slots: int = 4
    threads: int | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    places: tuple[Place, ...] = ()
    digest: str | None = None
    capabilities: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A model as the server that offers it describes it. None: the server does not say.

    model: its name there. digest: of the content, ``sha256:`` and 64 hexadecimal digits, where
    the server tells one. claims: without a digest, the facts by which this model is told from
    another of the same name; never what changes from load to load. capabilities: those of
    `arbiter.inference.needed`; None when the server does not say. loaded: whether it is in memory.
    home: the address for whose claims these stand, where a person said that several servers run
    the same models; None: they are this server's own.
    """

    model: str
    digest: str | None = None
    claims: Mapping[str, Fact] = field(default_factory=dict)
    architecture: str | None = None
    parameters: int | None = None
    quantization: str | None = None
    context_length: int | None = None
    capabilities: frozenset[str] | None = None
    size_bytes: int | None = None
    template: str | None = None
    licence: str | None = None
    loaded: bool | None = None
    home: str | None = None
    details: Mapping[str, Fact] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What answers at an address: which engine speaks to it, what it calls itself, what it offers.

    kind: the program, as people know it (``Ollama``, ``llama-server``, ``vLLM``).
    unread: models that are there and could not be described this time; what is known of them from
    before still holds. trouble: what could not be learned, in sentences; the rest holds.
    """

    engine: str
    url: str
    kind: str
    version: str | None
    offers: tuple[Offer, ...]
    unread: frozenset[str] = frozenset()
    trouble: tuple[str, ...] = ()


def content_of(offer: Offer, url: str) -> str:
    """What a served model is known by: its server's digest, else that of what is claimed of it.

    A claim proves nothing about another machine, so the address is part of it; where a person
    answers for several machines, the address of the first of them.
    """
    if offer.digest is not None:
        return offer.digest
    claims = {"url": offer.home or url, "model": offer.model, "claims": dict(offer.claims)}
    return digest("arbiter.claims.v1", claims)


@dataclass(frozen=True, slots=True, kw_only=True)
class Availability:
    """Whether an engine can run here, and if not, why and what to do."""

    available: bool
    reason: str


class Runner(Protocol):
    """A loaded version that can generate.

    One runner serves several requests at once. It never restarts itself: when it is gone, the
    pool loads another.
    """

    @property
    def pid(self) -> int | None:
        """The process that does the work, or None when it has none of its own."""
        ...

    @property
    def reported(self) -> Footprint | None:
        """The memory that its server says it holds; None where the house measures it itself."""
        ...

    def generate(self, request: Generation) -> AsyncGenerator[Chunk, None]:
        """Answer, piece by piece; the last chunk is a `Finish`.

        Closing the iterator (``aclose``) stops the engine's work for it and frees its slot.
        Raises `InstanceLost` when the engine is gone before the first chunk, `StreamCut` when
        after, `EngineRefused` when it rejects the request, `EngineTimeout` when it is silent.
        """
        ...

    async def embed(self, request: Embedding) -> tuple[Vectors, Finish]:
        """A vector for each input. Raises what `generate` raises before its first chunk."""
        ...

    async def is_healthy(self) -> bool:
        """Whether it answers now."""
        ...

    async def wait_lost(self) -> str:
        """Return, with the engine's last words, when it is gone without having been asked to."""
        ...

    async def unload(self) -> None:
        """Stop it and free what it holds. Idempotent. The pool drains it first."""
        ...


@runtime_checkable
class ServedRunner(Runner, Protocol):
    """A runner whose work another program does, so that it is gone when that program is."""

    @property
    def place(self) -> Place:
        """Where the version is served, as its `LoadSpec` named it."""
        ...


@runtime_checkable
class CountingRunner(Runner, Protocol):
    """A runner that can tell how long a prompt is without reading it."""

    async def count(self, request: Generation) -> int:
        """The tokens of the prompt, template and tools included. Raises as `Runner.generate`."""
        ...


class Engine(Protocol):
    """A kind of runtime."""

    @property
    def name(self) -> str:
        """Its name in the registry: ``llama_cpp``, ``scripted``, ..."""
        ...

    @property
    def formats(self) -> frozenset[str]:
        """The artifact formats it can load: ``gguf``, ``script``, ..."""
        ...

    @property
    def features(self) -> frozenset[str]:
        """Capabilities that it gives to every model that can chat, such as ``json``."""
        ...

    def availability(self) -> Availability:
        """Whether it can run here. Cheap; never loads the runtime itself."""
        ...

    async def load(self, spec: LoadSpec) -> Runner:
        """Load a version. Raises `LoadFailed` with the engine's last lines, `EngineUnavailable`."""
        ...


@runtime_checkable
class ServerEngine(Engine, Protocol):
    """An engine that speaks to programs which serve models already, and starts none itself."""

    @property
    def usual(self) -> tuple[tuple[str, str], ...]:
        """Where such programs listen when nobody said otherwise: what is usual there, its URL."""
        ...

    async def look(self, url: str) -> Site:
        """What answers at this address.

        Raises `ServerGone` when nothing listens there or it does not answer in time, and
        `NotThisKind` when what answers is something else.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PullStep:
    """How far a pull is: what the server says, and bytes of the part that it fetches now.

    digest: of that part; there may be several, and programs draw a bar for each.
    """

    status: str
    completed: int | None = None
    total: int | None = None
    digest: str | None = None


@runtime_checkable
class PullingEngine(ServerEngine, Protocol):
    """An engine whose servers can fetch a newer content for one of their names."""

    def pull(self, url: str, model: str) -> AsyncGenerator[PullStep, None]:
        """Have the server fetch a model, step by step. Raises `EngineError` with its words."""
        ...

    async def copy(self, url: str, model: str, under: str) -> None:
        """Give a model's content another name too, at the same server."""
        ...

    async def drop(self, url: str, model: str) -> None:
        """Take a name away from a model; content that has another name stays."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """How long an engine is to wait for an answer, in seconds; None leaves it to the engine.

    first_s: for the first sign of one. next_s: between two signs, once it has begun. whole_s: for
    an answer in one piece, and for the next piece of a stream that only keeps itself alive.
    """

    first_s: float | None = None
    next_s: float | None = None
    whole_s: float | None = None

    def said(self, **names: str) -> dict[str, float]:
        """What is set, under the engine's own names for it.

        >>> Waits(first_s=5.0).said(first_s="first_token_s", next_s="next_token_s")
        {'first_token_s': 5.0}
        """
        found = {names[own]: getattr(self, own) for own in names}
        return {name: seconds for name, seconds in found.items() if seconds is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineContext:
    """What the house gives every engine: time, a private folder, keys of servers, and bounds.

    keys: what to send to a server that wants a key, by its URL. alike: by their URLs, the URL of
    the first of the servers that run the same models. waits: how long to wait for an answer.
    """

    clock: Clock
    run_dir: Path
    keys: Mapping[str, str] = field(default_factory=dict)
    alike: Mapping[str, str] = field(default_factory=dict)
    waits: Waits = Waits()


EngineFactory = Callable[[EngineContext], Engine]


def installed_engines(context: EngineContext) -> tuple[Engine, ...]:
    """Every engine that is installed, found by entry point, sorted by name.

    Raises `ConfigError` when two packages bring an engine of the same name.
    """
    return build_engines(tuple(entry_points(group=GROUP)), context)


def build_engines(points: tuple[EntryPoint, ...], context: EngineContext) -> tuple[Engine, ...]:
    """Build the engines of these entry points; what cannot be imported is left out with a warning.

    Raises `ConfigError` on a name clash.
    """
    found: dict[str, Engine] = {}
    for point in sorted(points, key=lambda p: (p.name, p.value)):
        try:
            factory: EngineFactory = point.load()
            engine = factory(context)
        except (ImportError, AttributeError) as error:
            # one broken package must not take the others' models away
            LOG.warning("the engine %s cannot be used: %s", point.value, error)
            continue
        if engine.name in found:
            raise ConfigError(
                f"Two installed packages bring an engine called {engine.name!r}.",
                hint=f"Uninstall one of them; the second is {point.value}.",
            )
        found[engine.name] = engine
    return tuple(found.values())
