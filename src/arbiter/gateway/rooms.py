"""What the door is handed: the rooms behind it, as protocols and plain callables.

The door never builds anything and knows no room by class; `app` fills this in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from starlette.types import ASGIApp

from arbiter.clock import Clock
from arbiter.engines.base import PullStep
from arbiter.inference import Answer
from arbiter.telemetry import Watched


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """A name that can be asked for, as ``/v1/models`` shows it.

    created: seconds since 1970. context_length: None when it is not known.
    """

    id: str
    created: int
    owned_by: str
    version: str
    context_length: int | None = None
    capabilities: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What is known of a name that can be asked for. None, or an empty text: nobody says.

    version: empty for ``auto``, which stands for whatever is best.
    """

    name: str
    version: str
    registered_at: datetime | None = None
    size_bytes: int | None = None
    format: str = ""
    architecture: str = ""
    parameters: int | None = None
    quantization: str = ""
    context_length: int | None = None
    capabilities: tuple[str, ...] = ()
    licence: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A name whose version is in memory. memory_bytes: None where nobody knows.

    accelerator_bytes: beside that, of accelerators; 0 where none is known of.
    """

    facts: ModelFacts
    memory_bytes: int | None
    context: int | None
    accelerator_bytes: int = 0


class Shelf(Protocol):
    """The models of the house, for clients that look after models themselves.

    model: as a request names one: a name, an alias, ``NAME@DIGITS`` or ``auto``.
    """

    def all(self) -> Sequence[ModelFacts]:
        """Every name, ``auto`` first."""
        ...

    def find(self, model: str) -> ModelFacts:
        """What is known of a name. Raises `UnknownModel`."""
        ...

    def loaded(self) -> Sequence[LoadedModel]:
        """What is in memory now."""
        ...

    async def load(self, model: str) -> None:
        """Have a model in memory. Raises `UnknownModel`, `LoadFailed`, `Busy`."""
        ...

    async def unload(self, model: str) -> None:
        """Let a model go, unless somebody is using it. Raises `UnknownModel`."""
        ...

    async def pull(self, model: str, tell: Callable[[PullStep], None]) -> None:
        """Have a server that offers models fetch one. Raises any `ArbiterError`."""
        ...

    async def remove(self, model: str) -> None:
        """Forget a name. Raises `UnknownModel`, `StillInUse`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Rooms:
    """Everything a request may lead to.

    healthy: what ``/healthz`` says; ``{"ok": False}`` in it turns the answer into a 503.
    ready: the same of ``/readyz``. watched: what ``/metrics`` shows.
    tell_after_s: how long whoever waits for a stream may hear nothing; 0: for ever.
    new_request: an id for a request on which nothing is decided.
    reads_traces: whether a request may say which trace it belongs to.
    control: an application mounted at ``/control``; it finds its caller with
        `arbiter.gateway.security.caller_of`.
    """

    answer: Answer
    models: Callable[[], Sequence[ModelCard]]
    healthy: Callable[[], Mapping[str, object]]
    ready: Callable[[], Mapping[str, object]]
    watched: Callable[[], Watched]
    clock: Clock
    new_request: Callable[[], str]
    shelf: Shelf
    tell_after_s: float = 0.0
    reads_traces: bool = False
    control: ASGIApp | None = None
