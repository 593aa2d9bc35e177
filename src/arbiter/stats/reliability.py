"""Does the new model fail to answer more often? The e-process for rare failures.

A unit scores 1 when an answer came and 0 when none did: it could not be loaded, crashed, ran out of
memory or time, or was empty. What a person broke off is no unit. Failures count for the version
that was drawn, whoever answered in the end.

The test is `arbiter.stats.sequential.EProcess`; only what is bet on differs. Where 99 of 100
answers come, a model that fails twice as often has 99 % of the old one's successes, so the
alternatives lie nearer to 1 than those for quality, and so does the prior.
"""

from __future__ import annotations

from arbiter.stats.bets import Grid, Side
from arbiter.stats.sequential import EProcess

FAILS_MORE = Grid(
    side=Side.WORSE, margin=0.0, ratios=(0.98, 0.93, 0.80, 0.40), weights=(0.35, 0.3, 0.2, 0.15)
)
"""Bets that the new model answers less often at all."""


def reliable(margin: float) -> Grid:
    """Bets that the new model answers not less often by as much as the margin, such as .02.

    >>> reliable(0.02).ratios
    (0.995, 1.0, 1.01)
    """
    return Grid(
        side=Side.NOT_WORSE,
        margin=margin,
        ratios=(1.0 - margin / 4.0, 1.0, 1.0 + margin / 2.0),
        weights=(0.3, 0.5, 0.2),
    )


def reliability(grid: Grid) -> EProcess:
    """An e-process on whether answers come; one in fifty failing is believed beforehand.

    >>> fails = reliability(FAILS_MORE)
    >>> for n in range(60):
    ...     fails.update(1.0, False, 0.5)
    ...     fails.update(float(n % 4 > 0), True, 0.5)
    >>> fails.e > 20
    True
    """
    return EProcess(grid, prior_mean=0.98, prior_weight=20.0)
