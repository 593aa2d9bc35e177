"""Named places in a rollout's life where a house may die, so that tests can kill it just there.

A house in use is handed no hook, and then a place is one comparison with None.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum


class Place(StrEnum):
    """Where a rollout is when the hook is called."""

    STARTED = "started"
    """The row of a new rollout is written, and nobody drives it yet."""
    VALIDATING = "validating"
    """The stable version was run on its cases, the candidate not yet."""
    BEGINNING = "beginning"
    """Validation has its verdict, and the first step is not written."""
    DECIDED = "decided"
    """A later change is decided and not written."""
    WRITTEN = "written"
    """A change is written and not acted on."""
    MOVED = "moved"
    """The alias has moved, and nobody was told."""
    ANNOUNCED = "announced"
    """A change was announced."""
    NOTED = "noted"
    """The times of a rollout are on their way to the disk."""
    ASKED = "asked"
    """Both versions have answered the same, and the pair is not on its way to the disk."""
    PAIRED = "paired"
    """A pair is on its way to the disk."""
    UNDOING = "undoing"
    """A promotion is to be taken back, and it is not written."""
    UNDONE = "undone"
    """A promotion was taken back, and nobody was told."""
    ALARMED = "alarmed"
    """An alarm went off after a promotion, and what follows is not written."""
    COUNTED = "counted"
    """How long a promotion is still watched is on its way to the disk."""
    RETIRED = "retired"
    """A promotion is watched no longer, and nobody was told."""


Crash = Callable[[Place], None]
"""Called at each place; whether it returns is its own affair."""


def nowhere(place: Place) -> None:
    """The hook of a house in use."""
