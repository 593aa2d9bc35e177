"""The instances of one version, and which of them a request goes to.

On this machine they are as many as the settings or a person say; of a version that servers offer
they are as many as there are places. A version with one instance is the usual case, and nothing is
worked out for it. Who is asked is decided in `arbiter.pool.balancer`; this looks, asks, and goes on
to the next one when a load failed.

Whoever waits at one instance goes to another as soon as that one has a free slot, or when its own
is on its way out.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from types import MappingProxyType
from typing import Final, NamedTuple, assert_never

from arbiter.clock import Clock
from arbiter.config import PoolSettings
from arbiter.engines.base import Place, ServedRunner
from arbiter.errors import LoadFailed
from arbiter.inference import Work
from arbiter.pool.balancer import Choice, Host, Standing, choose, ramp
from arbiter.pool.breaker import Phase
from arbiter.pool.lease import Lease
from arbiter.pool.life import State
from arbiter.pool.space import Tenant
from arbiter.pool.traces import Traces, beginnings
from arbiter.pool.turns import SentOn

_NEAREST: Final = (State.READY, State.LOADING, State.DRAINING, State.FAILED, State.COLD)

NOTHING: Final[Mapping[str, int]] = MappingProxyType({})

FAILED_IT: Final = "it failed this request"


class Sought(NamedTuple):
    """What of a request the choice between instances depends on.

    work: what is asked, for its beginning. avoid: the instances that failed it already.
    """

    work: Work | None = None
    avoid: tuple[str, ...] = ()


ANYWHERE: Final = Sought()
"""Nothing is known of what is asked."""


@dataclass(slots=True)
class _Start:
    """Since when an instance is ready or well again, and how many were sent to it since then."""

    since: float
    answered: int = 0
    was_well: bool = True


class Siblings:
    """The instances of one version, in the order in which they are loaded.

    most: how many of them may be in memory. asked: how many a person asked for.
    """

    def __init__(self, *, clock: Clock, dice: Random, settings: PoolSettings) -> None:
        self.tenants: list[Tenant] = []
        self.settings = settings
        self.most = 1
        self.asked = 0
        self.is_helper = False
        self.seen: tuple[int, ...] = ()
        """The revisions of what this was worked out from."""
        self.last: Choice | None = None
        """The latest choice, for whoever wants to know why."""
        self._clock = clock
        self._dice = dice
        self._starts: dict[str, _Start] = {}
        self._traces = Traces()

    @property
    def first(self) -> Tenant:
        """The one that is loaded first."""
        return self.tenants[0]

    @property
    def is_alone(self) -> bool:
        """Whether there is no choice."""
        return len(self.tenants) == 1

    def add(self, tenant: Tenant) -> None:
        """One more."""
        self.tenants.append(tenant)
        self._starts[tenant.key] = _Start(since=self._clock.monotonic())

    async def take(
        self,
        sought: Sought,
        ask: Callable[[Tenant], Awaitable[Lease]],
        opens: Callable[[Tenant], None],
    ) -> Lease:
        """A lease of one of them. Raises what `ask` raises of the last that could be asked.

        ask: a lease of a tenant. opens: has one more loaded in the background.
        """
        found = beginnings(sought.work)
        avoid = set(sought.avoid)
        failed = 0
        while True:
            hosts = self.hosts(self._traces.known(found), avoid)
            choice = self.last = choose(
                hosts,
                bound=self.settings.cache_bound,
                toss=self._dice.random(),
                may_open=self._loaded() < self.most,
            )
            tenant = self._named(choice.id)
            if choice.opens is not None:
                opens(self._named(choice.opens))
            start = self._starts[tenant.key]
            start.answered += 1
            self._traces.note(found, tenant.key)
            try:
                return await ask(tenant)
            except SentOn:
                start.answered -= 1
            except LoadFailed:
                failed += 1
                avoid.add(tenant.key)
                if failed >= len(self.tenants) or not self._others(avoid):
                    raise

    def hosts(self, known: Mapping[str, int] = NOTHING, avoid: Collection[str] = ()) -> list[Host]:
        """Every instance as the choice sees it.

        known: how many characters of the prompt's beginning each has seen. avoid: who failed it.
        """
        now = self._clock.monotonic()
        return [self._host(one, known.get(one.key, 0), avoid, now) for one in self.tenants]

    def host(self, tenant: Tenant) -> Host:
        """One instance as the choice sees it, whatever is asked."""
        return self._host(tenant, 0, (), self._clock.monotonic())

    def _host(self, tenant: Tenant, known: int, avoid: Collection[str], now: float) -> Host:
        instance = tenant.instance
        health = instance.health
        ailing = health.ailing
        is_well = health.breaker.phase is Phase.CLOSED
        start = self._starts[tenant.key]
        if is_well and not start.was_well:
            start.since, start.answered = now, 0
        start.was_well = is_well
        return Host(
            id=tenant.key,
            outstanding=instance.outstanding,
            slots=instance.spec.slots,
            opens_at=1 if tenant.loadable.is_outside else instance.spec.slots,
            weight=self.weight(tenant),
            ramp=ramp(now - start.since, start.answered, window_s=self.settings.slow_start_s),
            knows=known,
            standing=_standing(tenant),
            failing=FAILED_IT if tenant.key in avoid else ailing or health.resting,
            is_due=ailing is None and not is_well,
        )

    def weight(self, tenant: Tenant) -> float:
        """Its share beside the others: that of the server where it is."""
        given = self.settings.weights
        place = place_of(tenant) if given else None
        return 1.0 if place is None else given.get(place.url, 1.0)

    def _named(self, key: str) -> Tenant:
        return next(one for one in self.tenants if one.key == key)

    def _loaded(self) -> int:
        """How many are in memory, or on their way there."""
        there = {State.READY, State.LOADING}
        return sum(one.instance.state in there for one in self.tenants)

    def _others(self, avoid: Collection[str]) -> bool:
        """Whether any that did not fail is there, or may still be loaded."""
        left = [one for one in self.tenants if one.key not in avoid]
        if any(_standing(one) in {Standing.READY, Standing.LOADING} for one in left):
            return True
        return bool(left) and self._loaded() < self.most

    def can_serve_beside(self, tenant: Tenant) -> bool:
        """Whether another one than this is ready and well: who failed here may ask there."""
        return any(
            host.id != tenant.key and host.standing is Standing.READY and host.failing is None
            for host in self.hosts()
        )

    def can_take_over(self, tenant: Tenant) -> bool:
        """Whether another one than this can be asked what this one is too busy for.

        One that is well and loaded, or on its way; or another server that offers the version.
        Nobody leaves memory for it.
        """
        well = {h.standing for h in self.hosts() if h.id != tenant.key and h.failing is None}
        if Standing.READY in well or Standing.LOADING in well:
            return True
        return tenant.loadable.is_outside and Standing.AWAY in well and self._loaded() < self.most

    @property
    def is_ready(self) -> bool:
        """Whether any of them is loaded."""
        return any(one.instance.state is State.READY for one in self.tenants)

    def serve_without(self, number: int) -> bool:
        """Whether another one than this is loaded, and stays."""
        others = (one for one in self.tenants if one.instance.number != number)
        return any(_standing(one) is Standing.READY for one in others)

    @property
    def under_way(self) -> Tenant:
        """The one that is being loaded; else the one that is nearest to an answer."""
        loading = (one for one in self.tenants if one.instance.state is State.LOADING)
        return next(loading, self.nearest)

    @property
    def highest_ready(self) -> int:
        """The number of the last one that is loaded; 0: none is."""
        ready = (one.instance for one in self.tenants if one.instance.state is State.READY)
        return max((one.number for one in ready), default=0)

    @property
    def nearest(self) -> Tenant:
        """The one that is nearest to an answer."""
        return min(self.tenants, key=lambda one: _NEAREST.index(one.instance.state))

    @property
    def state(self) -> State:
        """That of the nearest."""
        return self.nearest.instance.state

    @property
    def is_ailing(self) -> bool:
        """Whether all that are loaded keep failing, so that the version does."""
        loaded = [one.instance for one in self.tenants if one.instance.state is State.READY]
        return all(one.health.ailing is not None for one in loaded)

    def changed(self, tenant: Tenant) -> None:
        """An instance is now otherwise: who waits there, or could be served there, looks again."""
        match tenant.instance.state:
            case State.READY:
                self._starts[tenant.key] = _Start(since=self._clock.monotonic())
                self._traces.forget(tenant.key)
                self.level()
            case State.DRAINING | State.FAILED:
                others = (_standing(one) for one in self.tenants if one is not tenant)
                if Standing.READY in others:
                    while tenant.instance.turns.send_on():
                        pass
            case State.COLD | State.LOADING:
                pass
            case _:
                assert_never(tenant.instance.state)

    def level(self) -> None:
        """Have those who wait at one instance go to another that has room."""
        waiting = sorted(self.tenants, key=lambda one: -one.instance.waiting)
        if self.is_alone or not waiting[0].instance.waiting:
            return
        room = 0
        for host in self.hosts():
            is_fine = host.failing is None and not host.is_due and host.weight > 0
            if is_fine and host.standing is Standing.READY:
                room += max(0, max(1, int(host.slots * host.ramp)) - host.outstanding)
        for tenant in waiting:
            while room > 0 and tenant.instance.turns.send_on():
                room -= 1


def place_of(tenant: Tenant) -> Place | None:
    """Where an instance is served, or is to be; None on this machine."""
    runner = tenant.instance.runner
    if isinstance(runner, ServedRunner):
        return runner.place
    return tenant.aims[0] if tenant.aims else None


def places_taken(others: Sequence[Tenant]) -> set[Place]:
    """The places where these are, or are just being loaded."""
    busy = {State.LOADING, State.READY, State.DRAINING}
    found = [place_of(one) for one in others if one.instance.state in busy]
    return {place for place in found if place is not None}


def _standing(tenant: Tenant) -> Standing:
    instance = tenant.instance
    if tenant.is_leaving:
        return Standing.LEAVING
    match instance.state:
        case State.READY:
            return Standing.READY
        case State.LOADING:
            return Standing.LOADING
        case State.COLD:
            return Standing.AWAY
        case State.DRAINING:
            return Standing.LEAVING
        case State.FAILED:
            return Standing.PAUSED if instance.is_paused else Standing.AWAY
        case _:
            assert_never(instance.state)
