"""The control API's addresses about keys: make, list, revoke. Only an admin key reaches them."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter, Request
from pydantic import Field

from arbiter.gateway.control_base import ControlBody, Plain
from arbiter.gateway.keyring import USUAL, Kept, Keyring
from arbiter.gateway.limits import MOST, KeyLimits
from arbiter.gateway.paging import Wanted
from arbiter.gateway.security import caller_of


class KeyLimitsBody(ControlBody):
    """Bounds of a key: answers at once, and requests and tokens a minute. None: no bound."""

    in_flight: int | None = Field(None, ge=1, le=MOST, description="Answers at once.")
    per_minute: int | None = Field(None, ge=1, le=MOST, description="Requests a minute.")
    tokens_per_minute: int | None = Field(None, ge=1, le=MOST, description="Tokens a minute.")


class MakeKey(ControlBody):
    """Whom a key is for, what it may do, and how much of it."""

    name: str = Field(description="Whose it is.")
    scopes: tuple[str, ...] = Field(USUAL, description="What it may do: use, feedback, admin.")
    limits: KeyLimitsBody = Field(
        KeyLimitsBody(), description="How much of it; by default as much as it likes."
    )


def keys_router(keyring: Keyring) -> APIRouter:
    """The addresses."""
    router = APIRouter(tags=["keys"])

    @router.get("/keys")
    async def list_keys(page: Wanted) -> Plain:
        """Every key, by its name and scopes; never the key itself."""
        found, after = page.of(keyring.all(), key=lambda kept: kept.id)
        return {"keys": [key_view(kept) for kept in found], "next": after}

    @router.post("/keys", status_code=201)
    async def make(body: MakeKey, request: Request) -> Plain:
        """Make a key. It is shown in this answer and never again."""
        limits = KeyLimits(**body.limits.model_dump())
        who = caller_of(request.scope).id
        kept, secret = await keyring.make(body.name, body.scopes, who=who, limits=limits)
        return {**key_view(kept), "key": secret}

    @router.delete("/keys/{id}")
    async def revoke(id: str) -> Plain:  # noqa: A002  # the name in the address
        """Let a key open nothing any more, at once."""
        return key_view(await keyring.revoke(id))

    return router


def key_view(kept: Kept) -> Plain:
    """A key as it is shown: never its secret, nor its hash."""
    return {**asdict(kept), "scopes": list(kept.scopes)}
