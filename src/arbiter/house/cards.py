"""What can be asked for by name."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from arbiter.gateway.rooms import ModelCard
from arbiter.house.rooms import HouseRooms
from arbiter.registry.registry import Version


def cards_of(rooms: HouseRooms) -> Sequence[ModelCard]:
    """What can be asked for by name, and ``auto``."""
    cards = [ModelCard(id="auto", created=0, owned_by="arbiter", version="")]
    for name in rooms.registry.names():
        version = rooms.registry.version(name.version)
        cards.append(
            ModelCard(
                id=name.name,
                created=_seconds(version),
                owned_by=version.artifact.format,
                version=version.version,
                context_length=version.artifact.context_length,
                capabilities=tuple(sorted(rooms.dispatch.capabilities(version))),
            )
        )
    return cards


def _seconds(version: Version) -> int:
    return int(datetime.fromisoformat(version.registered_at).timestamp())
