"""E-values as logarithms: added, averaged, combined over tasks, and which of many stand out.

An e-value is a non-negative number whose expectation is at most 1 while its null is true, so it
reaches ``1/alpha`` with a chance of at most ``alpha`` (Markov; Ville, when it is a process). Only
logarithms are kept, so nothing overflows.

Sources: Vovk & Wang (arXiv 1912.06116) for averages and products; Wang & Ramdas (arXiv 2009.02824)
for e-BH. This module does not know what an e-value is about.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import exp, fsum, inf, log

_LARGEST = 700.0
"""Beyond this logarithm an e-value is shown as exp(700), about 1e304."""


def log_sum(logs: Iterable[float]) -> float:
    """``log(sum(exp(x)))`` without overflow, whatever the order.

    >>> round(log_sum([1000.0, 1000.0]) - 1000.0, 6)
    0.693147
    """
    parts = list(logs)
    if len(parts) == 2:
        # the usual case, and equal to the last bit: a sum of two is rounded once either way
        low, top = parts if parts[0] < parts[1] else (parts[1], parts[0])
        return top if low == -inf else top + log(1.0 + exp(low - top))
    if not parts or (top := max(parts)) == -inf:
        return -inf
    return top + log(fsum([exp(part - top) for part in parts]))


def from_log(log_e: float) -> float:
    """An e-value to show, from its logarithm; at most exp(700).

    >>> from_log(0.0), from_log(1e6) < inf
    (1.0, True)
    """
    return exp(log_e if log_e < _LARGEST else _LARGEST)  # noqa: FURB136  # asked for every unit


def average(log_es: Iterable[float]) -> float:
    """The average of e-values, as logarithms: an e-value however they depend on each other.

    >>> round(exp(average([log(4.0), log(2.0)])), 6)
    3.0

    Raises:
        ValueError: there is nothing to average.
    """
    logs = tuple(log_es)
    if not logs:
        raise ValueError("no e-values to average")
    return log_sum(logs) - log(len(logs))


def combine(log_es: Iterable[float]) -> float:
    """Half the product plus half the average of e-values, as logarithms, without overflow.

    The product is an e-process when every unit feeds exactly one factor; the average is one
    always, and so is their mean. The product finds harm that is everywhere, the average harm in
    one place. The order does not matter, not even in the last bit.

    >>> round(exp(combine([log(4.0), log(2.0)])), 6)
    5.5

    Raises:
        ValueError: there is nothing to combine.
    """
    logs = tuple(log_es)
    if not logs:
        raise ValueError("no e-values to combine")
    if len(logs) == 1:
        return logs[0]
    return log_sum((fsum(logs), average(logs))) - log(2.0)


def e_bh(log_es: Sequence[float], alpha: float) -> tuple[int, ...]:
    """Which of K nulls to reject, so that a share of at most alpha of them is true on average.

    The k largest are rejected, for the largest k of which the k-th e-value is at least
    ``K / (k alpha)`` (the e-BH procedure of Wang & Ramdas). The bound on the false discovery rate
    holds however the e-values depend on each other. Indices come in their own order.

    One e-value has to reach ``K / alpha``; when many are large, less will do:

    >>> e_bh([log(50.0), log(3.0), log(3.0), log(1.0)], 0.05)
    ()
    >>> e_bh([log(50.0), log(3.0), log(45.0), log(1.0)], 0.05)
    (0, 2)

    Raises:
        ValueError: alpha is outside (0, 1).
    """
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"an alpha lies in (0, 1), not {alpha}")
    order = sorted(range(len(log_es)), key=lambda index: -log_es[index])
    found = 0
    for rank, index in enumerate(order, start=1):
        if log_es[index] >= log(len(log_es) / (rank * alpha)):
            found = rank
    return tuple(sorted(order[:found]))
