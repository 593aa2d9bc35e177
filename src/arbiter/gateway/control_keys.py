"""The control API's addresses about keys: make, list, revoke. Only an admin key reaches them."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter, Request

from arbiter.gateway.control_base import ControlBody, Plain
from arbiter.gateway.keyring import USUAL, Kept, Keyring
from arbiter.gateway.paging import Wanted
from arbiter.gateway.security import caller_of


class MakeKey(ControlBody):
    """Whom a key is for, and what it may do."""

    name: str
    scopes: tuple[str, ...] = USUAL


def keys_router(keyring: Keyring) -> APIRouter:
    """The addresses."""
    router = APIRouter(tags=["keys"])

    @router.get("/keys")
    async def list_keys(page: Wanted) -> Plain:
        found, after = page.of(keyring.all(), key=lambda kept: kept.id)
        return {"keys": [key_view(kept) for kept in found], "next": after}

    @router.post("/keys", status_code=201)
    async def make(body: MakeKey, request: Request) -> Plain:
        kept, secret = await keyring.make(body.name, body.scopes, who=caller_of(request.scope).id)
        return {**key_view(kept), "key": secret}

    @router.delete("/keys/{id}")
    async def revoke(id: str) -> Plain:  # noqa: A002  # the name in the address
        return key_view(await keyring.revoke(id))

    return router


def key_view(kept: Kept) -> Plain:
    """A key as it is shown: never its secret, nor its hash."""
    return {**asdict(kept), "scopes": list(kept.scopes)}
