"""How much the energy of a solved task counts for a contender, where its weight is above 0.

A task is solved as often as the version's answers are right: energy for an answer, divided by its
quality. There is no limit to measure that against, so it is measured against the best: the
contender that takes least has 1, one that takes twice as much 0.5. Whose energy is not known is
taken at what the others have on average, so it has no advantage and no penalty; where nobody's is
known, energy decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from arbiter.knowledge.energies import Spend
from arbiter.selection.contender import NEUTRAL

LEAST_QUALITY: Final = 0.05
"""Who is never right would otherwise take endless energy for a solved task."""

NOTICEABLE: Final = 0.01
"""A change of the scale by less than this part is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """What all are measured against. least_mwh: of the best. usual: the mean of all parts."""

    least_mwh: float
    usual: float

    def is_near(self, other: Scale | None) -> bool:
        """Whether nothing noticeable has moved."""
        if other is None:
            return False
        moved = abs(self.least_mwh - other.least_mwh) / self.least_mwh
        return max(moved, abs(self.usual - other.usual)) <= NOTICEABLE


def per_solved(spend: Spend | None, quality: float | None) -> float | None:
    """Milliwatt-hours for a solved task; None where energy or quality is not known.

    >>> per_solved(Spend(mwh=0.2, answers=40, is_exclusive=True), 0.8)
    0.25
    """
    if spend is None or quality is None or spend.mwh <= 0.0:
        return None
    return spend.mwh / max(quality, LEAST_QUALITY)


def scale_of(values: Iterable[float | None]) -> Scale | None:
    """The scale of these contenders; None where nobody's energy is known.

    >>> scale_of([0.2, None, 0.4])
    Scale(least_mwh=0.2, usual=0.75)
    """
    known = [value for value in values if value is not None]
    if not known:
        return None
    least = min(known)
    return Scale(least_mwh=least, usual=sum(least / value for value in known) / len(known))


def energy_part(mwh: float | None, scale: Scale | None) -> float:
    """The score of an energy, from 0 to 1."""
    if scale is None:
        return NEUTRAL
    return scale.usual if mwh is None else min(1.0, scale.least_mwh / mwh)


def energy_words(mwh: float | None, spend: Spend | None, scale: Scale | None) -> str:
    """The part in words."""
    if mwh is None or spend is None:
        taken = "" if scale is None else ", taken as the others'"
        return f"energy unknown{taken}"
    how = "alone at its model" if spend.is_exclusive else "of sums over concurrent answers"
    text = f"energy {mwh:.3g} mWh a solved task ({spend.answers} answers, {how}"
    if scale is not None and mwh > scale.least_mwh * (1 + NOTICEABLE):
        text += f"; {mwh / scale.least_mwh:.1f} times the least"
    return text + ")"
