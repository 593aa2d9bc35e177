"""What the pool must know of a version to run it: its file, and a first guess of its size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Final

import msgspec

from arbiter.refs import VersionId
from arbiter.registry.artifact import Artifact
from arbiter.registry.registry import Version

WORKER_BYTES: Final = 40_000_000
"""First guess of what a worker process holds besides its model; a measurement replaces it."""


class Loadable(msgspec.Struct, frozen=True, kw_only=True):
    """What the pool must know of a version: its file and a first guess of its size.

    is_outside: another program runs it, in memory that is not this house's to give.
    estimated_bytes: None when nobody says anything about its size. digest: of its content, for
    its server to match.
    """

    version: VersionId
    format: str
    path: str
    context_length: int | None
    estimated_bytes: int | None
    is_outside: bool = False
    digest: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    artifact: Artifact | None = None
    """What was registered, to notice a file that is no longer the same; None: not checked."""


def key_of(version: VersionId, number: int) -> str:
    """What an instance is known by in the pool: the first one by its version alone.

    >>> key_of(VersionId("sha256:ab"), 1), key_of(VersionId("sha256:ab"), 2)
    ('sha256:ab', 'sha256:ab/2')
    """
    return version if number == 1 else f"{version}/{number}"


def loadable(version: Version) -> Loadable:
    """What the pool must know of a registered version."""
    artifact = version.artifact
    size, estimated = artifact.size_bytes, artifact.size_bytes
    if artifact.identity is not None and size is not None:
        cache = (artifact.kv_bytes_per_token or 0) * (artifact.context_length or 0)
        estimated = WORKER_BYTES + size + min(cache, size)
    return Loadable(
        version=version.version,
        format=artifact.format,
        path=artifact.path,
        context_length=artifact.context_length,
        estimated_bytes=estimated,
        is_outside=artifact.identity is None,
        digest=artifact.content_digest if artifact.identity is None else None,
        options=artifact.options,
        artifact=artifact,
    )
