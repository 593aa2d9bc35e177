"""What to stake on a unit's outcome before it is known, and what the unit then multiplies.

A unit is one conversation. Before its outcome ``Y`` in [0, 1] is known it goes to the new model
with a known probability ``pi``. With ``c = 1 - margin`` and any ``f`` chosen beforehand ::

    Z = c 1{old} (Y - f) / (1 - pi)  -  1{new} (Y - c f) / pi,      E[Z | past] = c mu_old - mu_new

so ``E <- E (1 + k Z)`` is a non-negative supermartingale while ``mu_new >= c mu_old``, and
``E <- E (1 - k Z)`` is one while ``mu_new <= c mu_old``. By Ville's inequality such an ``E`` ever
reaches ``1/alpha`` with probability at most ``alpha``, whatever the bets ``(f, k)``, however the
traffic drifts, and however ``pi`` reacts to earlier outcomes. Bad bets cost power, never level.

Sources: Turner, Ly & Grünwald (arXiv 2106.02693) and Turner & Grünwald (2203.09785) for the bets;
Waudby-Smith & Ramdas (2010.09686) for betting. This module keeps no running sums.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from math import fsum, sqrt

CLIP = 0.999
"""The share of the largest allowed bet that is ever staked, so that no factor reaches zero."""


class Side(StrEnum):
    """What a test sets out to prove about the new model."""

    WORSE = "worse"
    """Null: ``mu_new >= c mu_old``. Rejecting it rolls back."""
    NOT_WORSE = "not_worse"
    """Null: ``mu_new <= c mu_old``. Rejecting it promotes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Which alternatives a mixture bets on: ``theta_new = ratio theta_old``, by weight.

    ratios: each strictly below ``1 - margin`` for `Side.WORSE`, and not below it otherwise.
    weights: positive, summing to one.
    cap: the largest ``theta_new`` that is bet on; a certain success would stake everything.
    """

    side: Side
    margin: float
    ratios: tuple[float, ...]
    weights: tuple[float, ...]
    cap: float = 0.9975

    def __post_init__(self) -> None:
        if not 0.0 <= self.margin < 1.0:
            raise ValueError(f"a margin lies in [0, 1), not {self.margin}")
        if len(self.ratios) != len(self.weights) or abs(fsum(self.weights) - 1.0) > 1e-9:
            raise ValueError("every ratio needs a weight, and the weights sum to one")
        if min(self.weights) <= 0.0 or not 0.0 < self.cap < 1.0:
            raise ValueError("weights are positive and the cap lies in (0, 1)")
        c = 1.0 - self.margin
        if min(self.ratios) <= 0.0 or any(
            ratio >= c if self.side is Side.WORSE else ratio < c for ratio in self.ratios
        ):
            raise ValueError(f"a ratio of {self.ratios} lies on the wrong side of {c}")


HARM = Grid(side=Side.WORSE, margin=0.0, ratios=(0.90, 0.80, 0.50), weights=(0.45, 0.35, 0.20))
"""Bets that the new model is worse at all."""


def strict(margin: float) -> Grid:
    """Bets that the new model is worse by more than the margin.

    The ratios are .93, .85, .70, .45 and .10 at a margin of .05, and keep their distance from
    ``1 - margin`` otherwise.

    >>> strict(0.05).ratios
    (0.93, 0.85, 0.7, 0.45, 0.1)
    """
    scale = (1.0 - margin) / 0.95
    return Grid(
        side=Side.WORSE,
        margin=margin,
        ratios=tuple(ratio * scale for ratio in (0.93, 0.85, 0.70, 0.45, 0.10)),
        weights=(0.3, 0.3, 0.2, 0.1, 0.1),
    )


def non_inferiority(margin: float) -> Grid:
    """Bets that the new model is not worse by as much as the margin.

    >>> non_inferiority(0.05).ratios
    (0.98, 1.0, 1.03, 1.1)
    """
    return Grid(
        side=Side.NOT_WORSE,
        margin=margin,
        ratios=(1.0 - (1.0 - 0.98) * (margin / 0.05), 1.00, 1.03, 1.10),
        weights=(0.20, 0.45, 0.25, 0.10),
    )


def ripr_bet(theta_old: float, theta_new: float, pi: float, margin: float) -> tuple[float, float]:
    """The growth-optimal bet ``(f, k)`` against the nearest null, in closed form.

    theta_old, theta_new: the means that are bet on, in (0, 1). Which null is opposed follows from
        them: `Side.WORSE` when ``theta_new < c theta_old``, otherwise `Side.NOT_WORSE`.
    pi: the probability that the unit goes to the new model, in (0, 1).
    margin: ``m`` in [0, 1), and ``c = 1 - m``.

    With the reverse information projection (Turner, Ly & Grünwald, section 3) ::

        B = (1-pi)(1 + c theta_old) + pi (theta_new + c)
        C = (1-pi) theta_old + pi theta_new
        f = (B - sqrt(B^2 - 4 c C)) / (2 c) = 2 C / (B + sqrt(B^2 - 4 c C))
        k = (1-pi) |theta_old - f| / (c f (1-f))

    and ``k`` is clipped to .999 of the stake at which a factor could become negative. For 0/1
    outcomes the factor then is the likelihood ratio against the projection.

    >>> f, k = ripr_bet(0.8, 0.64, 0.3, 0.05)
    >>> round(f, 9), round(k, 9)
    (0.767284573, 0.135003613)

    Raises:
        ValueError: an argument is outside its interval.
    """
    if not (0.0 < theta_old < 1.0 and 0.0 < theta_new < 1.0):
        raise ValueError(f"means to bet on lie in (0, 1), not {theta_old} and {theta_new}")
    if not 0.0 <= margin < 1.0:
        raise ValueError(f"a margin lies in [0, 1), not {margin}")
    check_unit(0.0, pi)
    c = 1.0 - margin
    return projected(theta_old, theta_new, pi, c, worse=theta_new < c * theta_old)


def bet_factor(score: float, is_new: bool, pi: float, *, bet: tuple[float, float],
               margin: float, side: Side) -> float:  # fmt: skip
    """What one unit multiplies an e-process by: ``1 + k Z``, or ``1 - k Z`` for `NOT_WORSE`.

    >>> bet = ripr_bet(0.8, 0.6, 0.5, 0.0)
    >>> round(bet_factor(1.0, True, 0.5, bet=bet, margin=0.0, side=Side.WORSE), 6)
    0.857143

    Raises:
        ValueError: the score is outside [0, 1] or pi outside (0, 1).
    """
    check_unit(score, pi)
    f, k = bet
    c = 1.0 - margin
    z = (c * f - score) / pi if is_new else c * (score - f) / (1.0 - pi)
    return 1.0 + k * z if side is Side.WORSE else 1.0 - k * z


def check_unit(score: float, pi: float) -> None:
    """Refuse what cannot be a unit. Raises ValueError.

    >>> check_unit(1.0, 0.5)
    """
    if not 0.0 <= score <= 1.0:
        raise ValueError(f"a score lies in [0, 1], not {score}")
    if not 0.0 < pi < 1.0:
        raise ValueError(f"a probability of assignment lies in (0, 1), not {pi}")


def projected(old: float, new: float, pi: float, c: float, *, worse: bool) -> tuple[float, float]:
    """`ripr_bet` for arguments that were checked before; ``c = 1 - margin``.

    >>> projected(0.8, 0.64, 0.3, 0.95, worse=True) == ripr_bet(0.8, 0.64, 0.3, 0.05)
    True
    """
    ((f, k),) = _projected(old, (new,), 1.0, 1.0, pi, c, worse)
    return f, abs(k)


def bets_on(grid: Grid, old: float, pi: float) -> list[tuple[float, float]]:
    """The bet on each alternative of a grid, in its order, where the old mean is ``old``.

    Each is ``(f, k)`` for the factor ``1 + k Z``, so k is below 0 for `Side.NOT_WORSE`.

    >>> bets_on(HARM, 0.8, 0.3)[1] == ripr_bet(0.8, 0.64, 0.3, 0.0)
    True
    """
    worse = grid.side is Side.WORSE
    return _projected(old, grid.ratios, old, grid.cap, pi, 1.0 - grid.margin, worse)


def _projected(  # noqa: PLR0917  # it is called for every unit
    old: float, ratios: Iterable[float], scale: float, cap: float, pi: float, c: float, worse: bool
) -> list[tuple[float, float]]:
    """A bet on each mean ``ratio scale``, ``cap`` at most.

    Twelve a unit are placed here, so nothing is called that need not be.
    """
    rest = 1.0 - pi
    clip_old, clip_new = CLIP * rest, CLIP * pi
    from_old, b_old = rest * old, rest * (1.0 + c * old)
    bets = []
    for ratio in ratios:
        new = ratio * scale
        new = new if new < cap else cap  # noqa: FURB136
        f = from_old + pi * new
        if c != 1.0:
            b = b_old + pi * (new + c)
            under = b * b - 4.0 * c * f
            f = 2.0 * f / (b + sqrt(under)) if under > 0.0 else 2.0 * f / b
        cf = c * f
        k = rest * abs(old - f) / (cf * (1.0 - f))
        most = clip_old / (cf if worse else c - cf)
        most_new = clip_new / (1.0 - cf if worse else cf)
        most = most if most < most_new else most_new  # noqa: FURB136
        k = k if k < most else most  # noqa: FURB136
        bets.append((f, k if worse else -k))
    return bets
