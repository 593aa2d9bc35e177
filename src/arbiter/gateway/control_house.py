"""The control API's addresses about the house: its state and its settings."""

from __future__ import annotations

from fastapi import APIRouter

from arbiter.gateway.control_base import Plain
from arbiter.gateway.control_rooms import ControlRooms
from arbiter.gateway.views import reloaded_view


def house_router(rooms: ControlRooms) -> APIRouter:
    """The addresses."""
    router = APIRouter(tags=["house"])

    @router.get("/status")
    async def status() -> Plain:
        """The state of the house: what it holds, and how many requests have ended."""
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
        """Read the settings again: what holds at once, and what does at the next start."""
        return reloaded_view(await rooms.reload(), rooms.registry)

    return router
