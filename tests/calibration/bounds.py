"""How far a count may stray from a true rate: exact binomial bounds, missed once in a thousand."""

from __future__ import annotations

from math import comb


def at_most(times: int, rate: float = 0.05) -> int:
    """The largest count that a true rate exceeds less than once in a thousand.

    >>> at_most(60)
    9
    """
    below = 0.0
    for number in range(times + 1):
        below += comb(times, number) * rate**number * (1 - rate) ** (times - number)
        if below >= 0.999:
            return number
    return times


def at_least(times: int, rate: float) -> int:
    """The smallest count that a true rate falls below less than once in a thousand.

    >>> at_least(100, 0.5)
    35
    """
    return times - at_most(times, 1.0 - rate)
