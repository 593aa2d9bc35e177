"""How full the memory of this machine is."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import psutil

from arbiter.cost import HOST, Level

_NOTHING: Final[Mapping[str, int]] = MappingProxyType({})


class SystemMemory:
    """The machine's own memory, as its system tells it."""

    def levels(self) -> Mapping[str, Level]:
        """How much there is, and how much of it can be had without anybody being paged out."""
        read = psutil.virtual_memory()
        return {HOST: Level(total=int(read.total), available=int(read.available))}

    def held(self, pid: int) -> Mapping[str, int]:  # noqa: ARG002  # other readers look at it
        """What a process holds of accelerators: none can be read here."""
        return _NOTHING
