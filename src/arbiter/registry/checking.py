"""Whether registered files are still what was registered: each is read again from its first byte.

What another program serves has no file here. Its server is asked at every load whether it still
offers that content, so there is nothing to read again, and that is said.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from arbiter.refs import VersionId
from arbiter.registry.artifact import KnownBy, verify
from arbiter.registry.registry import Version

Read = Callable[[str, int, int], None]
"""Told after each file: its path, how many were read, of how many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What became of one version.

    known_by: what its identity rests on; only ``content`` can be read again. fault: what is not
    right, as a sentence; None when nothing is, or when there was nothing to read.
    """

    version: VersionId
    path: str
    known_by: KnownBy
    fault: str | None


async def check_files(versions: Sequence[Version], *, progress: Read) -> tuple[Checked, ...]:
    """Read the file of each version again. Takes as long as hashing them all, in a thread."""
    files = [version for version in versions if version.artifact.known_by == "content"]
    faults: dict[VersionId, str | None] = {}
    for done, version in enumerate(files, start=1):
        # one after the other: two at once would only fight for the disk
        faults[version.version] = await asyncio.to_thread(verify, version.artifact)
        progress(version.artifact.path, done, len(files))
    return tuple(
        Checked(
            version=version.version,
            path=version.artifact.path,
            known_by=version.artifact.known_by,
            fault=faults.get(version.version),
        )
        for version in versions
    )
