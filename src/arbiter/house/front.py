"""The door of an open house."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from arbiter.gateway.control import control_app
from arbiter.gateway.origins import read_origins
from arbiter.gateway.rooms import Rooms
from arbiter.gateway.routes import door
from arbiter.gateway.security import LOCAL, Key, Ring, binding, hashed
from arbiter.gateway.serving import Address, Patience, serving
from arbiter.gateway.shelf import HouseShelf
from arbiter.house.cards import cards_of
from arbiter.house.controls import controls_of
from arbiter.house.note import announced
from arbiter.house.rooms import HouseRooms
from arbiter.house.showing import readiness, watched_of


@asynccontextmanager
async def listening(house: HouseRooms, *, only: Key | None = None) -> AsyncIterator[Address]:
    """Listen at the address of the settings for as long as the context is open.

    only: the one key that opens it, instead of those of the settings.
    """
    settings = house.settings.door
    secret = secrets.token_urlsafe(32)
    ring = house.keyring.ring if only is None else Ring((only,))
    if only is None:
        # whoever may read the data directory runs the house, whatever keys its door has
        ring.owner = Key(id=LOCAL.id, digest=hashed(secret), access=LOCAL.access)
    policy = replace(
        binding(settings.host, names=settings.allowed_hosts, ring=ring),
        max_body_bytes=int(settings.max_body_mb * 1024 * 1024),
        origins=read_origins(settings.allowed_origins, has_keys=bool(ring)),
    )
    rooms = Rooms(
        answer=house.dispatch,
        models=lambda: cards_of(house),
        healthy=lambda: {"ok": True},
        ready=lambda: readiness(house),
        watched=lambda: watched_of(house),
        clock=house.clock,
        new_request=house.dispatch.new_request,
        shelf=HouseShelf(
            registry=house.registry,
            pool=house.pool,
            pulling=house.pulling,
            admission=house.admission,
            capabilities=house.dispatch.capabilities,
        ),
        tell_after_s=settings.tell_after_s,
        reads_traces=house.dispatch.is_traced,
        control=control_app(controls_of(house)),
    )
    async with serving(
        door(rooms, policy),
        settings.host,
        settings.port,
        patience=Patience(drain_s=settings.drain_s),
    ) as address:
        with announced(house.settings.data_dir, address, secret):
            yield address
