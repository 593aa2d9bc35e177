"""What can be asked for by name."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from arbiter.gateway.rooms import ModelCard
from arbiter.house.rooms import HouseRooms
from arbiter.registry.registry import Version


def cards_of(rooms: HouseRooms) -> Sequence[ModelCard]:
    """What can be asked for by name, and ``auto``."""
    named = []
    for name in rooms.registry.names():
        version = rooms.registry.version(name.version)
        named.append(
            ModelCard(
                id=name.name,
                created=_seconds(version),
                owned_by=version.artifact.format,
                version=version.version,
                context_length=version.artifact.context_length,
                capabilities=tuple(sorted(rooms.dispatch.capabilities(version))),
            )
        )
    # what any of them can do, the house can do
    able = frozenset[str]().union(*[one.capabilities for one in named])
    auto = ModelCard(
        id="auto", created=0, owned_by="arbiter", version="", capabilities=tuple(sorted(able))
    )
    return [auto, *named]


def _seconds(version: Version) -> int:
    return int(datetime.fromisoformat(version.registered_at).timestamp())
