"""Is the new model slower? Two scores a unit, so that one bad tail cannot decide alone.

Means of latencies do not converge in any useful time: one request of a minute outweighs a thousand
others. Each latency becomes two scores in [0, 1], larger for faster ::

    within  = 1 if L <= p90 of the old version, else 0
    speed   = 1 - (clip(ln(L / median of the old version), -3, 3) + 3) / 6

and the e-value is the average of one e-process on each, which is an e-value whatever the two have
to do with each other. Both quantiles are frozen before the first unit; were they wrong, power
would be lost and no level. The new version's latency is divided by ``1 + tolerance`` first: the
null then is, at every instant, that it is no slower than that times the old one (`Side.WORSE`), or
that it is at least as slow (`Side.NOT_WORSE`), in the mean of both scores.

Only answers have a speed. One that ran into its time limit is slower than any clip; a request that
failed otherwise is no unit here, and counts under `arbiter.stats.reliability`.

Sources: `arbiter.stats.bets` and `arbiter.stats.adaptive`; Vovk & Wang (arXiv 1912.06116) for the
average.
"""

from __future__ import annotations

from math import exp, inf, log

from arbiter.stats.adaptive import AGrapaE
from arbiter.stats.bets import Grid, Side
from arbiter.stats.evalues import average, from_log
from arbiter.stats.sequential import EProcess

CLIP_LOG = 3.0
"""Beyond a factor of e^3, about 20, slower is not slower still."""

_GRIDS = {
    Side.WORSE: Grid(
        side=Side.WORSE, margin=0.0, ratios=(0.95, 0.85, 0.60), weights=(0.4, 0.4, 0.2)
    ),
    Side.NOT_WORSE: Grid(
        side=Side.NOT_WORSE, margin=0.0, ratios=(1.01, 1.03, 1.08), weights=(0.3, 0.4, 0.3)
    ),
}


def speed(latency_s: float, median_s: float) -> float:
    """A latency as a score: 1/2 at the median, 1 at a twentieth of it, 0 at 20 times or never.

    >>> speed(2.0, 2.0), speed(inf, 2.0), round(speed(4.0, 2.0), 4)
    (0.5, 0.0, 0.3845)

    Raises:
        ValueError: a latency is below 0 or no number, or the median is not above 0.
    """
    if not (latency_s >= 0.0 and 0.0 < median_s < inf):
        raise ValueError(f"a latency is 0 seconds or more, not {latency_s} against {median_s}")
    ratio = max(exp(-CLIP_LOG), min(exp(CLIP_LOG), latency_s / median_s))
    return max(0.0, min(1.0, 0.5 - log(ratio) / (2.0 * CLIP_LOG)))


class LatencyE:
    """The e-process for latency; the module has its formula and assumptions.

    >>> slower = LatencyE(side=Side.WORSE, median_s=1.0, p90_s=2.0)
    >>> for _ in range(60):
    ...     slower.update(1.0, False, 0.5)
    ...     slower.update(2.1, True, 0.5)
    >>> slower.e > 20
    True

    median_s, p90_s: the old version's, in seconds, from before the first unit.
    tolerance: how much slower, as a share of the old version's latency, is no harm. 0 or more.
    """

    __slots__ = ("_median_s", "_p90_s", "_speed", "_within", "side", "tolerance")

    def __init__(
        self, *, side: Side, median_s: float, p90_s: float, tolerance: float = 0.0
    ) -> None:
        if not 0.0 < median_s <= p90_s < inf:
            raise ValueError(f"a median and a larger p90 in seconds, not {median_s} and {p90_s}")
        if not 0.0 <= tolerance < inf:
            raise ValueError(f"a tolerance is a share, 0 or more, not {tolerance}")
        self.side = side
        self.tolerance = tolerance
        self._median_s = median_s
        self._p90_s = p90_s
        self._within = EProcess(_GRIDS[side], prior_mean=0.9)
        self._speed = AGrapaE(side=side, margin=0.0)

    def update(self, latency_s: float, is_new: bool, pi: float) -> None:
        """Take the next unit's latency in seconds; ``inf`` when it ran out of time.

        Raises:
            ValueError: the latency is below 0 or no number, or pi is outside (0, 1).
        """
        fair_s = latency_s / (1.0 + self.tolerance) if is_new else latency_s
        score = speed(fair_s, self._median_s)
        self._within.update(float(fair_s <= self._p90_s), is_new, pi)
        self._speed.update(score, is_new, pi)

    @property
    def log_e(self) -> float:
        """The natural logarithm of the e-value; 0 before any unit."""
        return average((self._within.log_e, self._speed.log_e))

    @property
    def e(self) -> float:
        """The e-value: reject the null at level alpha when it reaches ``1 / alpha``."""
        return from_log(self.log_e)
