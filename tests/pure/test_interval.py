from __future__ import annotations

from itertools import accumulate, pairwise
from math import inf, nan
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbiter.stats.interval import GapInterval, MeanInterval, PairInterval, Scale, Stake

# confseq 0.0.11 (MIT) on fixed numbers, at level .05 for one side: its betting martingale against
# three means with all of it on "the mean is larger", and its lower confidence sequence on a grid of
# a thousand, each after 10, 50 and 100 numbers.
BINARY = [1, 1, 0, 1, 1, 1, 0, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 0, 1, 1] * 5
SCORES = [0.9, 0.7, 0.8, 1, 0.6, 0.85, 0.95, 0.4, 0.75, 0.9] * 10
AFTER = (10, 50, 100)
MARTINGALES = (
    (BINARY, 0.5, (6.4072265625, 1804.569201388922, 158154.20560362947)),
    (BINARY, 0.6, (2.497180307879898, 58.54254113013685, 983.3491404963779)),
    (BINARY, 0.7, (1.1816996156461546, 2.438540278495182, 7.3981385655547305)),
    (SCORES, 0.5, (11.110124025000003, 165735.72299580427, 2658121896.169401)),
    (SCORES, 0.6, (3.8527971432532797, 848.9472700645218, 427077.96442693187)),
    (SCORES, 0.7, (1.675511861616237, 13.204973488943274, 169.0901981992482)),
)
LOWER = ((BINARY, (0.406, 0.632, 0.679)), (SCORES, (0.454, 0.688, 0.729)))

gaps = st.sampled_from(Scale)
units = st.lists(st.tuples(st.floats(0.0, 1.0), st.booleans(), st.floats(0.02, 0.98)), max_size=60)


@pytest.mark.parametrize(("numbers", "mean", "expected"), MARTINGALES)
def test_the_stakes_earn_what_those_of_the_reference_earn(
    numbers: list[float], mean: float, expected: tuple[float, ...]
) -> None:
    stake, capital, found = Stake(0.05), 1.0, []
    for number in numbers:
        capital *= 1.0 + min(stake.get(), 0.5 / mean) * (number - mean)
        stake.update(number)
        found.append(capital)
    assert [found[count - 1] for count in AFTER] == pytest.approx(expected, rel=1e-12)


def lowest_left(numbers: list[float]) -> list[float]:
    """After each number, the last of a thousand means below the first whose capital is under 20."""
    means = [step / 1000 for step in range(1, 1001)]
    stake, capitals, found = Stake(0.05), [1.0] * 1000, []
    for number in numbers:
        k = stake.get()
        stake.update(number)
        for index, mean in enumerate(means):
            capitals[index] *= 1.0 + min(k, 0.5 / mean) * (number - mean)
        found.append(next(i for i, capital in enumerate(capitals) if capital < 20) / 1000)
    return found


@pytest.mark.parametrize(("numbers", "expected"), LOWER)
def test_the_lower_end_is_that_of_the_reference_and_never_falls_again(
    numbers: list[float], expected: tuple[float, ...]
) -> None:
    reference = lowest_left(numbers)
    assert [reference[count - 1] for count in AFTER] == pytest.approx(expected, abs=1e-12)
    interval = MeanInterval(alpha=0.1, steps=1000)
    for number, highest in zip(numbers, accumulate(reference, max), strict=True):
        interval.update(number)
        assert interval.low == pytest.approx(highest, abs=1e-12)


@pytest.mark.parametrize("numbers", [BINARY, SCORES])
def test_an_interval_of_the_opposite_is_the_opposite_interval(numbers: list[float]) -> None:
    one, other = MeanInterval(), MeanInterval()
    for number in numbers:
        one.update(number)
        other.update(1 - number)
    assert one.low == pytest.approx(1 - other.high)
    assert one.high == pytest.approx(1 - other.low)


@given(gaps, units)
def test_a_gap_only_gets_narrower_and_is_never_empty(
    scale: Scale, stream: list[tuple[float, bool, float]]
) -> None:
    gap = GapInterval(scale, steps=20)
    ends = [(gap.low, gap.high)]
    for unit in stream:
        gap.update(*unit)
        ends.append((gap.low, gap.high))
    for (low, high), (later_low, later_high) in pairwise(ends):
        assert low <= later_low < later_high <= high


