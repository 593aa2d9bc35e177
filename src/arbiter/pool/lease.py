"""The right to use a runner for one request, and the runners that such rights hold up.

A runner that is offered no more goes when its last lease has ended, so that nobody's answer is cut
by that. Why it is offered no more is not known here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

from arbiter.cost import Cost, Figure, unknown, unknown_cost
from arbiter.engines.base import Engine, LoadSpec, Runner, ServedRunner
from arbiter.metering.crowd import NO_PROCESS, Crowd, Nobody
from arbiter.metering.ticket import Ticket
from arbiter.pool.absence import Absence
from arbiter.pool.health import Health


class Lender(Protocol):
    """Whose runner is lent: what whoever has a lease tells it."""

    @property
    def key(self) -> str:
        """Which instance it is."""
        ...

    @property
    def health(self) -> Health:
        """How it did lately."""
        ...

    @property
    def leases(self) -> int:
        """How many there are now."""
        ...

    @property
    def spec(self) -> LoadSpec:
        """What it is that is lent, and how it was loaded."""
        ...

    @property
    def engine(self) -> Engine:
        """What runs it."""
        ...

    def give_back(self, lease: Lease, /) -> None:
        """The lease has ended."""
        ...

    def lost(self, runner: Runner, /) -> None:
        """The runner was found gone."""
        ...

    def leave(self, runner: Runner, why: str, /) -> None:
        """The version is to be had elsewhere, and failed there."""
        ...

    def answered(self) -> None:
        """The runner gave a first byte."""
        ...


class Lease:
    """The right to use a runner; counted, so that a drain waits for it.

    instance: whose runner it is. is_served: another program runs it (`ServedRunner`). bounded: it
    is not the house's own work. since: when it began, by the monotonic clock.
    """

    __slots__ = (
        "_crowd",
        "_share",
        "_ticket",
        "bounded",
        "gone",
        "instance",
        "is_served",
        "load_ms",
        "passage",
        "runner",
        "since",
    )

    def __init__(
        self,
        instance: Lender,
        runner: Runner,
        crowd: Crowd | Nobody | None,
        *,
        is_served: bool,
        bounded: bool,
        since: float,
        load_ms: float = 0.0,
    ) -> None:
        self.instance = instance
        self.runner = runner
        self.is_served = is_served
        self.bounded = bounded
        self.since = since
        self.passage = instance.health.begin()
        self.load_ms = load_ms
        """How long it waited for a load, in milliseconds."""
        self.gone = Absence()
        """Set when the server that runs the version was found gone while this lease lasts."""
        self._crowd = crowd
        self._ticket: Ticket | None = None
        self._share: Figure | None = None

    def start_metering(self) -> None:
        """Begin counting what this lease costs."""
        if self._crowd is not None:
            self._ticket = self._crowd.begin()

    def stop_metering(self) -> Figure:
        """The CPU time in milliseconds that fell to this lease. Asked again, the same figure."""
        if self._share is None:
            self._share = self._stopped()
        return self._share

    @property
    def concurrency(self) -> float | None:
        """Among how many it ran on average, itself included; None when nobody counted."""
        return None if self._ticket is None else self._ticket.concurrency

    def then(self, tell: Callable[[Cost], None]) -> None:
        """Be told what it cost, once that is known: shortly after its end, or at once."""
        if self._ticket is None:
            tell(unknown_cost(NO_PROCESS))
        else:
            self._ticket.then(tell)

    def _stopped(self) -> Figure:
        if self._crowd is None or self._ticket is None:
            return unknown(NO_PROCESS)
        share = self._crowd.end(self._ticket)
        if share.value is None:
            return share
        return Figure(value=share.value / 1e6, method=share.method, note=share.note)


class Leases:
    """Every lease of an instance that has not ended, by the runner that it holds."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        """Set while there is none."""
        self.ended.set()
        self._leases: set[Lease] = set()
        self._held: dict[Runner, int] = {}
        self._withdrawn: set[Runner] = set()
        self._leaving: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """How many there are."""
        return len(self._leases)

    def begin(self, lease: Lease) -> None:
        """One more."""
        if not self._leases:
            self.ended.clear()
        self._leases.add(lease)
        self._held[lease.runner] = self._held.get(lease.runner, 0) + 1

    def end(self, lease: Lease) -> None:
        """One less; the last one of a runner that was withdrawn takes it away."""
        self._leases.discard(lease)
        self._held[lease.runner] -= 1
        self._take_away(lease.runner)
        if not self._leases:
            self.ended.set()

    def withdraw(self, runner: Runner) -> None:
        """Unload a runner as soon as nobody holds it."""
        self._withdrawn.add(runner)
        self._take_away(runner)

    def at(self, url: str) -> Iterable[Lease]:
        """Those whose runner is a server's at this address."""
        return [lease for lease in self._leases if is_at(lease.runner, url)]

    async def left(self) -> None:
        """Return when every runner that is on its way out has ended."""
        await asyncio.gather(*self._leaving)

    def _take_away(self, runner: Runner) -> None:
        if self._held.get(runner):
            return
        self._held.pop(runner, None)
        if runner in self._withdrawn:
            self._withdrawn.discard(runner)
            leaving = asyncio.create_task(runner.unload())
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)


def is_at(runner: Runner, url: str) -> bool:
    """Whether a runner is a server's at this address."""
    return isinstance(runner, ServedRunner) and runner.place.url == url
