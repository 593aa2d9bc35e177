"""How full the memories of this machine are: its own, and those of its accelerators.

A device that works in the machine's own memory has none to tell of. What a device does not say is
left out, so it bounds nobody: its engine then says when something does not fit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

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


class SystemMemory:
    """The memories of this machine, as its system and its devices tell of them.

    group: what a control group leaves of the machine's memory, where there is one with a limit.
    """

    def __init__(
        self,
        accelerators: Sequence[Devices] = (),
        *,
        group: Callable[[], Level | None] = tightest,
    ) -> None:
        self._accelerators = tuple(accelerators)
        self._group = group

    def levels(self) -> Mapping[str, Level]:
        """How much there is of each, and how much can be had without hurting anybody."""
        read = psutil.virtual_memory()
        host = Level(total=int(read.total), available=int(read.available))
        group = self._group()
        if group is not None and group.total < host.total:
            host = Level(total=group.total, available=min(group.available, host.available))
        found = {HOST: host}
        for kind in self._accelerators:
            for one in kind.look():
                if one.unified or one.memory_bytes is None or one.memory_used_bytes is None:
                    continue
                free = max(0, one.memory_bytes - one.memory_used_bytes)
                found[one.key] = Level(total=one.memory_bytes, available=free)
        return found

    def held(self, pid: int) -> Mapping[str, int]:
        """What a process holds of each accelerator, as far as that is told."""
        own = {one.key for kind in self._accelerators for one in kind.look() if not one.unified}
        found = {}
        for use in (use for kind in self._accelerators for use in kind.use()):
            process = (use.processes or {}).get(pid)
            if use.key in own and process is not None and process.memory_bytes:
                found[use.key] = process.memory_bytes
        return found
