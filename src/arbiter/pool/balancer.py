"""Which of a version's instances a request goes to: a pure choice with its reason.

The one with the least outstanding work for its weight. A prompt whose beginning an instance holds
in its cache goes back to that one, unless it is busier than the least busy one by more than a
stated bound. Who is new, or failed and was tried again, gets its share little by little. Who keeps
failing is sent nothing while anybody else could serve, and now and then a request tries it again.

Least outstanding work: Envoy's ``LEAST_REQUEST`` over all hosts; with (n + 1) / weight as the
measure it is D'Hondt's method, so that nobody ever has less than its share rounded down. Slow
start: Envoy's, linear. This module knows no instance, no clock and no dice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from math import floor
from typing import Final

LEAST_RAMP: Final = 0.1
"""Nobody begins with less of its share, as in Envoy's ``min_weight_percent``."""

ANSWERS: Final = 16
"""After so many requests a slow start is over, however little time has passed."""

TRIAL_SHARE: Final = 0.1
"""How many requests try one whose pause after failures is over, while others could serve."""


class Standing(IntEnum):
    """Where an instance stands; who is lower is asked first."""

    READY = 0
    LOADING = 1
    AWAY = 2
    """Not loaded; whoever asks it waits for a load."""
    LEAVING = 3
    """It is being unloaded; whoever asks it waits for that, and for a load."""
    PAUSED = 4
    """A load failed, and is not tried again yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """An instance of a version, as whoever chooses sees it.

    outstanding: requests that it serves, and that wait at it. slots: how many it serves at once.
    opens_at: with so many outstanding at everybody one more is loaded. weight: its share beside
    the others; 0: only when nobody else can serve. ramp: how far its slow start has come, up to 1.
    knows: characters of the prompt's beginning that it has seen lately. failing: why it is passed
    over. is_due: it kept failing, and may be tried again.
    """

    id: str
    outstanding: int = 0
    slots: int = 1
    opens_at: int = 1
    weight: float = 1.0
    ramp: float = 1.0
    knows: int = 0
    standing: Standing = Standing.READY
    failing: str | None = None
    is_due: bool = False

    @property
    def load(self) -> float:
        """Outstanding requests for each unit of its weight."""
        return self.outstanding / (self.weight or 1.0)

    @property
    def cost(self) -> float:
        """What it would come to if it had one request more; the least is taken."""
        return (self.outstanding + 1) / ((self.weight or 1.0) * self.ramp)

    @property
    def has_room(self) -> bool:
        """Whether a request would be served at once; of a slow start's slots only its share."""
        return self.outstanding < max(1, floor(self.slots * self.ramp))

    @property
    def rank(self) -> tuple[bool, bool, Standing]:
        """The lower are asked first, whatever their work."""
        return (self.failing is not None, self.weight == 0, self.standing)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Who is asked, and why. opens: who is to be loaded too, because everybody has work."""

    id: str
    reason: str
    opens: str | None = None


def choose(hosts: Sequence[Host], *, bound: float, toss: float, may_open: bool = True) -> Choice:
    """Who is asked. hosts: at least one, in the order in which they are loaded.

    bound: so many requests more for its weight may one have that knows the prompt's beginning, and
    is asked all the same. toss: evenly drawn from 0 to 1. may_open: whether one more may be loaded.

    >>> busy, idle = Host(id="a", outstanding=2, slots=4), Host(id="b", slots=4)
    >>> choose([busy, idle], bound=2, toss=0.5).reason
    'it has the least to do: 0 of 4'
    >>> knows = Host(id="a", outstanding=2, slots=4, knows=900)
    >>> choose([knows, idle], bound=2, toss=0.5).reason
    'it has seen 900 characters of this prompt'
    """
    best = min(host.rank for host in hosts)
    able = [host for host in hosts if host.rank == best]
    opens = _to_open(hosts, able) if may_open and best[2] is Standing.READY else None
    if best[2] is not Standing.READY:
        first = able[0]
        return Choice(id=first.id, reason=f"nobody is ready; it is {first.standing.name.lower()}")
    due = [host for host in able if host.is_due]
    well = [host for host in able if not host.is_due]
    if due and (not well or toss < TRIAL_SHARE):
        tried = min(due, key=lambda host: host.cost)
        return Choice(id=tried.id, reason="it kept failing, and is tried again", opens=opens)
    free = [host for host in well if host.has_room] or well
    least_busy = min(host.load for host in free)
    knowing = [host for host in free if host.knows and host.load - least_busy <= bound]
    if knowing:
        one = min(knowing, key=lambda host: (-host.knows, host.cost))
        said = f"it has seen {one.knows} characters of this prompt"
    else:
        one = _drawn(free, toss)
        said = f"it has the least to do: {one.outstanding} of {one.slots}"
    if one.failing is not None:
        said = f"nobody else is left, though {one.failing}"
    return Choice(id=one.id, reason=said, opens=opens)


def _to_open(hosts: Sequence[Host], able: Sequence[Host]) -> str | None:
    """Who is to be loaded because everybody who is ready has work."""
    if any(host.outstanding < host.opens_at for host in able):
        return None
    if any(host.standing is Standing.LOADING for host in hosts):
        return None  # one after the other
    away = (host for host in hosts if host.standing is Standing.AWAY and host.failing is None)
    return next((host.id for host in away if host.weight > 0), None)


def _drawn(free: Sequence[Host], toss: float) -> Host:
    """The one that costs least; of several alike one by their weights."""
    least = min(host.cost for host in free)
    alike = [host for host in free if host.cost == least]
    left = toss * sum(host.weight or 1.0 for host in alike)
    for host in alike:
        left -= host.weight or 1.0
        if left < 0:
            return host
    return alike[-1]


def ramp(since_s: float, answered: int, *, window_s: float) -> float:
    """How far a slow start has come: by time or by requests, whichever is further.

    since_s: seconds since it was ready, or well again. answered: requests since then. window_s:
    how long a slow start takes; 0: it is over at once.

    >>> [ramp(s, 0, window_s=10.0) for s in (0.0, 2.5, 10.0, 60.0)]
    [0.1, 0.25, 1.0, 1.0]
    """
    if window_s <= 0:
        return 1.0
    return max(LEAST_RAMP, min(1.0, max(since_s / window_s, answered / ANSWERS)))
