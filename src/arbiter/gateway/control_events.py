"""The control API's stream of what happens: server-sent events that can be taken up again.

Each has an id of this run of the house and its number. A listener that comes back says the last
one that it heard. What came after it is told again as far as it is kept; what is not kept is said
to be missing, as is what a slow listener lost.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator, Mapping
from typing import Annotated

from fastapi import APIRouter, Header, Query
from fastapi.responses import StreamingResponse

from arbiter.events import Announcer, Event

MISSED = "events.missed"
"""The event that says how many were not told; null of those of an earlier run of the house."""


class Events(StreamingResponse):
    """An answer that goes on: server-sent events."""

    media_type = "text/event-stream"


def events_router(announcer: Announcer) -> APIRouter:
    """The address."""
    router = APIRouter(tags=["house"])
    run = secrets.token_hex(4)

    @router.get("/events", response_class=Events)
    async def events(
        kinds: Annotated[str, Query(max_length=200)] = "",
        last_event_id: Annotated[str | None, Header(max_length=200)] = None,
    ) -> Events:
        """What happens to models and rollouts, as server-sent events, for as long as one listens.

        kinds: beginnings of kinds, with commas between. `Last-Event-ID`: the last that was heard.
        """
        wanted = tuple(kind for kind in kinds.split(",") if kind)
        latest = announcer.last
        heard = latest if last_event_id is None else heard_of(last_event_id, run, latest)

        async def stream() -> AsyncIterator[bytes]:
            last = heard or 0
            with announcer.listening(after=last) as listener:
                yield b": listening\n\n"
                if heard is None:
                    yield framed(f"{run}-0", MISSED, {"missed": None})
                async for number, event in listener.numbered():
                    if number > last + 1:
                        yield framed(f"{run}-{number - 1}", MISSED, {"missed": number - last - 1})
                    last = number
                    if not wanted or event.kind.startswith(wanted):
                        yield framed(f"{run}-{number}", event.kind, told(event))

        return Events(stream())

    return router


def heard_of(last_event_id: str, run: str, latest: int) -> int | None:
    """The number of the last event that a listener heard; None when it was of another run.

    >>> heard_of("c0ffee00-12", "c0ffee00", latest=12), heard_of("12", "c0ffee00", latest=12)
    (12, None)
    """
    before, _, number = last_event_id.rpartition("-")
    is_ours = before == run and number.isascii() and number.isdigit() and len(number) < 18
    return int(number) if is_ours and int(number) <= latest else None


def told(event: Event) -> Mapping[str, object]:
    """An event's data."""
    return {"at": event.at.isoformat(), **event.detail}


def framed(id_: str, kind: str, data: Mapping[str, object]) -> bytes:
    """An event as it goes over the wire."""
    return f"id: {id_}\nevent: {kind}\ndata: {json.dumps(data)}\n\n".encode()