@pytest.mark.parametrize(
    ("scale", "widest"), [(Scale.DIFFERENCE, (-1.0, 1.0)), (Scale.RATIO, (0.0, inf))]
)
def test_a_gap_of_which_nothing_is_known_is_anything(
    scale: Scale, widest: tuple[float, float]
) -> None:
    gap = GapInterval(scale)
    assert (gap.low, gap.high) == widest


def test_two_arms_that_trade_places_have_the_opposite_difference() -> None:
    dice, one, other = Random(3), GapInterval(Scale.DIFFERENCE), GapInterval(Scale.DIFFERENCE)
    for _ in range(600):
        is_new, pi = dice.random() < 0.3, 0.3
        score = float(dice.random() < (0.6 if is_new else 0.8))
        one.update(score, is_new, pi)
        other.update(score, not is_new, 1 - pi)
    assert (one.low, one.high) == (-other.high, -other.low)
    assert -0.5 < one.low < -0.2 < one.high < 0.0


def test_a_ratio_and_a_difference_agree_on_who_is_better() -> None:
    dice, ratio, difference = Random(4), GapInterval(Scale.RATIO), GapInterval(Scale.DIFFERENCE)
    for _ in range(800):
        is_new = dice.random() < 0.5
        score = float(dice.random() < (0.9 if is_new else 0.6))
        ratio.update(score, is_new, 0.5)
        difference.update(score, is_new, 0.5)
    assert 0.0 < difference.low < 0.3 < difference.high < 0.5
    assert 1.0 < ratio.low < 1.5 < ratio.high < 2.0


def test_graded_scores_give_a_narrower_gap_than_right_and_wrong() -> None:
    dice, graded, coarse = Random(5), GapInterval(Scale.DIFFERENCE), GapInterval(Scale.DIFFERENCE)
    for _ in range(500):
        is_new = dice.random() < 0.5
        graded.update(dice.betavariate(16, 4), is_new, 0.5)
        coarse.update(float(dice.random() < 0.8), is_new, 0.5)
    assert graded.high - graded.low < 0.6 * (coarse.high - coarse.low)


def test_pairs_of_equal_answers_leave_a_narrow_difference_around_nothing() -> None:
    interval = PairInterval()
    for number in range(200):
        interval.update(float(number % 4 > 0), float(number % 4 > 0))
    assert interval.low == -interval.high
    assert interval.high <= 0.06


@pytest.mark.parametrize("alpha", [0.0, 1.0, nan])
def test_an_alpha_that_is_no_chance_is_refused(alpha: float) -> None:
    for make in (MeanInterval, PairInterval):
        with pytest.raises(ValueError, match="alpha"):
            make(alpha=alpha)
    with pytest.raises(ValueError, match="alpha"):
        GapInterval(Scale.RATIO, alpha=alpha)


def test_what_is_no_score_is_refused_and_leaves_no_trace() -> None:
    mean, pairs, gap = MeanInterval(), PairInterval(), GapInterval(Scale.DIFFERENCE)
    for wrong in (-0.1, 1.1, nan):
        with pytest.raises(ValueError, match="score"):
            mean.update(wrong)
        with pytest.raises(ValueError, match="score"):
            pairs.update(0.5, wrong)
        with pytest.raises(ValueError, match="score"):
            gap.update(wrong, True, 0.5)
    with pytest.raises(ValueError, match="probability"):
        gap.update(0.5, True, 1.0)
    assert (mean.low, mean.high, gap.low, gap.high) == (0.0, 1.0, -1.0, 1.0)


def test_a_value_that_moves_while_it_is_watched_still_leaves_one_interval() -> None:
    gap = GapInterval(Scale.DIFFERENCE)
    for number in range(3000):
        is_better = number < 1500
        gap.update(0.9 if is_better else 0.1, True, 0.5)
        gap.update(0.1 if is_better else 0.9, False, 0.5)
    assert -0.8 <= gap.low < gap.high <= 0.81
