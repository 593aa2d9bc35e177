"""How often the learner's intervals hold what they say: whole tables over random pools, seeded.

A pool's rates are drawn as the learner supposes, and in ways that it does not: with residuals of
heavy tails (Student t, 2.5 degrees of freedom), versions that are nearly equal, rates near 1. The
cells of a pool share its luck, so the bounds come from the spread between pools, not from the
binomial.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from random import Random

import pytest

from arbiter.refs import TaskName, VersionId
from arbiter.selection.bandit import Table
from arbiter.stats.estimators import logistic

pytestmark = pytest.mark.calibration

POOLS = 40
LEVEL = 0.9

Noise = Callable[[Random], float]


def normal(dice: Random) -> float:
    return 0.6 * dice.gauss(0.0, 1.0)


def heavy(dice: Random) -> float:
    square = dice.gammavariate(1.25, 2.0)  # chi-squared with 2.5 degrees of freedom
    return 0.4 * dice.gauss(0.0, 1.0) / sqrt(square / 2.5)


def tiny(dice: Random) -> float:
    return 0.2 * dice.gauss(0.0, 1.0)


def covered(dice: Random, noise: Noise, *, middle: float, scores: tuple[int, int]) -> float:
    """The share of a pool's cells whose true rate is inside its interval."""
    tasks = [TaskName(f"task-{number}") for number in range(dice.randrange(3, 15))]
    versions = [VersionId(f"version-{number}") for number in range(dice.randrange(3, 9))]
    hard = {task: dice.gauss(0.0, 1.0) for task in tasks}
    good = {version: 0.6 * dice.gauss(0.0, 1.0) for version in versions}
    rates = {
        (task, version): logistic(middle + hard[task] + good[version] + noise(dice))
        for task in tasks
        for version in versions
    }
    told = [where for where in rates for _ in range(dice.randint(*scores))]
    dice.shuffle(told)
    table = Table(half_life=None, watchful=False)
    for task, version in told:
        table.update(task, version, float(dice.random() < rates[task, version]))
    inside = 0
    for (task, version), rate in rates.items():
        low, high = table.get(task, version).interval(LEVEL)
        inside += low <= rate <= high
    return inside / len(rates)


@pytest.mark.parametrize(
    ("noise", "middle", "scores", "least", "most"),
    [
        (normal, 0.3, (8, 8), 0.87, 0.93),
        (normal, 0.3, (0, 30), 0.87, 0.93),
        (heavy, 0.3, (8, 8), 0.87, 0.93),
        (tiny, 0.3, (8, 8), 0.87, 0.97),
        (normal, 2.5, (8, 8), 0.86, 0.95),
    ],
    ids=["as supposed", "uneven", "heavy tails", "nearly equal", "nearly perfect"],
)
def test_nine_of_ten_true_rates_are_inside_their_interval(
    noise: Noise, middle: float, scores: tuple[int, int], least: float, most: float
) -> None:
    shares = [covered(Random(seed), noise, middle=middle, scores=scores) for seed in range(POOLS)]
    mean = sum(shares) / POOLS
    error = sqrt(sum((share - mean) ** 2 for share in shares) / (POOLS - 1) / POOLS)
    assert least - 2.0 * error <= mean <= most + 2.0 * error
