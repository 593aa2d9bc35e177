"""A registry on a file, with versions known by one letter."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from arbiter.clock import ManualClock
from arbiter.ledger import Ledger
from arbiter.refs import ModelName, RolloutId, VersionId
from arbiter.registry.artifact import Artifact, Identity
from arbiter.registry.moves import Move
from arbiter.registry.registry import Registry, Standing
from arbiter.storage.sqlite import open_sqlite

PRIMARY, FAST, MINE = ModelName("primary"), ModelName("fast"), ModelName("mine")
HERON, OWL, WREN = ModelName("heron"), ModelName("owl"), ModelName("wren")


def version(letter: str) -> VersionId:
    return VersionId("sha256:" + letter * 64)


def artifact(letter: str, *, path: str = "/models/m.gguf") -> Artifact:
    return Artifact(
        version=version(letter),
        format="gguf",
        path=path,
        size_bytes=1_000,
        identity=Identity(device=1, inode=2, size=1_000, mtime_ns=3, ctime_ns=4),
        content_digest=version(letter),
        architecture="llama",
        parameters=1_000_000,
        context_length=4096,
        capabilities=frozenset({"chat", "tools"}),
        name_hint="m",
        provenance={"general.name": "M", "general.license": "mit"},
        options={"chat_template": "t"},
    )


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[Registry]:
    database = await open_sqlite(path)
    clock = ManualClock()
    registry = Registry(database, clock, Ledger(database, clock))
    try:
        await registry.load()
        yield registry
    finally:
        await database.close()


def moved(to: str, **changes: object) -> Move:
    whole = Move(
        name=PRIMARY,
        from_version=version("a"),
        to_version=version(to),
        who="rollout",
        why="promoted",
        rollout=RolloutId("rol_" + "0" * 26),
        keep_until="2026-01-08T00:00:00+00:00",
        at="2026-01-01T00:00:00+00:00",
    )
    return replace(whole, **changes)  # type: ignore[arg-type]  # the tests' own words


SWAPPED = {version("a"): Standing.RETIRED, version("b"): Standing.ACTIVE}


def everything(registry: Registry) -> object:
    versions = registry.versions()
    return (
        sorted(versions, key=lambda one: one.version),
        registry.names(),
        registry.arms(),
        [registry.kept_until(one.version) for one in versions],
    )
