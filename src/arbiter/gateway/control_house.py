"""The control API's addresses about the house: its state, its settings, what happens in it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from arbiter.gateway.control_base import Plain
from arbiter.gateway.control_rooms import ControlRooms


def house_router(rooms: ControlRooms) -> APIRouter:
    """The addresses."""
    router = APIRouter(tags=["house"])

    @router.get("/status")
    async def status() -> Plain:
        await rooms.database.settle()
        ((count, failures, cpu, prompt, completion),) = await rooms.database.read("count_outcomes")
        return {
            **rooms.status(),
            "knowledge": rooms.knowledge(),
            "requests": {
                "ended": count,
                "failed": failures or 0,
                "cpu_ms": cpu,
                "prompt_tokens": prompt,
                "completion_tokens": completion,
            },
        }

    @router.post("/reload")
    async def reload() -> Plain:
        reloaded = await rooms.reload()
        return {
            "applied": list(reloaded.applied),
            "at_next_start": list(reloaded.at_next_start),
            "loaded_again": list(reloaded.loaded_again),
        }

    @router.get("/events")
    async def events(kinds: Annotated[str, Query(max_length=200)] = "") -> StreamingResponse:
        wanted = tuple(kind for kind in kinds.split(",") if kind)

        async def stream() -> AsyncIterator[bytes]:
            with rooms.announcer.listening() as listener:
                yield b": listening\n\n"
                async for event in listener.stream():
                    if not wanted or event.kind.startswith(wanted):
                        body = {"at": event.at.isoformat(), **event.detail}
                        yield f"event: {event.kind}\ndata: {json.dumps(body)}\n\n".encode()

        return StreamingResponse(stream(), media_type="text/event-stream")

    return router
