"""Which instances have to go so that another fits: a pure plan with its reason.

Nothing that is serving or loading is ever planned away, and nothing that is pinned. Of what is idle
the plan takes what is missed least: each instance is worth the seconds that its next load would
take times the chance that it is asked for soon, and the set that frees enough and is worth least
together leaves. What is kept for the way back, and what has a higher priority, leaves only when
nothing else is enough: nobody's request for another model waits because of it.

Where somebody has waited for a whole turn, what has been in use all that time may be asked to make
way. It is still drained first, and asked last of all.

Memories are told apart by name (`HOST`, an accelerator), in bytes. A memory without a budget has
no bound here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from arbiter.cost import HOST

Bytes = Mapping[str, int]
"""So much of each memory."""

NEVER: Final = float("-inf")
"""When something was last used that nobody ever asked for."""

MOST_WEIGHED: Final = 12
"""So many idle instances are weighed against each other in every combination.

Of more, those that are worth least for their size are taken one by one.
"""

_LEAST_WORTH: Final = 1e-9
"""What is worth nothing is not let go for nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resident:
    """An instance in memory.

    version: its id; of a version's first instance that is the version. last_used: seconds of a
    monotonic clock. busy: serving or loading for somebody. worth: expected seconds of loading that
    its absence costs. kept: replaced by another version, and held ready in case people want it
    back. pinned: a person said that it stays. is_beside: it serves the version that wants room for
    one more, and to unload one for that would help nobody. is_turn_over: busy, and it has been for
    as long as others may be made to wait for it. priority: the higher leave later. number: of
    several of a version that are missed alike the higher leave first; 1: none before it serves.
    """

    version: str
    need: Bytes
    last_used: float
    busy: bool
    worth: float = 0.0
    kept: bool = False
    pinned: bool = False
    is_beside: bool = False
    is_turn_over: bool = False
    priority: int = 0
    number: int = 1

    @property
    def stays(self) -> bool:
        """Whether it leaves for nobody, however long who wants room waits."""
        return self.pinned or self.is_beside

    @property
    def rank(self) -> tuple[bool, bool, int]:
        """The lower leave first, whatever they are worth."""
        return (self.busy, self.kept, self.priority)


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Whether there is room, and who must leave first.

    is_never: there is none for as long as what stays is there; waiting is of no use. is_alone: it
    is more than the whole budget, and loaded all the same once everybody has left.
    """

    fits: bool
    evict: tuple[str, ...]
    reason: str
    is_never: bool = False
    is_alone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A version waits for memory, since then. is_claimed: others have to leave for it already."""

    since: float
    need: Bytes
    is_claimed: bool = False


def total(parts: Sequence[Bytes]) -> dict[str, int]:
    """All of these together.

    >>> total([{"host": 1}, {"host": 2, "gpu": 5}])
    {'host': 3, 'gpu': 5}
    """
    found: dict[str, int] = {}
    for part in parts:
        for memory, size in part.items():
            found[memory] = found.get(memory, 0) + size
    return found


def free_room(
    need: Bytes, residents: Sequence[Resident], budget: Bytes, *, reserved: Bytes | None = None
) -> Room:
    """Whether an instance fits beside those that are there, so that nobody has to leave.

    reserved: what is promised to somebody who has waited for longer.
    """
    short = _short(need, residents, budget, reserved or {})
    if not budget:
        return Room(fits=True, evict=(), reason="no memory budget")
    return Room(fits=not short, evict=(), reason=_told(need, residents, budget))


def unused(residents: Sequence[Resident], *, since: float) -> tuple[Resident, ...]:
    """The residents as who has no claim of its own sees them: what people use may not leave.

    Only what nobody asked for since then, and is not kept, counts as idle.
    """
    return tuple(
        replace(
            one,
            busy=one.busy or one.kept or one.priority > 0 or one.last_used > since,
            is_turn_over=False,
        )
        for one in residents
    )


