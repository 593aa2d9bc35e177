"""Has a stream of scores become worse than it was? An e-CUSUM that restarts itself.

With a reference ``r`` that the mean is believed not to fall below, and a worse mean ``q`` that is
bet on, a score ``y`` in [0, 1] multiplies ::

    M <- max(1, M) (1 + k (r - y)),        k = (r - q) / (r (1 - r))

which for 0/1 scores is the likelihood ratio of ``q`` against ``r``. While the mean is at least
``r`` the factor's expectation is at most 1, so the mean time to a false alarm at ``M >= 1/alpha``
is at least ``1/alpha`` scores (Shin, Ramdas & Rinaldo, arXiv 2203.03532). The caller has to hand
in a reference that really is a lower one: an estimate less its uncertainty.
"""

from __future__ import annotations

from functools import lru_cache
from math import log, log1p

from arbiter.stats.estimators import logistic, logit

DROP = 1.25
"""How far below the reference the bet is, on the logit scale: .80 against .53."""

ALARM = log(500.0)
"""One false alarm in five hundred scores at most; fewer as long as the reference is a low one."""


def worse_step(
    log_m: float, score: float, reference: float, weight: float = 1.0, *, drop: float = DROP
) -> float:
    """The logarithm of the e-CUSUM after one more score; 0 or less means: nothing was lost yet.

    weight: how far the score is believed, in [0, 1]; the stake is that much smaller. drop: how far
    below the reference the bet is, on the logit scale; above 0.

    >>> log_m = 0.0
    >>> for _ in range(12):
    ...     log_m = worse_step(log_m, 0.0, 0.8)
    >>> log_m > ALARM
    True

    Raises:
        ValueError: the score is outside [0, 1] or the reference outside (0, 1).
    """
    if not 0.0 <= score <= 1.0:
        raise ValueError(f"a score lies in [0, 1], not {score}")
    stake = weight * _stake(reference, drop)
    return max(0.0, log_m) + log1p(stake * (reference - score))


@lru_cache(maxsize=64)
def _stake(reference: float, drop: float) -> float:
    """What is staked on a score; kept, because many scores are held against one reference."""
    if not 0.0 < reference < 1.0:
        raise ValueError(f"a reference lies in (0, 1), not {reference}")
    worse = logistic(logit(reference) - drop)
    return (reference - worse) / (reference * (1.0 - reference))
