"""Whose work accelerators did in a slice, from what they say of processes.

A process's part of a device goes to the requests at its tree by their share of the time. Where a
device does not tell processes apart, its work can be given to requests only if all of them are at
one tree, and then it is an assumption that nobody else used it, and marked as one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from arbiter.hardware.reading import Part, ProcessUse, Use
from arbiter.metering.crowd import Used
from arbiter.metering.ticket import Ticket

MIXED: Final = "the device does not tell processes apart"


class Claimed(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds of one device: of each request, and of everybody as far as it is told."""

    claims: Mapping[Ticket, float]
    total_s: float | None


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """A process tree, and what the requests at it used in the slice."""

    pids: tuple[int, ...]
    used: tuple[Used, ...]


class Devices:
    """Remembers what processes had used of each device, to know what they used since."""

    def __init__(self) -> None:
        self._engine_ns: dict[tuple[str, int], int] = {}

    def shared(
        self,
        uses: Sequence[Use],
        groups: Sequence[Group],
        *,
        seconds: float,
    ) -> Mapping[str, Claimed]:
        """What each request used of each device, by the device's key; noted on its ticket too."""
        found: dict[str, Claimed] = {}
        for use in uses:
            if use.hides:
                found[use.key] = self._hidden(use, groups)
            elif use.processes is None:
                found[use.key] = self._assumed(use, groups)
            else:
                found[use.key] = self._told(use, use.processes, groups, seconds)
        return found

    def _told(
        self,
        use: Use,
        processes: Mapping[int, ProcessUse],
        groups: Sequence[Group],
        seconds: float,
    ) -> Claimed:
        spent = {
            pid: self._spent(use.key, pid, one, seconds=seconds) for pid, one in processes.items()
        }
        claims: dict[Ticket, float] = {}
        for group in groups:
            mine = [pid for pid in group.pids if pid in processes]
            parts = [spent[pid] for pid in mine]
            known = [part for part in parts if part is not None]
            memory = [processes[pid].memory_bytes or 0 for pid in mine]
            together = sum(one.alone_s for one in group.used)
            for one in group.used:
                one.ticket.device_bytes = max(one.ticket.device_bytes or 0, sum(memory))
                if len(known) < len(parts):
                    one.ticket.gpu_unknown = use.reason or MIXED
                    one.ticket.tear(_part(use), one.ticket.gpu_unknown)
                    continue
                share = sum(known) * one.alone_s / together if together else 0.0
                one.ticket.gpu_s = (one.ticket.gpu_s or 0.0) + share
                if share:
                    claims[one.ticket] = share
        self._forget(use.key, processes)
        everybody = [part for part in spent.values() if part is not None]
        return Claimed(claims=claims, total_s=sum(everybody))

    def _forget(self, key: str, processes: Mapping[int, ProcessUse]) -> None:
        """Whoever has left the device: its number may be another one's next."""
        gone = [one for one in self._engine_ns if one[0] == key and one[1] not in processes]
        for one in gone:
            del self._engine_ns[one]

    def _spent(self, key: str, pid: int, one: ProcessUse, *, seconds: float) -> float | None:
        """Seconds of the device since the slice before; None when it is not told."""
        if one.engine_ns is not None:
            before = self._engine_ns.get((key, pid))
            self._engine_ns[key, pid] = one.engine_ns
            return 0.0 if before is None else max(0, one.engine_ns - before) / 1e9
        return None if one.busy is None else one.busy * seconds

    @staticmethod
    def _hidden(use: Use, groups: Sequence[Group]) -> Claimed:
        """Nobody knows whether it is one of ours: so nothing is, and that is no zero."""
        for one in (used for group in groups for used in group.used):
            one.ticket.gpu_unknown = use.reason or MIXED
            one.ticket.gpu_hidden = True
            one.ticket.tear(_part(use), one.ticket.gpu_unknown)
        return Claimed(claims={}, total_s=None)

    @staticmethod
    def _assumed(use: Use, groups: Sequence[Group]) -> Claimed:
        there = [group.used for group in groups if group.used]
        for group in there:
            for one in group:
                one.ticket.gpu_unknown = use.reason or MIXED
                one.ticket.assumed = len(there) == 1
                if not one.ticket.assumed:
                    one.ticket.tear(_part(use), one.ticket.gpu_unknown)
        if len(there) != 1:
            return Claimed(claims={}, total_s=None)
        return Claimed(
            claims={one.ticket: one.alone_s for one in there[0] if one.alone_s}, total_s=None
        )


def _part(use: Use) -> Part:
    """Of a chip with several, the device is called by its part."""
    return Part.ANE if use.key == Part.ANE else Part.GPU
