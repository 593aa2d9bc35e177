"""Those in flight at one process tree: who shares its CPU time, from event to event.

A request costs two readings of a clock here and nothing else; all the rest is done by the meter,
ten times a second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from arbiter.clock import Clock
from arbiter.cost import Cost, Figure, Footprint, Method, unknown, unknown_cost
from arbiter.metering.sharing import EqualShare
from arbiter.metering.ticket import Ticket
from arbiter.metering.tree import Tree

NO_PROCESS: Final = "the engine has no process of its own"

OF_ALL: Final = "of all that its server did meanwhile, for others too"


class Used(NamedTuple):
    """What a request used of its process since the slice before, in seconds.

    cpu_s: None when the process's clock could not be read. alone_s: its share of the time.
    """

    ticket: Ticket
    cpu_s: float | None
    alone_s: float


class Crowd:
    """The requests at one process tree.

    wake: called when the first of them begins. hand_over: takes each that has ended, to settle it;
    whether it is to be in the next slice. is_ours: nobody else asks this process for anything; of a
    server beside the house that is not known, so nothing is said to be measured for one alone.
    """

    def __init__(
        self,
        tree: Tree,
        *,
        clock: Clock,
        wake: Callable[[], None],
        hand_over: Callable[[Ticket], bool],
        is_ours: bool = True,
    ) -> None:
        self.tree = tree
        self._is_ours = is_ours
        self.users = 1
        """How many loaded versions this process serves."""
        self.inside: set[Ticket] = set()
        self.ended: list[Ticket] = []
        """Those that ended since the slice before."""
        self._share = EqualShare()
        self._clock = clock
        self._wake = wake
        self._hand_over = hand_over

    @property
    def idle_cpu_ns(self) -> int:
        """CPU time of the process while nothing was in flight."""
        return self._share.idle

    def begin(self) -> Ticket:
        """A request starts."""
        now = self._clock.monotonic()
        ticket = Ticket(now)
        self._share.begin(ticket, self.tree.cpu_ns(), at=now)
        inside = self.inside
        inside.add(ticket)
        if len(inside) == 1:
            self._wake()
        return ticket

    def end(self, ticket: Ticket) -> Figure:
        """A request is over; its CPU time in nanoseconds. The rest of its cost is known later."""
        now = ticket.ended_at = self._clock.monotonic()
        part = self._share.part(ticket, self.tree.cpu_ns(), at=now)
        figure = part.share
        if not self._is_ours and figure.value is not None:
            figure = Figure(value=figure.value, method=Method.SHARED, note=OF_ALL)
        ticket.cpu = figure
        ticket.final_cpu = figure.value
        ticket.final_s = part.seconds
        self.inside.discard(ticket)
        if self._hand_over(ticket):
            self.ended.append(ticket)
        return figure

    def cut(self, *, at: float) -> Iterator[Used]:
        """End a slice here: what each request used in it."""
        self._share.touch(self.tree.cpu_ns(), at=at)
        ended, self.ended = self.ended, []
        for ticket in ended:
            yield _used(ticket, ticket.final_cpu, ticket.final_s)
        for ticket in self.inside:
            yield _used(ticket, *self._share.so_far(ticket))


def _used(ticket: Ticket, cpu_ns: float | None, seconds: float) -> Used:
    cpu_s = None
    if cpu_ns is not None:
        cpu_s = max(0.0, cpu_ns - ticket.cut_cpu) / 1e9
        ticket.cut_cpu = cpu_ns
    alone_s = max(0.0, seconds - ticket.cut_s)
    ticket.cut_s = seconds
    return Used(ticket, cpu_s, alone_s)


class Nobody:
    """Where there is no process to be seen: the same verbs as `Crowd`, and no figure but reports.

    reported: the memory that the server says it holds.
    """

    tree = None

    def __init__(self, reason: str, *, clock: Clock, reported: Footprint | None = None) -> None:
        self._reason = reason
        self._clock = clock
        self._reported = reported

    def begin(self) -> Ticket:
        """A request starts."""
        return Ticket(self._clock.monotonic())

    def end(self, ticket: Ticket) -> Figure:
        """It is over, and its cost is known as far as it ever will be."""
        ticket.ended_at = self._clock.monotonic()
        ticket.cpu = unknown(self._reason)
        ticket.be(self._cost())
        return ticket.cpu

    def _cost(self) -> Cost:
        cost = unknown_cost(self._reason)
        held = None if self._reported is None else self._reported.total_bytes
        if held is None:
            return cost
        return Cost(
            cpu_ms=cost.cpu_ms,
            gpu_ms=cost.gpu_ms,
            energy_mwh=cost.energy_mwh,
            peak_bytes=Figure(
                value=float(held),
                method=Method.ENGINE,
                note="what its server said of the model when it was loaded, devices included",
            ),
            mean_bytes=cost.mean_bytes,
            device_bytes=cost.device_bytes,
        )
