"""What requests cost: the one who takes samples, shares them out and settles every ticket.

While anything is in flight a sample is taken ten times a second, in a thread; at rest every five
seconds, and only where an energy counter is there, to know what the machine takes at rest. A
request's cost is settled when every counter has changed once after its end, or 0.35 s later, and
never on the way of its answer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from arbiter.clock import Clock
from arbiter.cost import Footprint
from arbiter.hardware.found import Hardware
from arbiter.hardware.reading import Part
from arbiter.metering.account import Account, Slice, Sums
from arbiter.metering.crowd import NO_PROCESS, Crowd, Nobody, Used
from arbiter.metering.devices import Claimed, Devices, Group
from arbiter.metering.estimate import Watts
from arbiter.metering.listening import listener_of
from arbiter.metering.process import ProcessReader
from arbiter.metering.sampling import Sampler, Taken
from arbiter.metering.ticket import Ticket
from arbiter.metering.tree import PortableTree, ProcessTree, Tree

LOG = logging.getLogger(__name__)

SAMPLE_S: Final = 0.1
REST_S: Final = 5.0
LINGER_S: Final = 0.5
"""How long samples go on when nothing is in flight any more: most often the next one comes."""

PATIENCE_S: Final = 0.35
"""How long after its end a request waits for a counter to change, at least."""

LIMIT_S: Final = 2.0
"""How long a sample may take. A driver that does not answer must not hold up every receipt."""

UPDATES: Final = 1.5
"""How many changes of the slowest counter it waits for at most."""


class _Taking(NamedTuple):
    """A sample that is being taken, and who was in flight when it was begun."""

    task: asyncio.Task[Taken]
    crowds: Sequence[Crowd]
    at_rest: bool


_ON_CPU: Final = frozenset({Part.CPU, Part.DRAM})


class Meter:
    """The meter of one machine. Open it once, close it once; `attend` a runner for its `Crowd`.

    watts: what a person said of the processor, for an estimate where nothing counts. limit_s: how
    long is waited for a sample; what is late is read on, and counts when it is there.
    """

    def __init__(
        self,
        hardware: Hardware,
        *,
        clock: Clock,
        reader: ProcessReader,
        watts: Watts | None = None,
        limit_s: float = LIMIT_S,
    ) -> None:
        self._hardware = hardware
        self._clock = clock
        self.reader = reader
        self._watts = watts
        self._sampler = Sampler(hardware, reader=reader, clock=clock)
        self._devices = Devices()
        self._accounts: tuple[Account[Ticket], ...] = tuple(
            Account(counter.about) for counter in hardware.counters
        )
        slowest = max((one.about.update_s for one in hardware.counters), default=0.0)
        self.patience_s = max(PATIENCE_S, UPDATES * slowest + SAMPLE_S)
        self._crowds: dict[int, Crowd] = {}
        self._unsettled: list[Ticket] = []
        self._shares_out = bool(
            hardware.counters
            or any(one.missing() is None for one in hardware.accelerators.values())
        )
        """Whether anything is to be shared out in slices; else a request is settled at its end."""
        self._awake = asyncio.Event()
        self._machine_ns: int | None = None
        self._at = clock.monotonic()
        self._busy_at = float("-inf")
        self._running: asyncio.Task[None] | None = None
        self._limit_s = limit_s
        self._taking: _Taking | None = None
        self.samples = 0
        """How many were taken."""

    @property
    def hardware(self) -> Hardware:
        """What is read."""
        return self._hardware

    def sums(self) -> Mapping[str, Sums]:
        """Where the energy of each counter went, by its name."""
        return {one.about.name: one.sums for one in self._accounts}

    def open(self) -> None:
        """Begin to sample."""
        self._running = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop, and settle who waits with what is known."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        if self._taking is not None:
            self._taking.task.cancel()
            await asyncio.gather(self._taking.task, return_exceptions=True)
        for ticket in self._unsettled:
            self._settle(ticket)
        self._unsettled = []

    async def attend(
        self, pid: int | None, *, url: str | None = None, reported: Footprint | None = None
    ) -> Crowd | Nobody:
        """The crowd of the process that does a runner's work; `leave` it when it is unloaded.

        pid: the process, where the house started it. url: where a server does the work; if it is
        one of this machine and may be looked at, its process tree is counted, with what it serves
        to others. reported: what it says that the model holds.
        """
        if pid is None:
            if url is None:
                return Nobody(NO_PROCESS, clock=self._clock)
            found = await asyncio.to_thread(listener_of, url, proc=self._hardware.proc)
            if found.value is None:
                return Nobody(found.reason or "", clock=self._clock, reported=reported)
            pid = found.value
            if pid not in self._crowds:
                tree = self._tree(pid)
                await asyncio.to_thread(self._sampler.look, (tree,), now=True)
                return self.crowd_of(tree, is_ours=False)
        return self.crowd_of(self._tree(pid))

    def crowd_of(self, tree: Tree, *, is_ours: bool = True) -> Crowd:
        """The crowd of a process tree, one for all who are served there.

        is_ours: nobody but this house asks it for anything.
        """
        crowd = self._crowds.get(tree.pid)
        if crowd is not None:
            crowd.users += 1
            return crowd
        crowd = self._crowds[tree.pid] = Crowd(
            tree,
            clock=self._clock,
            wake=self._awake.set,
            hand_over=self._take_over,
            is_ours=is_ours,
        )
        return crowd

    def leave(self, crowd: Crowd | Nobody) -> None:
        """A runner was unloaded. Those in flight there are still counted to their end."""
        if isinstance(crowd, Crowd):
            crowd.users -= 1
            if not crowd.users and not crowd.inside and not crowd.ended:
                self._crowds.pop(crowd.tree.pid, None)

    def _tree(self, pid: int) -> Tree:
        if self._hardware.proc.is_dir():
            return ProcessTree(pid, read_cpu=self.reader.cpu_ns)
        return PortableTree(pid, read_cpu=self.reader.cpu_ns)

    def _take_over(self, ticket: Ticket) -> bool:
        if not self._shares_out:
            self._settle(ticket)
            return False
        self._unsettled.append(ticket)
        return True

    def _has_guests(self) -> bool:
        """Whether anything is in flight now."""
        return any(crowd.inside for crowd in self._crowds.values())

    async def _run(self) -> None:
        while True:
            try:
                await self._sampled()
            except Exception:
                # a reader that breaks must not end every later receipt
                LOG.exception("a sample could not be taken")
                await self._clock.sleep(REST_S)

    async def _sampled(self) -> None:
        """One sample, and the wait for the next."""
        if self._has_guests() or self._unsettled or self._at - self._busy_at < LINGER_S:
            await self._clock.sleep(SAMPLE_S)
            await self.sample()
            return
        self._awake.clear()
        if self._has_guests():
            return
        await self._rest()
        # what was counted up to now was at rest, also when somebody has just come
        await self.sample(at_rest=True)
        self._busy_at = self._at if self._has_guests() else self._busy_at

    async def _rest(self) -> None:
        """Until somebody comes, or until it is time to see what the machine takes at rest."""
        if not self._hardware.counters:
            await self._awake.wait()
            return
        timer = asyncio.create_task(self._clock.sleep(REST_S))
        coming = asyncio.create_task(self._awake.wait())
        try:
            await asyncio.wait({timer, coming}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            coming.cancel()
            await asyncio.gather(timer, coming, return_exceptions=True)

    async def sample(self, *, at_rest: bool = False) -> None:
        """Take one sample now and share it out.

        at_rest: nothing was in flight since the one before, or only for a moment.
        """
        if self._taking is None:
            crowds = [one for one in self._crowds.values() if one.inside or one.ended]
            trees = () if at_rest else [one.tree for one in crowds]
            task = asyncio.create_task(asyncio.to_thread(self._sampler.take, trees))
            self._taking = _Taking(task, () if at_rest else crowds, at_rest)
        taking = self._taking
        await asyncio.wait({taking.task}, timeout=self._limit_s)
        if not taking.task.done():
            self._settle_overdue()
            return
        self._taking = None
        taken = taking.task.result()
        self.samples += 1
        self._fold(taken, taking.crowds, at_rest=taking.at_rest)
        for crowd in [one for one in self._crowds.values() if not one.users]:
            if not crowd.inside and not crowd.ended:
                del self._crowds[crowd.tree.pid]

    def _fold(self, taken: Taken, crowds: Sequence[Crowd], *, at_rest: bool) -> None:
        seconds = max(0.0, taken.at - self._at)
        self._at = taken.at
        now = self._clock.monotonic()
        groups = [Group(pids=crowd.tree.pids, used=tuple(crowd.cut(at=now))) for crowd in crowds]
        for crowd in crowds:
            found = taken.held.get(crowd.tree.pid)
            for ticket in crowd.inside:
                if found is not None and ticket.begun_at < taken.at:
                    ticket.hold(found, at=taken.at, seconds=seconds)
        everybody = [one for group in groups for one in group.used]
        if everybody:
            self._busy_at = taken.at
        devices = self._devices.shared(taken.uses, groups, seconds=seconds)
        self._share_out(
            taken, everybody, devices, seconds=seconds, in_flight=bool(everybody) and not at_rest
        )
        self._settle_due(taken.at)

    def _share_out(
        self,
        taken: Taken,
        everybody: Sequence[Used],
        devices: Mapping[str, Claimed],
        *,
        seconds: float,
        in_flight: bool,
    ) -> None:
        machine_s = self._machine(taken)
        for account, reading in zip(self._accounts, taken.energy, strict=True):
            about = account.about
            if about.part in _ON_CPU:
                claims = {one.ticket: one.cpu_s for one in everybody if one.cpu_s}
                total = machine_s
            else:
                device = devices.get(about.device or "")
                claims = {} if device is None else dict(device.claims)
                total = None if device is None else device.total_s
            slice_ = Slice(seconds=seconds, claims=claims, in_flight=in_flight, total_s=total)
            for ticket, share in account.advance(reading, slice_, at=taken.at).items():
                if ticket.cost is None:
                    ticket.receive(about, share)
                elif share.joules:
                    account.disown(share.joules)

    def _machine(self, taken: Taken) -> float | None:
        """What the whole machine computed since the sample before, in seconds."""
        before, self._machine_ns = self._machine_ns, taken.machine_ns.value
        if before is None or self._machine_ns is None:
            return None
        return max(0, self._machine_ns - before) / 1e9

    def _settle_due(self, at: float) -> None:
        left: list[Ticket] = []
        for ticket in self._unsettled:
            ended = ticket.ended_at or at
            is_cut = ticket.cut_s >= ticket.final_s
            waits = any(account.holds(ticket) for account in self._accounts)
            if (waits or not is_cut) and at - ended < self.patience_s:
                left.append(ticket)
            else:
                self._settle(ticket)
        self._unsettled = left

    def _settle_overdue(self) -> None:
        """Give those up who have waited long enough: what is late comes too late for them."""
        now = self._clock.monotonic()
        ended = [(one, one.ended_at) for one in self._unsettled]
        for ticket, at in ended:
            if at is not None and now - at >= self.patience_s:
                self._settle(ticket)
        self._unsettled = [one for one in self._unsettled if one.cost is None]

    def _settle(self, ticket: Ticket) -> None:
        ended = ticket.ended_at if ticket.ended_at is not None else ticket.begun_at
        ticket.settle(
            seconds=ended - ticket.begun_at,
            has_counter=bool(self._accounts),
            watts=self._watts,
            trouble=next((one.trouble for one in self._accounts if one.trouble), None),
        )
