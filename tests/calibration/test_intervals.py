"""Whether intervals cover the truth at all times at once, and when alarms come; seeded.

An interval at 95 % may ever miss the truth in one of twenty streams, so the bound is binomial. An
alarm at ``1/alpha`` comes after ``1/alpha`` units on average or later while nothing is wrong; run
lengths are cut off, which only shortens their mean, and the bound takes their spread for that of an
exponential distribution.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log, sqrt
from random import Random

import pytest
from tests.calibration.bounds import at_least, at_most

from arbiter.stats.bets import HARM, strict
from arbiter.stats.drift import HoldbackAlarm, ReferenceAlarm
from arbiter.stats.interval import GapInterval, MeanInterval, PairInterval, Scale

pytestmark = pytest.mark.calibration

TIMES = 60
UNITS = 800

Rates = Callable[[int], tuple[float, float]]
"""The old and the new model's rate of right answers, by the number of the unit."""


def steady(old: float, new: float) -> Rates:
    return lambda _number: (old, new)


def harder_by_difference(number: int) -> tuple[float, float]:
    old = 0.9 - 0.2 * min(1.0, number / UNITS)
    return old, old - 0.1


def harder_by_ratio(number: int) -> tuple[float, float]:
    old = 0.9 - 0.2 * min(1.0, number / UNITS)
    return old, 0.9 * old


def ramp(number: int, looks_worse: bool) -> float:
    del looks_worse
    return min(0.5, 0.1 * (1 + number // 150))


def chasing(number: int, looks_worse: bool) -> float:
    del number
    return 0.5 if looks_worse else 0.1


def gap_after(
    scale: Scale, rates: Rates, pi_of: Callable[[int, bool], float], *, seed: int
) -> GapInterval:
    """Ends only move inward, so an interval that covers the truth at the end always has."""
    dice, gap = Random(seed), GapInterval(scale)
    seen = {False: [4.0, 5.0], True: [4.0, 5.0]}
    for number in range(UNITS):
        looks_worse = seen[True][0] / seen[True][1] < seen[False][0] / seen[False][1]
        pi = pi_of(number, looks_worse)
        is_new = dice.random() < pi
        score = float(dice.random() < rates(number)[is_new])
        seen[is_new][0] += score
        seen[is_new][1] += 1.0
        gap.update(score, is_new, pi)
    return gap


@pytest.mark.parametrize(
    ("scale", "rates", "pi_of", "truth"),
    [
        pytest.param(Scale.DIFFERENCE, steady(0.8, 0.8), ramp, 0.0, id="equal"),
        pytest.param(Scale.DIFFERENCE, steady(0.95, 0.855), ramp, -0.095, id="10 % worse at .95"),
        pytest.param(Scale.DIFFERENCE, harder_by_difference, ramp, -0.1, id="traffic gets harder"),
        pytest.param(Scale.DIFFERENCE, steady(0.8, 0.7), chasing, -0.1, id="weights react"),
        pytest.param(Scale.RATIO, steady(0.8, 0.72), ramp, 0.9, id="ratio, 10 % worse"),
        pytest.param(Scale.RATIO, harder_by_ratio, ramp, 0.9, id="ratio, traffic gets harder"),
    ],
)
def test_the_gap_is_covered_at_all_times_at_once(
    scale: Scale, rates: Rates, pi_of: Callable[[int, bool], float], truth: float
) -> None:
    gaps = [gap_after(scale, rates, pi_of, seed=seed) for seed in range(TIMES)]
    missed = sum(not gap.low <= truth <= gap.high for gap in gaps)
    assert missed <= at_most(TIMES)
    widths = sorted(gap.high - gap.low for gap in gaps)
    assert widths[TIMES // 2] <= 0.3


def test_a_mean_is_covered_at_all_times_at_once() -> None:
    missed = 0
    for seed in range(100):
        dice, interval = Random(seed), MeanInterval()
        for _ in range(500):
            interval.update(float(dice.random() < 0.9))
        missed += not interval.low <= 0.9 <= interval.high
    assert missed <= at_most(100)


def test_the_difference_of_pairs_is_covered_at_all_times_and_soon_narrow() -> None:
    missed, widths = 0, []
    for seed in range(100):
        dice, interval = Random(seed), PairInterval()
        for _ in range(500):
            luck = dice.random()
            other = luck if dice.random() < 0.6 else dice.random()
            interval.update(float(luck < 0.8), float(other < 0.72))
        missed += not interval.low <= -0.08 <= interval.high
        widths.append(interval.high - interval.low)
    assert missed <= at_most(100)
    assert sorted(widths)[50] <= 0.15


def beside(
    alarm: HoldbackAlarm, dice: Random, *, old: float, new: float, level: float, units: int,
    good: int = 0, pi: float = 0.95,
) -> int:  # fmt: skip
    """Units from the fall to the alarm: the new model is as the old one for the first `good`."""
    for number in range(good + units):
        is_new = dice.random() < pi
        rate = new if is_new and number >= good else old
        alarm.update(float(dice.random() < rate), is_new, pi)
        if alarm.log_e >= level:
            return number - good + 1
    return units


@pytest.mark.parametrize("pi", [0.95, 0.5])
def test_an_alarm_beside_the_old_version_is_as_rare_as_stated_at_the_edge_of_its_margin(
    pi: float,
) -> None:
    lengths = [
        beside(
            HoldbackAlarm(strict(0.05), prior_mean=0.9), Random(seed),
            old=0.9, new=0.855, level=log(50), units=1000, pi=pi,
        )
        for seed in range(40)
    ]  # fmt: skip
    assert sum(lengths) / 40 >= 50 * (1 - 3.1 / sqrt(40))


def test_a_fall_is_found_beside_the_old_version_in_time() -> None:
    """A twentieth of the traffic is little to compare with: a fifth worse takes 1,100 units."""
    found = [
        beside(
            HoldbackAlarm(HARM, prior_mean=0.9), Random(seed),
            old=0.9, new=0.72, level=log(1000), units=2000, good=500,
        )
        for seed in range(40)
    ]  # fmt: skip
    assert min(found) > 0
    assert sum(length <= 1200 for length in found) >= at_least(40, 0.5)


def against_a_reference(rate: float, seed: int, *, good: int, units: int, level: float) -> int:
    dice, alarm = Random(seed), ReferenceAlarm(0.9, margin=0.02)
    for number in range(good + units):
        alarm.update(float(dice.random() < (rate if number >= good else 0.9)))
        if alarm.log_e >= level:
            return number - good + 1
    return units


def test_an_alarm_against_a_right_reference_is_as_rare_as_stated() -> None:
    lengths = [
        against_a_reference(0.882, seed, good=0, units=1500, level=log(50)) for seed in range(60)
    ]
    assert sum(lengths) / 60 >= 50 * (1 - 3.1 / sqrt(60))


def test_a_fall_from_nine_to_eight_of_ten_is_found_against_a_reference_within_a_day() -> None:
    """The median of a simulation beforehand, with one bet fitted to this fall, was 186 units."""
    found = [
        against_a_reference(0.8, seed, good=500, units=1000, level=log(1000)) for seed in range(60)
    ]
    assert sum(length <= 240 for length in found) >= at_least(60, 0.5)
