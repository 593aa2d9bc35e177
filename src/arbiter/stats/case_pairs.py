"""Evidence from a fixed set of cases that two models were both run on, in no order.

`arbiter.stats.pairs` bets on pairs as they come and learns its stake from earlier ones; most of a
small set is over before it has learned any. Here the stakes are fixed beforehand, so that little
evidence is not wasted and the order of the cases does not matter. With ``c = 1 - margin`` and
scores in [0, 1] ::

    Z = c Y_old - Y_new  (worse)   or   Y_new - c Y_old  (not worse),    Z >= -largest loss
    E = average over the stakes s of  prod (1 + s Z / largest loss)

Each product has an expectation of at most 1 while ``E[Z] <= 0``, and so has their average. It is
assumed that the cases are a sample of what is asked, each independent of the others. E may be
looked at again when further cases were run. Source: Waudby-Smith & Ramdas (arXiv 2010.09686).
"""

from __future__ import annotations

from collections.abc import Iterable
from math import fsum, log1p

from arbiter.stats.bets import Side, check_unit
from arbiter.stats.evalues import average

STAKES = (0.1, 0.3, 0.6, 0.95)
"""Shares of the largest allowed stake, equally likely. Small ones find small differences in many
cases; large ones find broken models in ten."""


def log_e_of_pairs(pairs: Iterable[tuple[float, float]], *, side: Side, margin: float) -> float:
    """The natural logarithm of the e-value of pairs ``(old, new)``; 0 of none.

    The null of `Side.WORSE` is that new keeps at least ``1 - margin`` of old's mean; that of
    `Side.NOT_WORSE` that it keeps at most so much. Ten cases that only the old one gets right are
    evidence of 143, whatever their order:

    >>> from math import exp
    >>> round(exp(log_e_of_pairs([(1.0, 0.0)] * 10, side=Side.WORSE, margin=0.1)))
    143

    Raises:
        ValueError: a score is outside [0, 1], or the margin outside [0, 1).
    """
    if not 0.0 <= margin < 1.0:
        raise ValueError(f"a margin lies in [0, 1), not {margin}")
    c = 1.0 - margin
    gains = []
    for old, new in pairs:
        check_unit(old, 0.5)
        check_unit(new, 0.5)
        gains.append(c * old - new if side is Side.WORSE else (new - c * old) / c)
    return average([fsum([log1p(stake * gain) for gain in gains]) for stake in STAKES])
