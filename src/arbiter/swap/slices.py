"""Time slices: two versions that cannot be in memory together take turns, a window of time each.

Time is cut into windows of one length, counted in the seconds in which the rollout progressed, so
neither a clock that is set nor a machine that slept nor a restart moves their edges. One window is
one assignment unit: the rollout's coin is thrown for the window's number instead of for a
conversation, and everything in it goes to one side. All that was graded in a window is one unit's
mean score, because one coin decided all of it: to take the answers for draws of their own would
be wrong as a conversation's later requests are.

In the record an answer keeps a row of its own, whose unit names the window and the conversation. A
window is folded once a row of a later one is: what is known is a matter of the rows alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import fsum

from msgspec.structs import replace

from arbiter.swap.analysis import OTHER, Unit

SLICE_S = 900.0
"""How long a window is at least unless somebody says otherwise, in seconds."""

LOADS = 20.0
"""How many times as long as the longer of both loads it is at least: 5 % of the time at most goes
into loading, and less, because only every second edge or so changes the version."""

STEPS = (0.25, 0.5)
"""Shares of windows. Few units leave no room for five steps of tenths."""

FIRST_STEP = 0.1
"""The share of windows of a candidate that validation could neither pass nor block."""

LEAST_WINDOWS = 4
"""Graded windows of the candidate that each step needs."""

MEDIANS = {"as good": 330, "10 % worse": 160, "20 % worse": 70}
"""Windows to a verdict in the middle of 200 simulated rollouts each, where the stable version is
right 4 times in 5 and 10 answers of each window are graded (`arbiter rollout-simulate --slice 15m
--per-hour 40`). With 50 graded answers it takes a tenth fewer: what is few are the windows."""


def slice_s(loads_s: Iterable[float]) -> float:
    """How long a window is, by how long loads take, in seconds.

    >>> slice_s([12.0, 20.0]), slice_s([12.0, 90.0])
    (900.0, 1800.0)
    """
    return max(SLICE_S, LOADS * max(loads_s, default=0.0))


def slot_at(seconds: float, length_s: float) -> int:
    """The number of the window after so many seconds of windows.

    >>> slot_at(899.9, 900.0), slot_at(900.0, 900.0)
    (0, 1)
    """
    return int(seconds / length_s)


def drawn_as(slot: int) -> str:
    """What the coin of a rollout is thrown for.

    >>> drawn_as(17)
    'slot 17'
    """
    return f"slot {slot}"


def unit_in(slot: int, conversation: str) -> str:
    """What a conversation's row in a window is kept as.

    >>> unit_in(17, "5e0b"), slot_of("slot 17 5e0b"), conversation_of("slot 17 5e0b")
    ('slot 17 5e0b', 17, '5e0b')
    """
    return f"{drawn_as(slot)} {conversation}"


def slot_of(unit: str) -> int | None:
    """The window that a row belongs to; None where conversations are units themselves."""
    return int(unit.split(" ", 2)[1]) if unit.startswith("slot ") else None


def conversation_of(unit: str) -> str:
    """The conversation of a row, whether it lies in a window or not."""
    return unit.rpartition(" ")[2]


class Windows:
    """Rows on their way to units: each as it is, or those of a window as one.

    >>> windows = Windows()
    >>> def told(slot, score):
    ...     unit = Unit(task=OTHER, arm=Arm.STABLE, probability=0.5, score=score)
    ...     return windows.take(unit_in(slot, "c"), unit)
    >>> from arbiter.inference import Arm
    >>> told(0, 1.0), told(0, 0.0)
    (None, None)
    >>> found = told(3, 1.0)
    >>> found.score, found.answers
    (0.5, 2)
    """

    __slots__ = ("_graded", "slot")

    def __init__(self) -> None:
        self.slot: int | None = None
        """The window of the last row."""
        self._graded: list[Unit] = []

    def take(self, name: str, unit: Unit | None) -> Unit | None:
        """Take the next row, in the order of positions; the unit that is known with it, if any.

        name: as it is kept. unit: what it says by itself; None when nothing graded it.
        """
        slot = slot_of(name)
        if slot is None:
            return unit
        done = self._closed() if slot != self.slot else None
        self.slot = slot
        if unit is not None:
            self._graded.append(unit)
        return done

    def _closed(self) -> Unit | None:
        graded = self._graded
        if not graded:
            return None
        self._graded = []
        mean = fsum(one.score for one in graded) / len(graded)
        return replace(graded[0], task=OTHER, score=mean, answers=len(graded))


def expectation(length_s: float) -> str:
    """How long a verdict may take, in a sentence: windows are few.

    >>> expectation(900.0)[41:84]
    'more than 330 windows (82 h) if it is as go'
    """
    told = [
        f"{count} windows ({count * length_s / 3600.0:.0f} h) if it is {what}"
        for what, count in MEDIANS.items()
    ]
    return (
        "By simulation, half of the verdicts take more than "
        f"{', '.join(told[:-1])} and {told[-1]}, where the stable version is right 4 times in 5"
        " and 10 answers of a window are graded."
    )
