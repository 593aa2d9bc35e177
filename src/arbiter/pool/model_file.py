"""The file of a version, before a load and while it is loaded: still what was registered?

What is loaded is mapped from its file. Whoever writes over the file changes what answers, without
a word from the system; so a file that is no longer the registered one has to be noticed, or other
weights would answer under this version's name and earn its record.

Nothing here knows a runner: it says that the file is wrong, and somebody else unloads.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from arbiter.clock import Clock
from arbiter.errors import LoadFailed
from arbiter.registry.artifact import Artifact, identity_of, is_unchanged, verify

LOOK_S = 1.0
"""How long a look at the file's stamps counts while the version is in use.

A look costs some 50 microseconds of a request, nearly all for the thread that makes it. On the
event loop it would cost 2, but a network disk that hangs would then stop every model with it. So
the first request in any second pays, which is always the one that comes after a pause.
"""


class ModelFile:
    """What is known of a version's file. None: nothing to look at, its server is asked instead."""

    def __init__(self, artifact: Artifact | None, clock: Clock) -> None:
        self._artifact = artifact
        self._clock = clock
        self._looked_at: float | None = None

    @property
    def is_due(self) -> bool:
        """Whether it must be looked at before the next answer begins."""
        if self._artifact is None or self._artifact.identity is None:
            return False
        return self._looked_at is None or self._clock.monotonic() - self._looked_at >= LOOK_S

    def doubt(self) -> None:
        """Have it looked at before the next answer, however lately that was done."""
        self._looked_at = None

    async def ensure_registered(self) -> None:
        """Look at it; read it whole when its stamps are not those of the content that was read.

        Raises `LoadFailed` when it is no longer what was registered.
        """
        if self._artifact is None:
            return
        began = self._clock.monotonic()
        found = await asyncio.to_thread(_found, self._artifact)
        if isinstance(found, str):
            raise LoadFailed(
                found, hint="Put the file back, or register it anew: arbiter models add FILE."
            )
        self._artifact, self._looked_at = found, began


def _found(artifact: Artifact) -> Artifact | str:
    """The artifact with the stamps under which its content was read, or what is not right."""
    if is_unchanged(artifact):
        return artifact
    stamps = artifact.identity
    with suppress(OSError):  # it is gone: `verify` says so
        # before the reading: who writes while it is read is noticed at the next look
        stamps = identity_of(Path(artifact.path))
    return verify(artifact) or replace(artifact, identity=stamps)
