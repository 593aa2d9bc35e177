"""Who has a graphics card open, and what of it each uses: Linux tells in every process's fdinfo.

One entry for each time a process has opened a card: nanoseconds of each engine since it began, and
memory. A desktop has tens of thousands of entries, and some tens of them are of a card. So which
those are is looked for seldom, by what they are open on, and only they are read each time.

Source: the kernel's Documentation/gpu/drm-usage-stats.rst.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from arbiter.hardware.reading import ProcessUse, text_in

OFTEN: Final = 10
"""Once in so many readings new entries of the processes that matter are looked for."""

SELDOM: Final = 100
"""Once in so many readings every process is looked at."""

_CARDS: Final = "/dev/dri/"
_UNITS: Final = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}

Facts = Mapping[str, list[str]]

Used = Mapping[str, ProcessUse]
"""What a process uses, by the card's address on the bus."""


class Clients:
    """The processes that have a card open, as far as this one may look into them."""

    def __init__(self, proc: Path) -> None:
        self._proc = proc
        self._readings = 0
        self._entries: dict[int, tuple[Path, ...]] = {}

    def everybody(self) -> Mapping[int, Used]:
        """What every process uses, looked for anew. Tens of milliseconds on a desktop."""
        return _known({pid: _sum(_entries(self._proc / str(pid))) for pid in self._pids()})

    def used(self, mine: Collection[int]) -> Mapping[int, Used]:
        """The same, of those that are known to have one open, and of these in any case."""
        is_often = self._readings % OFTEN == 0
        if self._readings % SELDOM == 0:
            self._entries = {}
            self._look_at(self._pids())
        else:
            self._look_at(pid for pid in mine if is_often or pid not in self._entries)
        self._readings += 1
        return _known({pid: _sum(entries) for pid, entries in self._entries.items() if entries})

    def _look_at(self, pids: Iterable[int]) -> None:
        for pid in pids:
            self._entries[pid] = tuple(_distinct(_entries(self._proc / str(pid))))

    def _pids(self) -> Iterator[int]:
        return (int(folder.name) for folder in self._proc.glob("[0-9]*"))


def _known(found: Mapping[int, Used]) -> Mapping[int, Used]:
    return {pid: used for pid, used in found.items() if used}


def _distinct(entries: Iterable[Path]) -> Iterator[Path]:
    """Of those that are of the same client one, so that the others need not be read again."""
    seen: set[tuple[str, str]] = set()
    for entry in entries:
        client = _client(_facts(entry), entry)
        if client is not None and client not in seen:
            seen.add(client)
            yield entry


def _entries(folder: Path) -> Iterator[Path]:
    """The entries of one process that are of a card."""
    try:
        names = sorted(os.listdir(folder / "fdinfo"))  # noqa: PTH208  # as in metering.tree
    except OSError:
        return
    for name in names:
        try:
            is_card = os.readlink(f"{folder}/fd/{name}").startswith(_CARDS)  # noqa: PTH115  # same
        except OSError:
            is_card = True  # it cannot be told by its name
        if is_card:
            yield folder / "fdinfo" / name


def _sum(entries: Iterable[Path]) -> Used:
    """What is used through them. A client that is open twice has one id and counts once."""
    seen: set[tuple[str, str]] = set()
    found: dict[str, ProcessUse] = {}
    for entry in entries:
        facts = _facts(entry)
        client = _client(facts, entry)
        if client is None or client in seen:
            continue
        seen.add(client)
        address = client[0]
        before = found.get(address, ProcessUse(engine_ns=0, memory_bytes=0))
        found[address] = ProcessUse(
            engine_ns=(before.engine_ns or 0) + _engines(facts),
            memory_bytes=(before.memory_bytes or 0) + _memory(facts),
        )
    return found


def _facts(entry: Path) -> Facts:
    """The lines of an entry by their names; nothing where it is not of a card."""
    text = text_in(entry) or ""
    if "drm-driver:" not in text:
        return {}
    return {
        key: rest.split() for key, _, rest in (line.partition(":") for line in text.splitlines())
    }


def _client(facts: Facts, entry: Path) -> tuple[str, str] | None:
    """The card, and who has it open; None where it is not of a card."""
    if not facts:
        return None
    return " ".join(facts.get("drm-pdev", [])), " ".join(facts.get("drm-client-id", [entry.name]))


def _engines(facts: Facts) -> int:
    return sum(
        int(words[0])
        for key, words in facts.items()
        if key.startswith("drm-engine-")
        and not key.startswith("drm-engine-capacity-")
        and words[:1]
        and words[0].isdigit()
    )


def _memory(facts: Facts) -> int:
    """Memory of the card itself. Newer drivers say resident, older ones only memory."""
    for key in ("drm-resident-vram", "drm-memory-vram", "drm-resident-vram0"):
        words = facts.get(key, [])
        if words and words[0].isdigit():
            return int(words[0]) * _UNITS.get(words[1] if len(words) > 1 else "B", 1)
    return 0