def make_room(
    need: Bytes, residents: Sequence[Resident], budget: Bytes, *, reserved: Bytes | None = None
) -> Room:
    """Plan room for an instance: those that are missed least leave, and no more than needed.

    reserved: what is promised to somebody who has waited for longer.

    An instance that is larger than the whole budget may load alone, because refusing it outright
    would help nobody: the estimate may be wrong, and the engine says so when it is not.
    """
    short = _short(need, residents, budget, reserved or {})
    if not short:
        return free_room(need, residents, budget, reserved=reserved)
    may_leave = [one for one in residents if not one.stays and (not one.busy or one.is_turn_over)]
    leaving = _cheapest(may_leave, short)
    if leaving is not None:
        return Room(
            fits=True,
            evict=tuple(one.version for one in leaving),
            reason=_words(need, leaving),
        )
    staying = [one for one in residents if one.stays]
    if staying and _short(need, staying, budget, {}):
        return Room(fits=False, evict=(), reason=_never(need, staying, budget), is_never=True)
    if not reserved and len(may_leave) == len(residents) and _short(need, (), budget, {}):
        return Room(
            fits=True,
            evict=tuple(one.version for one in sorted(may_leave, key=_order)),
            reason=f"{_amount(need)} are more than the budget of {_amount(budget)}: loaded alone",
            is_alone=True,
        )
    stays = [one for one in residents if one not in may_leave]
    return Room(
        fits=False,
        evict=(),
        reason=f"{_told(need, stays, budget)} once everything idle has left",
    )


def surplus(residents: Sequence[Resident], budget: Bytes) -> Room:
    """Plan who leaves so that those that are there keep to a budget that has become smaller.

    The idle that are missed least leave, and no more than needed; all of them, if that is too few.
    """
    taken = total([one.need for one in residents])
    short = {m: taken[m] - most for m, most in budget.items() if taken.get(m, 0) > most}
    if not short:
        return Room(fits=True, evict=(), reason="everything fits")
    idle = [one for one in residents if not (one.pinned or one.busy)]
    leaving = _cheapest(idle, short)
    some = sorted((one for one in idle if any(map(one.need.get, short))), key=_order)
    return Room(
        fits=leaving is not None,
        evict=tuple(one.version for one in (some if leaving is None else leaving)),
        reason=f"models hold {_amount(short)} more than there is for them now",
    )


def _short(
    need: Bytes, residents: Sequence[Resident], budget: Bytes, reserved: Bytes
) -> dict[str, int]:
    """What is missing of each memory."""
    taken = total([need, reserved, *[one.need for one in residents]])
    return {
        memory: taken[memory] - most
        for memory, most in budget.items()
        if need.get(memory, 0) and taken[memory] > most
    }


_Order = tuple[tuple[bool, bool, int], float, int, float, str]
_Cost = tuple[tuple[float, ...], int, tuple[_Order, ...]]


def _order(one: Resident) -> _Order:
    return (one.rank, one.worth, -one.number, one.last_used, one.version)


def _cheapest(idle: Sequence[Resident], short: Bytes) -> tuple[Resident, ...] | None:
    """Those whose leaving is missed least and frees enough; None when all of them do not."""
    useful = sorted((one for one in idle if any(map(one.need.get, short))), key=_order)
    if not _frees(useful, short):
        return None
    always, chosen = _crowd(useful, short)
    freed = total([one.need for one in always])
    left = {memory: size - freed.get(memory, 0) for memory, size in short.items()}
    return tuple(sorted((*always, *_Search(chosen).best(left)), key=_order))


