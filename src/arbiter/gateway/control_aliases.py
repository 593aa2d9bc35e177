"""The control API's addresses about aliases: list, move, look back."""

from __future__ import annotations

from fastapi import APIRouter

from arbiter.gateway import views
from arbiter.gateway.control_base import WHO, ControlBody, Plain
from arbiter.gateway.control_rooms import ControlRooms
from arbiter.refs import parse_name


class SetAlias(ControlBody):
    """What an alias is to point at."""

    target: str


def aliases_router(rooms: ControlRooms) -> APIRouter:
    """The addresses."""
    router = APIRouter(tags=["aliases"])
    registry = rooms.registry

    @router.get("/aliases")
    async def list_aliases() -> Plain:
        return {"aliases": [views.name_view(name, registry) for name in registry.names()]}

    @router.get("/aliases/{alias:path}/moves")
    async def list_moves(alias: str) -> Plain:
        moves = await registry.moves(parse_name(alias, what="alias"))
        return {"moves": [views.move_view(move) for move in moves]}

    @router.put("/aliases/{alias:path}")
    async def set_alias(alias: str, body: SetAlias) -> Plain:
        name = parse_name(alias, what="alias")
        await rooms.admission.set_alias(name, parse_name(body.target), who=WHO)
        found = next(one for one in registry.names() if one.name == name)
        return views.name_view(found, registry)

    return router
