"""What the door is handed: the rooms behind it, as protocols and plain callables.

The door never builds anything and knows no room by class; `app` fills this in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from starlette.types import ASGIApp

from arbiter.clock import Clock
from arbiter.inference import Answer


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
class Rooms:
    """Everything a request may lead to.

    healthy: what ``/healthz`` says; ``{"ok": False}`` in it turns the answer into a 503.
    tell_after_s: how long whoever waits for a stream may hear nothing; 0: for ever.
    control: an application mounted at ``/control``; it finds its caller with
        `arbiter.gateway.security.caller_of`.
    """

    answer: Answer
    models: Callable[[], Sequence[ModelCard]]
    healthy: Callable[[], Mapping[str, object]]
    clock: Clock
    tell_after_s: float = 0.0
    control: ASGIApp | None = None
