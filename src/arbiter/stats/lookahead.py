"""What more scores of one arm may be worth to those that come after them: the knowledge gradient.

A score is paid for by what the arm earns less than the best one, and pays by what is picked better
from then on. `foresight` weighs that: for some numbers of scores, how much the best mean is
expected to rise by them, times the picks that are left of a horizon, for each of those scores. It
is to be added to the arm's mean.

Sources: Frazier, Powell & Dayanik, SIAM J. Control Optim. 47(5), 2008 (the knowledge gradient);
Frazier & Powell, Decision Analysis 7(4), 2010 (several scores at once, because the first few alone
often change nothing); Ryzhov, Powell & Frazier, Operations Research 60(1), 2012 (what is picked
earns meanwhile: the mean, and the horizon times the gradient).

This module knows neither versions nor tasks.
"""

from __future__ import annotations

from math import erfc, exp, pi, sqrt

AHEAD = (1, 3, 8, 20)
"""Numbers of scores that are looked ahead."""

_ROOT_2 = sqrt(2.0)
_DENSITY = 1.0 / sqrt(2.0 * pi)
_FAR = 5.0
"""Deviations away at which nothing is expected any more: 5e-8 of one."""


def expected_excess(gap: float, deviation: float) -> float:
    """How far a normal value is expected to lie above a bar; 0 where it lies below.

    gap: from its mean up to the bar. deviation: 0 where the value is known.

    >>> round(expected_excess(0.0, 1.0), 6), round(expected_excess(1.0, 1.0), 6)
    (0.398942, 0.083315)
    """
    if deviation <= 0.0:
        return max(0.0, -gap)
    away = gap / deviation
    if away > _FAR:
        return 0.0
    density = _DENSITY * exp(-0.5 * away * away)
    return deviation * (density - 0.5 * away * erfc(away / _ROOT_2))


def foresight(gap: float, deviation: float, worth: float, horizon: float) -> float:
    """What trying an arm may bring per score, beyond what the score itself earns.

    gap: between its mean and the best of the others', never below 0. deviation: how unsure its mean
    is, in the unit of the gap; 0: it is known. worth: how many scores that belief is worth; so many
    more halve its variance; inf: no score moves it. horizon: picks in all that what is learned can
    pay for.

    >>> round(foresight(0.1, 0.2, 4.0, 40.0), 3)
    0.231
    >>> foresight(0.1, 0.2, 4.0, 40.0) > foresight(0.1, 0.1, 4.0, 40.0)
    True
    >>> foresight(0.3, 0.02, 400.0, 40.0)
    0.0
    >>> foresight(0.0, 0.0, 4.0, 40.0), foresight(0.0, 0.2, float("inf"), 40.0)
    (0.0, 0.0)

    Raises:
        ValueError: one of them is below 0, or no number.
    """
    if not (gap >= 0.0 and deviation >= 0.0 and worth >= 0.0 and horizon >= 0.0):
        raise ValueError(
            "gap, deviation, worth and horizon are 0 or more, "
            f"not {gap}, {deviation}, {worth} and {horizon}"
        )
    most = 0.0
    for count in AHEAD:
        if count < horizon:
            moved = deviation * sqrt(count / (count + worth))
            most = max(most, (horizon - count) / count * expected_excess(gap, moved))
    return most
