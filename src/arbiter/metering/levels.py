"""How full the memories of this machine are: its own, and those of its accelerators.

A device that works in the machine's own memory has none to tell of. What a device does not say is
left out, so it bounds nobody: its engine then says when something does not fit.

A driver may take long to answer, so devices are read in a thread, before somebody plans with what
they say (`refresh`), and never where requests are served. The machine's own memory is read at once:
some microseconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

import psutil

from arbiter.cost import HOST, Level
from arbiter.metering.control_group import tightest


class Device(Protocol):
    """What is asked of an accelerator. unified: it works in the machine's own memory."""

    @property
    def key(self) -> str: ...  # noqa: D102  # the class says it
    @property
    def memory_bytes(self) -> int | None: ...  # noqa: D102
    @property
    def memory_used_bytes(self) -> int | None: ...  # noqa: D102
    @property
    def unified(self) -> bool: ...  # noqa: D102


class ProcessMemory(Protocol):
    """What a process holds of an accelerator."""

    @property
    def memory_bytes(self) -> int | None: ...  # noqa: D102


class DeviceUse(Protocol):
    """Who uses an accelerator. processes: None when it does not tell them apart."""

    @property
    def key(self) -> str: ...  # noqa: D102
    @property
    def processes(self) -> Mapping[int, ProcessMemory] | None: ...  # noqa: D102


class Devices(Protocol):
    """Whoever reads the accelerators of one kind."""

    def look(self) -> Sequence[Device]:
        """The devices that are there."""
        ...

    def use(self) -> Sequence[DeviceUse]:
        """Who uses them now."""
        ...


LIMIT_S: Final = 1.0
"""How long is waited for devices. Whoever plans after that goes by what they said last."""


class Told(NamedTuple):
    """What devices said last. uses: by device, of each process that it tells apart."""

    levels: Mapping[str, Level]
    uses: Mapping[str, Mapping[int, ProcessMemory]]


class SystemMemory:
    """The memories of this machine, as its system and its devices tell of them.

    group: what a control group leaves of the machine's memory, where there is one with a limit.
    limit_s: how long to wait for devices that do not answer.
    """

    def __init__(
        self,
        accelerators: Sequence[Devices] = (),
        *,
        group: Callable[[], Level | None] = tightest,
        limit_s: float = LIMIT_S,
    ) -> None:
        self._accelerators = tuple(accelerators)
        self._group = group
        self._limit_s = limit_s
        self._told = Told({}, {})
        self._reading: asyncio.Task[Told] | None = None
        self._is_bare: bool | None = None
        """Whether no device was seen at the first look: none is looked for again."""

    async def refresh(self) -> None:
        """Read the devices anew; whoever comes while they are read waits for the same answer.

        What cannot be read in time is read on, and counts from the next look on.
        """
        if self._is_bare or not self._accelerators:
            return
        if self._reading is None:
            self._reading = asyncio.create_task(asyncio.to_thread(self._read))
        reading = self._reading
        await asyncio.wait({reading}, timeout=self._limit_s)
        if not reading.done():
            return
        if self._reading is reading:
            self._reading = None
            if not reading.cancelled() and reading.exception() is None:
                self._told = reading.result()

    def _read(self) -> Told:
        devices = [one for kind in self._accelerators for one in kind.look()]
        self._is_bare = not devices
        own = {one.key for one in devices if not one.unified}
        levels = {}
        for one in devices:
            if one.unified or one.memory_bytes is None or one.memory_used_bytes is None:
                continue
            free = max(0, one.memory_bytes - one.memory_used_bytes)
            levels[one.key] = Level(total=one.memory_bytes, available=free)
        uses = [use for kind in self._accelerators for use in kind.use() if use.key in own]
        return Told(levels, {use.key: use.processes or {} for use in uses})

    def levels(self) -> Mapping[str, Level]:
        """How much there is of each, and how much can be had without hurting anybody.

        Of devices it is what they said when they were read last.
        """
        read = psutil.virtual_memory()
        host = Level(total=int(read.total), available=int(read.available))
        group = self._group()
        if group is not None and group.total < host.total:
            host = Level(total=group.total, available=min(group.available, host.available))
        return {HOST: host, **self._told.levels}

    def held(self, pid: int) -> Mapping[str, int]:
        """What a process held of each accelerator when they were read, as far as that is told."""
        found = {}
        for key, processes in self._told.uses.items():
            process = processes.get(pid)
            if process is not None and process.memory_bytes:
                found[key] = process.memory_bytes
        return found
