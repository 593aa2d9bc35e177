"""How often failures and latency alone would be wrong: equal versions, seeded, looked at always."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest
from tests.calibration.bounds import at_most

from arbiter.swap.analysis import Verdict
from arbiter.swap.metrics import LATENCY, RELIABILITY, Ending, Metrics, Mode
from arbiter.swap.tripping import Failure

pytestmark = pytest.mark.calibration

STEPS = (0.1, 0.2, 0.3, 0.4, 0.5)
TIMES = 60

World = Callable[[Random, bool], Ending]

FAILURES = replace(RELIABILITY, mode=Mode.CRITICAL, alpha_rollback=0.05)
SPEED = replace(LATENCY, mode=Mode.CRITICAL, alpha_rollback=0.05)


def heavy(dice: Random, took: float = 1.0) -> Ending:
    """Lognormal, and three in a hundred with a tail that has no variance."""
    tail = dice.paretovariate(1.3) * 3.0 if dice.random() < 0.03 else 1.0
    return Ending(latency_ms=1000.0 * took * tail * dice.lognormvariate(0.0, 0.6))


def failing(share: float, dice: Random) -> Ending:
    return Ending(failure=Failure.CRASH if dice.random() < share else None)


def share(world: World, metric: str, verdict: Verdict, *, units: int = 1500) -> int:
    """In how many runs a metric ever comes to this verdict, looked at after every fourth unit."""
    count = 0
    for seed in range(TIMES):
        dice, metrics = Random(seed), Metrics(reliability=FAILURES, latency=SPEED)
        for number in range(units):
            pi = STEPS[min(4, number // 200)]
            is_new = dice.random() < pi
            metrics.update(world(dice, is_new), is_new, pi)
            if number % 4 == 0 and any(
                one.metric == metric and one.verdict is verdict for one in metrics.evidence
            ):
                count += 1
                break
    return count


@pytest.mark.parametrize(
    ("metric", "world"),
    [
        ("latency", lambda dice, _is_new: heavy(dice)),
        ("reliability", lambda dice, _is_new: failing(0.02, dice)),
        ("reliability", lambda dice, _is_new: failing(0.2, dice)),
    ],
)
def test_an_equal_version_is_rarely_called_worse(metric: str, world: World) -> None:
    assert share(world, metric, Verdict.WORSE) <= at_most(TIMES)


@pytest.mark.parametrize(
    ("metric", "world"),
    [
        ("latency", lambda dice, is_new: heavy(dice, 1.2 if is_new else 1.0)),
        ("reliability", lambda dice, is_new: failing(1 - 0.95 * 0.98 if is_new else 0.05, dice)),
    ],
)
def test_one_that_is_worse_by_just_the_margin_is_rarely_called_as_good(
    metric: str, world: World
) -> None:
    assert share(world, metric, Verdict.NOT_WORSE) <= at_most(TIMES)


@pytest.mark.parametrize(
    ("metric", "world"),
    [
        ("latency", lambda dice, is_new: heavy(dice, 1.8 if is_new else 1.0)),
        ("reliability", lambda dice, is_new: failing(0.15 if is_new else 0.02, dice)),
    ],
)
def test_one_that_is_much_worse_is_caught(metric: str, world: World) -> None:
    assert share(world, metric, Verdict.WORSE) == TIMES
