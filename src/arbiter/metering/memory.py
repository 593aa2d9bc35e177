"""The memory of a process tree, with mapped weights counted once a file.

Processes that map the same file share its pages, so their resident sets add up to more than there
is; and a process's proportional set shrinks when another one comes, although it did nothing. So
three numbers are told apart: private memory, which adds up; pages of mapped files, once a file,
known by device and inode and not by path; and memory of accelerators.

At ten times a second only ``/proc/PID/status`` is read, where files are not told apart: of the
members of a tree the largest counts, because they map the same files. `mapped` walks ``smaps``,
which holds a process up for some 15 ms for every 600 MB, so it is for loads and for questions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from arbiter.hardware.reading import text_in
from arbiter.metering.process import ProcessReader

PROC: Final = Path("/proc")


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """What a process tree holds: private bytes, and resident bytes of mapped files.

    None: it could not be read, and `reason` says why.
    """

    private_bytes: int | None
    files_bytes: int | None
    reason: str | None = None

    @property
    def total_bytes(self) -> int | None:
        """Both together; None when either is unknown."""
        if self.private_bytes is None or self.files_bytes is None:
            return None
        return self.private_bytes + self.files_bytes


def held(pids: Iterable[int], reader: ProcessReader) -> Held:
    """What these processes hold together, read cheaply."""
    private, files, reason = 0, 0, "no process"
    is_known = False
    for number, pid in enumerate(pids):
        quick = reader.held(pid)
        if quick is not None:
            is_known = True
            private += quick[0]
            files = max(files, quick[1])
            continue
        found = reader.memory(pid)
        footprint = found.footprint
        if footprint.anonymous_bytes is None or footprint.weights_bytes is None:
            reason = found.reason or "not known"
            if number == 0:
                break  # without its root a tree's sum would be of something else
            continue  # a child that ended just now
        is_known = True
        private += footprint.anonymous_bytes
        files = max(files, footprint.weights_bytes)
    if not is_known:
        return Held(private_bytes=None, files_bytes=None, reason=reason)
    return Held(private_bytes=private, files_bytes=files)


class Mapped(msgspec.Struct, frozen=True, kw_only=True):
    """A file that processes map. proportional_bytes: each page's part, by how many map it."""

    path: str
    resident_bytes: int
    proportional_bytes: int

    @property
    def once_bytes(self) -> int:
        """The resident pages of the file, each once.

        The proportional parts of all who map it add up to that; where somebody else maps it too,
        they add up to less, and then the largest resident set is nearer.
        """
        return max(self.resident_bytes, self.proportional_bytes)


FileId = tuple[str, int]
"""A file by its device and inode: one that was replaced under its name is another."""


def mapped(pids: Iterable[int], *, proc: Path = PROC) -> Mapping[FileId, Mapped]:
    """Every file that these processes map, by what it is. A process that is gone is left out."""
    found: dict[FileId, Mapped] = {}
    for pid in pids:
        own: dict[FileId, Mapped] = {}
        for key, one in _mappings(text_in(proc / str(pid) / "smaps") or ""):
            own[key] = _added(own.get(key), one)
        for key, one in own.items():
            other = found.get(key)
            found[key] = (
                one
                if other is None
                else Mapped(
                    path=one.path,
                    resident_bytes=max(one.resident_bytes, other.resident_bytes),
                    proportional_bytes=one.proportional_bytes + other.proportional_bytes,
                )
            )
    return found


def _added(before: Mapped | None, one: Mapped) -> Mapped:
    if before is None:
        return one
    return Mapped(
        path=one.path,
        resident_bytes=before.resident_bytes + one.resident_bytes,
        proportional_bytes=before.proportional_bytes + one.proportional_bytes,
    )


def _mappings(text: str) -> Iterator[tuple[FileId, Mapped]]:
    key: FileId | None = None
    path, sizes = "", dict[str, int]()
    for line in text.splitlines():
        words = line.split(maxsplit=5)
        if len(words) >= 5 and "-" in words[0] and not words[0].endswith(":"):
            if key is not None:
                yield key, _of(path, sizes)
            is_file = words[4] != "0" and len(words) == 6
            key, path, sizes = ((words[3], int(words[4])) if is_file else None), words[-1], {}
        elif len(words) == 3 and words[0] in {"Rss:", "Pss:"}:
            sizes[words[0]] = int(words[1]) * 1024
    if key is not None:
        yield key, _of(path, sizes)


def _of(path: str, sizes: Mapping[str, int]) -> Mapped:
    return Mapped(
        path=path,
        resident_bytes=sizes.get("Rss:", 0),
        proportional_bytes=sizes.get("Pss:", 0),
    )
