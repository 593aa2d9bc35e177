"""Slowness of instances: how often it is seen without a cause, and how soon with one."""

from __future__ import annotations

from collections.abc import Callable
from math import exp
from random import Random

import pytest
from tests.calibration.bounds import at_least

from arbiter.stats.slowness import ALPHA, FACTOR, LAG, Slowness

RUNS = 40
MOST = 1_000

Draw = Callable[[Random], float]


def spread(deviation: float) -> Draw:
    """Log-normal times."""
    return lambda dice: exp(dice.gauss(0.0, deviation))


def heavy(dice: Random) -> float:
    """Times whose variance is infinite."""
    return dice.paretovariate(1.2)


def heard(
    seed: int, draw: Draw, *, factor: float, history: int, alpha: float, most: int = MOST
) -> int | None:
    """How many times that are longer by a factor it took to an alarm; None: none in so many."""
    dice, slow = Random(seed), Slowness(alpha=alpha)
    for _ in range(history + LAG):
        slow.add("a kind", draw(dice))
    slow.begin_again()
    for number in range(most):
        slow.add("a kind", factor * draw(dice), learns=False)
        if slow.is_alarm:
            return number + 1
    return None


@pytest.mark.parametrize("history", [31, 100, 200])
@pytest.mark.parametrize("draw", [spread(0.1), spread(0.6), heavy], ids=["narrow", "wide", "heavy"])
def test_times_at_the_edge_of_far_off_are_an_alarm_as_seldom_as_stated(
    draw: Draw, history: int
) -> None:
    """As long as is no harm yet: once in 1/alpha times on average, or less often."""
    alpha = 0.02
    lengths = [
        heard(seed, draw, factor=FACTOR, history=history, alpha=alpha) for seed in range(RUNS)
    ]
    assert sum(MOST if one is None else one for one in lengths) / RUNS >= 1 / alpha


@pytest.mark.parametrize(
    "draw", [spread(0.1), spread(0.3), heavy], ids=["narrow", "usual", "heavy"]
)
def test_times_that_did_not_change_are_hardly_ever_an_alarm(draw: Draw) -> None:
    for seed in range(RUNS):
        dice, slow = Random(seed), Slowness()
        for _ in range(2_000):
            slow.add("a kind", draw(dice))
            assert not slow.is_alarm


@pytest.mark.parametrize(
    ("deviation", "factor", "history", "within"),
    [(0.1, 2.5, 31, 15), (0.3, 4.0, 100, 15), (0.3, 3.0, 200, 40), (0.6, 6.0, 200, 40)],
)
def test_what_became_far_slower_is_seen_within_a_few_times(
    deviation: float, factor: float, history: int, within: int
) -> None:
    found = [
        heard(seed, spread(deviation), factor=factor, history=history, alpha=ALPHA, most=within)
        for seed in range(RUNS)
    ]
    assert sum(one is not None for one in found) >= at_least(RUNS, 0.9)
