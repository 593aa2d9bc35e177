"""The control API's addresses about aliases: list, show, move, look back."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Response
from pydantic import Field

from arbiter.errors import UnknownAlias
from arbiter.gateway import views
from arbiter.gateway.control_base import WHO, ControlBody, Plain
from arbiter.gateway.control_rooms import ControlRooms
from arbiter.gateway.etags import If, alias_tag
from arbiter.gateway.paging import Wanted, numbered
from arbiter.refs import ModelName, parse_name
from arbiter.registry.registry import Name


class SetAlias(ControlBody):
    """What an alias is to point at."""

    target: str = Field(description="A registered model, or another alias, by its name.")


def aliases_router(rooms: ControlRooms) -> APIRouter:
    """The addresses."""
    router = APIRouter(tags=["aliases"])
    registry = rooms.registry
    one_at_a_time = asyncio.Lock()  # from looking at an alias until it is moved

    def find(name: ModelName) -> Name | None:
        return next((one for one in registry.names() if one.name == name), None)

    def told(name: ModelName, response: Response) -> Plain:
        found = find(name)
        if found is None:
            raise UnknownAlias(f"No name is called {name}.", param="alias")
        response.headers["etag"] = alias_tag(found)
        return views.name_view(found, registry)

    @router.get("/aliases")
    async def list_aliases(page: Wanted) -> Plain:
        """Every name that can be asked for, aliases too, and what each points at."""
        names, after = page.of(registry.names(), key=lambda one: one.name)
        return {"aliases": [views.name_view(name, registry) for name in names], "next": after}

    @router.get("/aliases/{alias:path}/moves")
    async def list_moves(alias: str, page: Wanted) -> Plain:
        """What an alias pointed at before, the oldest first: when, who moved it and by what."""
        # a log that only grows: a position in it stays what it is
        moves = enumerate(await registry.moves(parse_name(alias, what="alias")))
        part, after = page.of(moves, key=lambda one: numbered(one[0]))
        return {"moves": [views.move_view(move) for _, move in part], "next": after}

    @router.get("/aliases/{alias:path}")
    async def show_alias(alias: str, response: Response) -> Plain:
        """What an alias points at."""
        return told(parse_name(alias, what="alias"), response)

    @router.put("/aliases/{alias:path}")
    async def set_alias(alias: str, body: SetAlias, still: If, response: Response) -> Plain:
        """Point an alias at a model, at once and without a rollout."""
        name, target = parse_name(alias, what="alias"), parse_name(body.target)
        async with one_at_a_time:
            found = find(name)
            still.check(None if found is None else alias_tag(found))
            await rooms.admission.set_alias(name, target, who=WHO)
        return told(name, response)

    return router
