"""A watched promotion: how often it is taken back without a cause, and how soon with one.

The figures of docs/how-to/swap-a-model.md come from here, with more runs.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random
from statistics import median

import pytest
from tests.calibration.bounds import at_least, at_most

from arbiter.inference import Arm
from arbiter.swap.plan import Plan
from arbiter.swap.watch import Before, Sign, Since

RUNS = 40
ALPHA = Plan().alpha_drift
GOOD = 500
"""Graded conversations before the fall."""


def since(seed: int, *, old: float, share: float, alpha: float = ALPHA) -> tuple[Since, Random]:
    """A promotion of a model as good as the old one, after a rollout of 600 conversations."""
    dice = Random(seed)
    right = sum(dice.random() < old for _ in range(300)) / 300
    before = Before(stable=old, n_stable=300, candidate=right, n_candidate=300)
    return Since(replace(Plan(), holdback=share, alpha_drift=alpha), before), dice


def heard(
    seed: int, *, old: float, new: float, share: float, sign: Sign, most: int,
    good: int = GOOD, alpha: float = ALPHA,
) -> int | None:  # fmt: skip
    """Conversations from the fall to an alarm; None when it was not heard in so many."""
    found, dice = since(seed, old=old, share=share, alpha=alpha)
    for number in range(good + most):
        back = dice.random() < share
        rate = new if not back and number >= good else old
        arm = Arm.HOLDBACK if back else Arm.PROMOTED
        score = float(dice.random() < rate)
        found.update((number, "u", "sum", arm.value, 1.0 - share, score, None, None))
        if sign in found.alarms:
            return number + 1 - good
    return None


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_a_model_at_the_edge_is_taken_back_as_seldom_as_stated(share: float) -> None:
    """As good as the old one: once in 1/alpha graded conversations on average, or less often."""
    lengths = [
        heard(
            seed, old=0.9, new=0.9, share=share, sign=Sign.DRIFTED, most=1_000, good=0, alpha=0.02
        )
        for seed in range(RUNS)
    ]
    assert sum(1_000 if one is None else one for one in lengths) / RUNS >= 50 * 0.5


def test_a_model_as_good_as_the_old_one_is_seldom_taken_back_in_a_day_of_much_traffic() -> None:
    lengths = [
        heard(seed, old=0.9, new=0.9, share=0.05, sign=Sign.DRIFTED, most=2_400, good=0)
        for seed in range(RUNS)
    ]
    assert sum(one is not None for one in lengths) <= at_most(RUNS, 0.05)


@pytest.mark.parametrize(
    ("new", "share", "most"), [(0.8, 0.05, 6_000), (0.8, 0.1, 3_000), (0.72, 0.05, 2_150)]
)
def test_a_fall_from_nine_of_ten_is_found_in_time(new: float, share: float, most: int) -> None:
    found = [
        heard(seed, old=0.9, new=new, share=share, sign=Sign.DRIFTED, most=most)
        for seed in range(RUNS)
    ]
    assert sum(one is not None and one > 0 for one in found) >= at_least(RUNS, 0.5)


def test_against_its_own_mean_a_fall_is_suspected_much_sooner() -> None:
    found = [
        heard(seed, old=0.9, new=0.8, share=0.05, sign=Sign.SUSPECTED, most=2_000)
        for seed in range(RUNS)
    ]
    times = [2_000 if one is None else one for one in found]
    assert median(times) <= 600
    assert sum(one is not None and one < 0 for one in found) <= 2
