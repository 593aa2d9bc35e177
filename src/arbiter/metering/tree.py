"""The CPU time of a process and of everything it started, whoever of them has ended since.

The members are found by who started whom, and known by process id and start time, never by name.
The clock of each member that lives is read in nanoseconds. Of one that has ended, its parent keeps
the time, in ticks, once it has asked after it; until then, and where it never does, the last
reading of it counts.

Reading the clocks costs half a microsecond a member and is done for every request; looking for
members reads files and is done beside, about once a second.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final, Protocol

import msgspec
import psutil

PROC: Final = Path("/proc")
_MOST: Final = 512
"""Members that are looked at; a program that starts more is no model's server."""


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A process as its line says. waited_ns: of its children that ended and were asked after."""

    pid: int
    parent: int
    started: int
    waited_ns: int


class Table:
    """Every process that can be seen at one moment, by id and by who started it."""

    def __init__(self, members: Iterable[Member]) -> None:
        self.members: Mapping[int, Member] = {one.pid: one for one in members}
        self._children: dict[int, list[Member]] = {}
        for one in self.members.values():
            self._children.setdefault(one.parent, []).append(one)

    def below(self, root: int) -> dict[int, Member]:
        """A process and its descendants, the root first; empty when it is not there."""
        found: dict[int, Member] = {}
        waiting = [self.members[root]] if root in self.members else []
        while waiting and len(found) < _MOST:
            member = waiting.pop()
            if member.pid not in found:
                found[member.pid] = member
                # a number that was given anew belongs to one older than its supposed parent
                waiting += [
                    one
                    for one in self._children.get(member.pid, ())
                    if one.started >= member.started
                ]
        return found


class Tree(Protocol):
    """A process and its descendants."""

    @property
    def pid(self) -> int:
        """The root."""
        ...

    @property
    def pids(self) -> tuple[int, ...]:
        """The members at the latest look, the root first."""
        ...

    def cpu_ns(self) -> int | None:
        """Nanoseconds that they used so far; None when the root's clock cannot be read."""
        ...

    def look(self, table: Table) -> None:
        """Find the members again."""
        ...


def read_table(proc: Path = PROC, *, ticks: int | None = None) -> Table:
    """Look at every process once; some 20 microseconds each."""
    ns_a_tick = 1_000_000_000 // (ticks or os.sysconf("SC_CLK_TCK"))
    found: list[Member] = []
    try:
        names = os.listdir(proc)  # noqa: PTH208  # of hundreds; pathlib would make an object of each
    except OSError:
        return Table(found)
    for name in names:
        if name.isdigit():
            member = _member(f"{proc}/{name}/stat", int(name), ns_a_tick)
            if member is not None:
                found.append(member)
    return Table(found)


def _member(path: str, pid: int, ns_a_tick: int) -> Member | None:
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        text = os.read(file, 4096)
    except OSError:
        return None
    finally:
        os.close(file)
    # the name in brackets may hold anything, brackets too
    fields = text[text.rfind(b")") + 2 :].split()
    try:
        return Member(
            pid=pid,
            parent=int(fields[1]),
            started=int(fields[19]),
            waited_ns=(int(fields[13]) + int(fields[14])) * ns_a_tick,
        )
    except (IndexError, ValueError):
        return None


class ProcessTree:
    """One process and its descendants. `look` finds them; `cpu_ns` reads their clocks.

    pid: the root. It is a `Tree`.
    """

    def __init__(self, pid: int, *, read_cpu: Callable[[int], int | None]) -> None:
        self.pid = pid
        self._read_cpu = read_cpu
        self._members: dict[int, Member] = {}
        self._view: tuple[int, tuple[int, ...]] = (0, (pid,))
        """What is to be added to the clocks (of members that have ended: what their parents keep,
        and what nobody else does), and whose clocks. One value, because it is made in a thread."""
        self._last: dict[int, int] = {}
        """The latest clock of each member that was ever read in this membership."""
        self._orphaned_ns = 0
        self._kept: dict[int, int] = {}
        """What is left, at a look, of what parents keep of those who ended since the last one."""
        self._most_ns = 0

    @property
    def pids(self) -> tuple[int, ...]:
        """The members at the latest look, the root first."""
        return self._view[1]

    def cpu_ns(self) -> int | None:
        """Nanoseconds since the root started; None when its clock cannot be read."""
        total, pids = self._view
        for pid in pids:
            clock = self._read_cpu(pid)
            if clock is None:
                if pid == self.pid:
                    return None
                clock = self._last.get(pid, 0)  # it ended since the latest look
            else:
                self._last[pid] = clock
            total += clock
        # the ticks of those that ended round down by up to one
        self._most_ns = max(self._most_ns, total)
        return self._most_ns

    def look(self, table: Table) -> None:
        """Find the members again, and settle what those that are gone had used."""
        found = table.below(self.pid)
        if not found:
            return
        root = self._members.get(self.pid)
        if root is not None and root.started != found[self.pid].started:
            self._forget()  # the number belongs to another program now
        before = self._members
        self._kept = {}
        if not before:
            self._begin_at_nothing(found)
        for one in before.values():
            if _ended(one, found):
                self._settle(one, before, found)
        self._members = found
        waited = sum(one.waited_ns for one in found.values())
        self._view = (self._orphaned_ns + waited, tuple(found))

    def _begin_at_nothing(self, found: Mapping[int, Member]) -> None:
        """What members used before they were first seen is no growth of this counter."""
        clocks = {pid: self._read_cpu(pid) or 0 for pid in found if pid != self.pid}
        self._last.update(clocks)
        self._orphaned_ns -= sum(clocks.values()) + sum(one.waited_ns for one in found.values())

    def _settle(
        self, one: Member, before: Mapping[int, Member], found: Mapping[int, Member]
    ) -> None:
        """What a member that ended had used, as far as its parent does not keep it."""
        parent, known = found.get(one.parent), before.get(one.parent)
        free = self._kept.get(one.parent)
        if free is None:
            free = 0 if parent is None or known is None else parent.waited_ns - known.waited_ns
        own = self._last.pop(one.pid, 0) + one.waited_ns
        kept = min(own, max(0, free))
        self._kept[one.parent] = free - kept
        self._orphaned_ns += own - kept

    def _forget(self) -> None:
        self._members, self._last = {}, {}
        self._orphaned_ns = self._most_ns = 0
        self._view = (0, (self.pid,))


class PortableTree:
    """The same where there is no /proc: members that live, as psutil tells them.

    What a child used that ended between two looks is not counted.
    """

    def __init__(self, pid: int, *, read_cpu: Callable[[int], int | None]) -> None:
        self.pid = pid
        self._read_cpu = read_cpu
        self._pids: tuple[int, ...] = (pid,)
        self._last: dict[int, int] = {}

    @property
    def pids(self) -> tuple[int, ...]:
        """The members at the latest look, the root first."""
        return self._pids

    def cpu_ns(self) -> int | None:
        """Nanoseconds of all members; None when the root's cannot be read."""
        for pid in self._pids:
            clock = self._read_cpu(pid)
            if clock is None and pid == self.pid:
                return None
            if clock is not None:
                self._last[pid] = clock
        return sum(self._last.values())

    def look(self, table: Table) -> None:  # noqa: ARG002  # psutil knows by itself
        """Find the members again."""
        try:
            children = psutil.Process(self.pid).children(recursive=True)
        except psutil.Error:
            return
        self._pids = (self.pid, *sorted(child.pid for child in children))


def _ended(one: Member, found: Mapping[int, Member]) -> bool:
    other = found.get(one.pid)
    return other is None or other.started != one.started
