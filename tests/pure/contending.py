"""Versions that differ in nothing but their names, for tests of who is picked."""

from __future__ import annotations

from arbiter.knowledge.profiles import NOTHING
from arbiter.knowledge.tasks import Weights
from arbiter.refs import ModelName, VersionId
from arbiter.selection.contender import Contender, Seen, Situation

HOUSE = Situation(
    budget_bytes=None, weights=Weights(quality=1.0, latency=0.0, memory=0.0, reliability=0.0)
)
"""Where quality alone counts."""


def contenders(count: int) -> list[Seen]:
    """So many of them: ``m00`` of the version ``v00``, and so on."""
    return [
        Seen(
            contender=Contender(
                name=ModelName(f"m{number:02}"),
                version=VersionId(f"v{number:02}"),
                capabilities=frozenset({"chat"}),
                context=None,
                memory_bytes=None,
            ),
            profile=NOTHING,
        )
        for number in range(count)
    ]
