"""Tries at a request that gave no answer: who, where, why each ended, and what it used.

A request is tried again on a fresh instance, at another place or by another version as long as
nothing of an answer was sent. What the earlier tries used is the request's cost as well: the
receipt has each of them, and its figures are sums over all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from arbiter.cost import Cost, Figure, Method, unknown_cost
from arbiter.refs import VersionId

NO_SLOT: Final = "it never had a slot, so nothing ran for it"
CANCELLED: Final = "cancelled"
"""Why a try ended whose client hung up before its first piece."""

Then = Callable[[Callable[[Cost], None]], None]
"""What is to be told whom to give a cost, once it is known."""


class Try(msgspec.Struct, frozen=True, kw_only=True):
    """One try at a request.

    place: the process or the server that was asked, None where there was none yet. error: why it
    gave no answer, the code of an error or ``cancelled``; None when it did. took_ms: from its being
    asked for, its wait for a slot and a load included, to its end. cost: from its slot to its end.
    """

    version: VersionId
    place: str | None
    error: str | None
    took_ms: float
    cost: Cost


class Vain(msgspec.Struct, frozen=True, kw_only=True):
    """A try that has just failed: its cost comes a moment later, to whom `then` is told.

    cpu: what it had used when it ended.
    """

    tried: Try
    cpu: Figure
    then: Then


BESIDE: Final = unknown_cost("it stands beside the outcome")
"""The cost of the try that answered."""


def without_slot(tell: Callable[[Cost], None]) -> None:
    """The cost of who never had a slot: it is known at once."""
    tell(unknown_cost(NO_SLOT))


def summed(figures: Sequence[Figure], *, what: str = "a try") -> Figure:
    """A sum of figures of one request: as sure as the least sure of them.

    Of tries that never ran nothing is missing. What is not known of one that ran is told in the
    note, so the sum is then the least that it can be. Nothing known at all: the last one's reason.

    >>> used = Figure(value=2.0, method=Method.MEASURED, error_pct=1.0)
    >>> summed([used, Figure(value=6.0, method=Method.SHARED, error_pct=3.0)]).error_pct
    2.5
    """
    known = [one for one in figures if one.value is not None]
    if len(known) < 2 and figures[-1].value is not None:
        first = figures[-1]
    elif not known:
        return figures[-1]
    else:
        first = known[-1]
    missing = [one.note for one in figures if one.value is None and one.note not in _NOTHING_RAN]
    notes = [first.note] if first.note else []
    notes += [f"without {what}: {note}" for note in dict.fromkeys(missing)]
    values = [one.value or 0.0 for one in known]
    total = sum(values)
    errors = [one.error_pct for one in known if one.error_pct is not None]
    off = sum((one.error_pct or 0.0) * (one.value or 0.0) for one in known)
    return Figure(
        value=total,
        method=max((one.method for one in known), key=_DOUBT.index),
        note="; ".join(notes) or None,
        error_pct=(off / total if total else max(errors)) if errors else None,
    )


def most_of(figures: Sequence[Figure]) -> Figure:
    """The largest of figures of one request; nothing known: the last one's reason."""
    known = [one for one in figures if one.value is not None]
    return max(known, key=lambda one: one.value or 0.0) if known else figures[-1]


_NOTHING_RAN: Final = frozenset({NO_SLOT})
_DOUBT: Final = (Method.MEASURED, Method.ENGINE, Method.SHARED, Method.ESTIMATED, Method.UNKNOWN)
"""From the surest method to the least sure."""
