"""What becomes of the model files that were found: read once, registered, or refused with a reason.

Reading a file to its last byte takes as long as the disk needs. So what was read is remembered by
what the file system says of it, and a file that was not touched is not read again.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Final

from arbiter.errors import ArbiterError
from arbiter.refs import VersionId, legible
from arbiter.registry.artifact import Identity, examine, identity_of, is_unchanged
from arbiter.registry.discovery import FileSighting
from arbiter.registry.registry import Registry, Version
from arbiter.swap.adoption import Adopted
from arbiter.swap.intake import Intake

_MOST_KNOWN: Final = 10_000


class FoundFiles:
    """Registers files that were found in folders."""

    def __init__(self, *, registry: Registry, intake: Intake) -> None:
        self._registry = registry
        self._intake = intake
        self._read: dict[tuple[Path, Identity], Adopted] = {}
        """What came of files that were read already."""

    async def known(self, file: FileSighting) -> Adopted | None:
        """What is known of a file without reading it; None when it would have to be read."""
        if file.trouble is not None:
            return _trouble(file, file.trouble)
        registered = self._at(file.path)
        if registered is not None and is_unchanged(registered.artifact):
            return _known(file, registered.version)
        try:
            return self._read.get((file.path, identity_of(file.path)))
        except OSError as error:
            return _trouble(file, f"It cannot be read: {error.strerror}.")

    async def register(self, file: FileSighting) -> Adopted:
        """Read a file and register what it holds."""
        before = self._at(file.path)
        try:
            at = identity_of(file.path)
        except OSError as error:
            return _trouble(file, f"It cannot be read: {error.strerror}.")
        try:
            artifact = await asyncio.to_thread(examine, file.path)
        except ArbiterError as error:
            return self._remember(file, at, _trouble(file, error.sentence))
        known = self._remember(file, at, _known(file, artifact.version))
        if self._intake.is_registered(artifact.version):
            return known
        predecessor = None if before is None else before.version
        dated = predecessor is not None
        name = self._intake.name_for(artifact, artifact.name_hint, "", dated=dated)
        await self._intake.take_in(artifact, name, predecessor, None)
        why = ""
        if predecessor is not None:
            # a file that changed is refused under its old name; a person says what becomes of it
            why = await self._intake.beside(file.path.name, artifact, predecessor, name)
        return replace(known, what="registered", why=why)

    def _at(self, path: Path) -> Version | None:
        real = str(path.resolve())
        return next((v for v in self._registry.versions() if v.artifact.path == real), None)

    def _remember(self, file: FileSighting, at: Identity, came_of_it: Adopted) -> Adopted:
        if len(self._read) >= _MOST_KNOWN:
            self._read.clear()
        self._read[file.path, at] = came_of_it
        return came_of_it


def reading(file: FileSighting) -> Adopted:
    """A file that is read now, or waits for its turn."""
    where, model = shown_as(file)
    return Adopted(where=where, model=model, what="reading")


def shown(file: FileSighting) -> Adopted:
    """A file that is only shown, because nobody wants it registered."""
    where, model = shown_as(file)
    return Adopted(where=where, model=model, what="shown")


def shown_as(file: FileSighting) -> tuple[str, str]:
    """The folder and the name of a file, fit to be shown."""
    return legible(str(file.path.parent), most=1000), legible(file.path.name)


def _known(file: FileSighting, version: VersionId) -> Adopted:
    where, model = shown_as(file)
    return Adopted(where=where, model=model, what="known", version=version)


def _trouble(file: FileSighting, why: str) -> Adopted:
    where, model = shown_as(file)
    return Adopted(where=where, model=model, what="trouble", why=why)