class _Search:
    """Looks for the set that frees enough and is worth least: by branch and bound, exactly.

    The most precious come first, and are left out first, so that what is found early is good.
    """

    def __init__(self, idle: Sequence[Resident]) -> None:
        self._idle = sorted(idle, key=_order, reverse=True)
        self._ranks = sorted({one.rank for one in idle}, reverse=True)
        self._found: tuple[_Cost, tuple[Resident, ...]] | None = None

    def best(self, short: Bytes) -> tuple[Resident, ...]:
        """The set; empty when nothing is missing."""
        self._look(0, short, tuple(0.0 for _ in self._ranks), ())
        return () if self._found is None else self._found[1]

    def _look(
        self, place: int, short: Bytes, lost: tuple[float, ...], leaving: tuple[Resident, ...]
    ) -> None:
        if self._found is not None and lost > self._found[0][0]:
            return
        if all(size <= 0 for size in short.values()):
            cost = (lost, len(leaving), tuple(_order(one) for one in leaving))
            if self._found is None or cost < self._found[0]:
                self._found = (cost, leaving)
            return
        if not _frees(self._idle[place:], short):
            return
        one = self._idle[place]
        self._look(place + 1, short, lost, leaving)
        self._look(
            place + 1,
            {memory: size - one.need.get(memory, 0) for memory, size in short.items()},
            tuple(
                loss + (max(one.worth, _LEAST_WORTH) if rank == one.rank else 0.0)
                for rank, loss in zip(self._ranks, lost, strict=True)
            ),
            (*leaving, one),
        )


def _crowd(
    useful: Sequence[Resident], short: Bytes
) -> tuple[tuple[Resident, ...], tuple[Resident, ...]]:
    """Of more than can be weighed: those that leave in any case, and those to choose from."""
    density = sorted(
        useful, key=lambda one: (one.rank, one.worth / _freed(one, short), _order(one))
    )
    extra = max(0, len(useful) - MOST_WEIGHED)
    while extra and _frees(density[: extra - 1], short):
        extra -= 1  # fewer are enough already
    return tuple(density[:extra]), tuple(density[extra : extra + MOST_WEIGHED])


def _freed(one: Resident, short: Bytes) -> int:
    return sum(min(one.need.get(memory, 0), size) for memory, size in short.items())


def _frees(leaving: Sequence[Resident], short: Bytes) -> bool:
    freed = total([one.need for one in leaving])
    return all(freed.get(memory, 0) >= size for memory, size in short.items())


def _words(need: Bytes, leaving: Sequence[Resident]) -> str:
    busy, kept = sum(one.busy for one in leaving), sum(one.kept for one in leaving)
    said = f"{len(leaving)} idle instances make room for {_amount(need)}"
    if busy:
        said = f"{len(leaving)} instances make room for {_amount(need)}, {busy} after its turn"
    return f"{said}; {kept} of them kept, for nothing else could" if kept else said


def _never(need: Bytes, staying: Sequence[Resident], budget: Bytes) -> str:
    beside = [
        "what is pinned" if any(one.pinned for one in staying) else "",
        "its other instances" if any(one.is_beside for one in staying) else "",
    ]
    return f"{_told(need, staying, budget)} beside {' and '.join(filter(None, beside))}"


def _told(need: Bytes, residents: Sequence[Resident], budget: Bytes) -> str:
    taken = total([one.need for one in residents])
    free = {memory: max(0, most - taken.get(memory, 0)) for memory, most in budget.items()}
    return f"{_amount(need)} needed, {_amount({m: free[m] for m in need if m in free})} free"


def _amount(some: Bytes) -> str:
    """Bytes for people.

    >>> _amount({"host": 2_500_000, "gpu0": 7_000_000_000})
    '2.5 MB, 7000.0 MB of gpu0'
    """
    parts = [
        f"{size / 1e6:.1f} MB" if memory == HOST else f"{size / 1e6:.1f} MB of {memory}"
        for memory, size in some.items()
    ]
    return ", ".join(parts) or "nothing"


def promised(
    version: str,
    wishes: Mapping[str, Wish],
    *,
    now: float,
    turn_s: float,
) -> dict[str, int]:
    """What of the memory belongs to others that wait too.

    It is theirs once somebody has to leave for them, or when they have waited for longer than this
    one and for a whole turn. Until then whoever fits may go before.

    >>> wishes = {"big": Wish(since=0.0, need={"host": 9}), "small": Wish(since=5.0, need={})}
    >>> promised("small", wishes, now=6.0, turn_s=30.0)
    {}
    >>> promised("small", wishes, now=31.0, turn_s=30.0)
    {'host': 9}
    """
    own = (wishes[version].since, version)
    return total(
        [
            wish.need
            for other, wish in wishes.items()
            if other != version
            and (wish.is_claimed or ((wish.since, other) < own and now - wish.since >= turn_s))
        ]
    )
