"""What versions hold in memory, and how long they take to load: measured here, and remembered.

A footprint belongs to a version with a context and a number of slots on a host. Before the first
load it is guessed from the file; afterwards it is what was measured. It is measured when a load
has ended and again when a drain begins, because caches fill while they are used. Of a new
measurement and nine tenths of the last one the larger counts, so one odd reading is forgotten in a
few loads and a peak is not forgotten at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from arbiter.clock import Clock
from arbiter.cost import HOST, Level, Method
from arbiter.engines.base import LoadSpec, Runner
from arbiter.metering.meter import Meter
from arbiter.pool.loadable import Loadable
from arbiter.pool.memory import MemoryReader
from arbiter.pool.residency import Bytes
from arbiter.pool.shortage import Shortage, at_least, lacking, shortage
from arbiter.refs import VersionId
from arbiter.storage.database import Database, Statement

FADES: Final = 0.9
"""So much of the last measurement counts at the next one."""

BYTES_PER_S: Final = 500e6
"""First guess of how fast a model is read; a measured load replaces it."""

LEAST_LOAD_S: Final = 0.5
"""No load is believed to be free: a process is started, and somebody waits."""

Key = tuple[VersionId, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """This host: what it is called, and who counts what its processes do and what memory is left.

    What was measured on another host counts nothing here.
    """

    name: str
    meter: Meter
    memory: MemoryReader


@dataclass(slots=True, kw_only=True)
class Footprint:
    """What is known of a version, a context and a number of slots on this host.

    held: of each memory; empty: never measured. private: what of it is no mapped file, known only
    since it was loaded by this house. load_s: how long its latest load took. shortage: what was
    not enough for it of late.
    """

    held: dict[str, int] = field(default_factory=dict)
    private: dict[str, int] = field(default_factory=dict)
    load_s: float | None = None
    shortage: Shortage | None = None


class Footprints:
    """Every footprint of this host."""

    def __init__(self, *, database: Database, clock: Clock, machine: Machine) -> None:
        self.revision = 0
        """Grows when one becomes known."""
        self._database = database
        self._clock = clock
        self._reader = machine.meter.reader
        self._memory = machine.memory
        self._host = machine.name
        self._known: dict[Key, Footprint] = {}

    async def load(self) -> None:
        """Read what was measured before."""
        rows = await self._database.read("list_footprints", (self._host,))
        for version, context, slots, memory, size, load_s in rows:
            key = (VersionId(str(version)), int(context or 0), int(slots or 0))
            found = self._known.setdefault(key, Footprint())
            found.held[str(memory)] = int(size or 0)
            found.load_s = None if load_s is None else float(load_s)

    def predicted(self, loadable: Loadable, spec: LoadSpec) -> tuple[Bytes | None, bool]:
        """What a version will hold, and whether that was measured; None when nobody knows.

        Never less than what is known not to have been enough.
        """
        found = self._known.get(_key(spec))
        if found is not None and found.held:
            return self._at_least(found.held, found), True
        guess = loadable.estimated_bytes
        known: Bytes | None = None if guess is None else {HOST: guess}
        if found is not None and found.shortage is not None:
            known = self._at_least(known or {}, found) or None
        return known, False

    def _at_least(self, need: Bytes, found: Footprint) -> Bytes:
        return at_least(need, found.shortage, self._clock.monotonic())

    def shortage(self, spec: LoadSpec) -> Shortage | None:
        """What was not enough for it, while that is believed."""
        found = self._known.get(_key(spec))
        known = None if found is None else found.shortage
        return None if known is None or self._clock.monotonic() >= known.until else known

    def fell_short(self, spec: LoadSpec, words: str, had: Mapping[str, Level]) -> None:
        """A load of it ran out of memory. words: why; had: the memories as it began."""
        known = self._known.setdefault(_key(spec), Footprint())
        known.shortage = shortage(known.shortage, lacking(words, had), self._clock.monotonic())
        self.revision += 1

    def measured(self, spec: LoadSpec) -> Bytes | None:
        """What was measured of it; None before its first load."""
        found = self._known.get(_key(spec))
        return found.held if found is not None and found.held else None

    def private(self, spec: LoadSpec) -> Bytes:
        """What it holds for itself while it is loaded, as far as that was measured."""
        found = self._known.get(_key(spec))
        return {} if found is None else found.private

    def load_s(self, spec: LoadSpec) -> float | None:
        """How long its latest load took; None before the first."""
        found = self._known.get(_key(spec))
        return None if found is None else found.load_s

    def reload_s(self, loadable: Loadable, spec: LoadSpec) -> float:
        """How long a load is expected to take, in seconds."""
        known = self.load_s(spec)
        guess = (loadable.estimated_bytes or 0) / BYTES_PER_S
        return max(LEAST_LOAD_S, guess if known is None else known)

    def measure(self, spec: LoadSpec, runner: Runner, *, load_s: float | None) -> None:
        """Remember what a runner holds now. load_s: how long its load took, right after it."""
        read, private, method = self._read(runner)
        known = self._known.setdefault(_key(spec), Footprint())
        if load_s is not None:
            known.load_s, known.shortage = load_s, None
        if not read:
            return
        fading = FADES if load_s is not None else 1.0
        before = {memory: int(size * fading) for memory, size in known.held.items()}
        held = {memory: max(size, before.get(memory, 0)) for memory, size in read.items()}
        known.private = private
        if held == known.held and load_s is None:
            return
        known.held = held
        self.revision += 1
        at = self._clock.now().isoformat()
        self._database.enqueue(
            *[
                Statement(
                    query="put_footprint",
                    parameters=(*_key(spec), self._host, memory, size, known.load_s, method, at),
                )
                for memory, size in held.items()
                if size > 0
            ]
        )

    def _read(self, runner: Runner) -> tuple[Mapping[str, int], dict[str, int], str]:
        """What it holds of each memory, what of that is private, and how that was found out."""
        footprint = runner.reported
        if footprint is None:
            if runner.pid is None:
                return {}, {}, ""
            footprint = self._reader.footprint(runner.pid)
        if footprint.total_bytes is None or footprint.method is Method.UNKNOWN:
            return {}, {}, ""
        beside = {} if runner.pid is None else self._memory.held(runner.pid)
        private = {HOST: footprint.anonymous_bytes or 0, **beside}
        return {HOST: footprint.total_bytes, **beside}, private, footprint.method.value


def _key(spec: LoadSpec) -> Key:
    return (spec.version, spec.context, spec.slots)
