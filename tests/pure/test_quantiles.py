"""Quantiles of a stream: how exact they are, what merging and fading do, how sure they are."""

from __future__ import annotations

import json
from math import ceil, comb
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbiter.stats.quantiles import LEAST, MOST, RELATIVE_ERROR, Sketch, order_ranks

numbers = st.lists(st.floats(LEAST, MOST), min_size=1, max_size=200)
shares = st.sampled_from([0.0, 0.1, 0.5, 0.9, 0.99, 1.0])


def sketch(values: list[float], *, half_life: float | None = None) -> Sketch:
    made = Sketch(half_life=half_life)
    for value in values:
        made.add(value)
    return made


def exact(values: list[float], share: float) -> float:
    return sorted(values)[max(1, ceil(share * len(values) - 1e-9)) - 1]


@given(values=numbers, share=shares)
def test_a_quantile_is_within_the_relative_error_of_the_exact_one(
    values: list[float], share: float
) -> None:
    found = sketch(values).quantile(share)
    assert found == pytest.approx(exact(values, share), rel=RELATIVE_ERROR + 1e-6)


@given(values=numbers, more=numbers, share=shares, fades=st.booleans())
def test_reading_a_quantile_changes_no_later_one(
    values: list[float], more: list[float], share: float, *, fades: bool
) -> None:
    half_life = 20.0 if fades else None
    read = sketch(values, half_life=half_life)
    read.quantile(share)
    for value in more:
        read.add(value)
    unread = sketch([*values, *more], half_life=half_life)
    assert read.quantile(share) == unread.quantile(share)
    assert read.interval(0.5) == unread.interval(0.5)


@given(values=numbers, data=st.data())
def test_the_order_of_numbers_that_do_not_fade_changes_nothing(
    values: list[float], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(values))
    assert sketch(shuffled).to_state() == sketch(values).to_state()


@given(ones=numbers, others=numbers)
def test_a_merged_sketch_is_the_sketch_of_all(ones: list[float], others: list[float]) -> None:
    merged = sketch(ones)
    merged.merge(sketch(others))
    assert merged.to_state() == sketch([*ones, *others]).to_state()


@given(ones=numbers, others=numbers)
def test_merging_fading_sketches_keeps_what_each_number_weighs(
    ones: list[float], others: list[float]
) -> None:
    mine, yours = sketch(ones, half_life=5.0), sketch(others, half_life=5.0)
    weighs = 2.0**-0.2
    whole = sum(weighs**age for age in range(len(ones)))
    whole += sum(weighs**age for age in range(len(others)))
    mine.merge(yours)
    buckets = mine.to_state()["buckets"]
    assert isinstance(buckets, list)
    # what weighs less than a thousandth may have been given up
    assert sum(buckets) == pytest.approx(whole, abs=0.05)


def test_sketches_that_fade_differently_cannot_be_merged() -> None:
    with pytest.raises(ValueError, match="half-lives"):
        Sketch().merge(Sketch(half_life=3.0))


@given(values=numbers, fades=st.booleans(), share=shares)
def test_a_sketch_comes_back_from_its_state(values: list[float], fades: bool, share: float) -> None:
    made = sketch(values, half_life=7.0 if fades else None)
    again = Sketch.from_state(json.loads(json.dumps(made.to_state())))
    for one in (made, again):
        one.add(3.0)
    assert again.quantile(share) == made.quantile(share)
    assert again.count == made.count
    assert again.effective == pytest.approx(made.effective)


GOOD = sketch([1.0, 2.0]).to_state()


@pytest.mark.parametrize(
    "broken",
    [
        {"error": 0.5},
        {"half_life": "long"},
        {"half_life": 0.0},
        {"count": None},
        {"first": 1.5},
        {"first": 10**9},
        {"buckets": "many"},
        {"buckets": [1.0, -1.0]},
        {"buckets": [float("nan")]},
        {"buckets": [1.0] * 1000},
        {"squares": None},
    ],
)
def test_what_is_no_state_is_refused(broken: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"state of a sketch|half-life"):
        Sketch.from_state({**GOOD, **broken})


def test_nothing_is_known_of_no_numbers() -> None:
    empty = Sketch()
    assert (empty.quantile(0.5), empty.count, empty.effective) == (None, 0, 0.0)
    assert empty.interval(0.5) == (None, None)


@pytest.mark.parametrize(
    ("value", "weight"),
    [(-1.0, 1.0), (float("nan"), 1.0), (float("inf"), 1.0), (1.0, 0.0), (1.0, float("nan"))],
)
def test_what_is_no_measurement_is_refused(value: float, weight: float) -> None:
    with pytest.raises(ValueError, match="a value from 0 up"):
        Sketch().add(value, weight)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="a share"):
        sketch([1.0]).quantile(share)
    with pytest.raises(ValueError, match="a share"):
        sketch([1.0]).interval(share)


def test_a_half_life_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="half-life"):
        Sketch(half_life=0.0)


def test_numbers_out_of_range_count_as_the_ends_of_it() -> None:
    assert sketch([0.0]).quantile(0.5) == pytest.approx(LEAST, rel=RELATIVE_ERROR)
    assert sketch([1e300]).quantile(0.5) == pytest.approx(MOST, rel=RELATIVE_ERROR)


@given(values=st.lists(st.floats(0.0, 1e300), min_size=1, max_size=50))
def test_a_sketch_never_has_more_buckets_than_stated(values: list[float]) -> None:
    buckets = sketch([LEAST, MOST, *values]).to_state()["buckets"]
    assert isinstance(buckets, list)
    assert len(buckets) <= 519


def test_a_weight_is_as_good_as_so_many_numbers() -> None:
    made = Sketch()
    made.add(10.0, 9.0)
    made.add(1000.0, 1.0)
    assert made.quantile(0.9) == pytest.approx(10.0, rel=RELATIVE_ERROR)
    assert made.quantile(0.95) == pytest.approx(1000.0, rel=RELATIVE_ERROR)


# -- fading


def test_a_number_counts_half_after_a_half_life() -> None:
    made = sketch([10.0], half_life=4.0)
    for _ in range(4):
        made.add(1000.0)
    state = made.to_state()["buckets"]
    assert isinstance(state, list)
    assert state[0] == pytest.approx(0.5)


def test_a_machine_that_became_slower_is_noticed() -> None:
    made = sketch([100.0] * 5000, half_life=100.0)
    after: list[float] = []
    for number in range(1, 301):
        made.add(200.0)
        if made.quantile(0.9) == pytest.approx(200.0, rel=RELATIVE_ERROR):
            after.append(float(number))
            break
    for number in range(2, 301):
        made.add(200.0)
        if made.quantile(0.5) == pytest.approx(200.0, rel=RELATIVE_ERROR):
            after.append(float(number))
            break
    assert after[0] <= 17  # log2(1 / 0.9) half-lives
    assert after[1] <= 100


def test_what_faded_away_takes_no_room() -> None:
    made = sketch([LEAST, MOST], half_life=2.0)
    for _ in range(100):
        made.add(50.0)
    buckets = made.to_state()["buckets"]
    assert isinstance(buckets, list)
    assert len(buckets) == 1
    assert made.quantile(1.0) == pytest.approx(50.0, rel=RELATIVE_ERROR)
    assert made.count == 102


# -- how sure a quantile is


@pytest.mark.parametrize("n", [1, 5, 10, 37, 100])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_the_ranks_are_those_of_the_binomial(n: int, share: float) -> None:
    def chance_below(k: int) -> float:
        return sum(comb(n, j) * share**j * (1 - share) ** (n - j) for j in range(k))

    lows = [k for k in range(1, n + 1) if 1 - chance_below(k) >= 0.95]
    highs = [k for k in range(1, n + 1) if chance_below(k) >= 0.95]
    expected = (max(lows, default=None), min(highs, default=None))
    assert order_ranks(n, share, 0.9) == expected


def test_more_numbers_never_widen_the_ranks() -> None:
    widths = [
        (high or n) / n - (low or 0) / n
        for n, (low, high) in ((n, order_ranks(n, 0.9, 0.9)) for n in (10, 40, 160, 640, 2560))
    ]
    assert widths == sorted(widths, reverse=True)


@pytest.mark.parametrize(("share", "level"), [(0.0, 0.9), (1.0, 0.9), (0.5, 0.0), (0.5, 1.0)])
def test_ranks_of_no_quantile_are_refused(share: float, level: float) -> None:
    with pytest.raises(ValueError, match="a share and a level"):
        order_ranks(10, share, level)


@pytest.mark.parametrize("half_life", [None, 30.0])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_the_interval_holds_the_quantile_of_the_source_as_often_as_it_says(
    half_life: float | None, share: float
) -> None:
    deviation = {0.5: 0.0, 0.9: 1.2815515655446004}[share]
    true = 2.718281828459045 ** (7.0 + 0.8 * deviation)
    dice = Random(20260101)
    too_high = too_low = 0
    for _ in range(600):
        made = Sketch(half_life=half_life)
        for _ in range(120):
            made.add(dice.lognormvariate(7.0, 0.8))
        low, high = made.interval(share)
        too_high += low is not None and low > true
        too_low += high is not None and high < true
    # 5 % each; a rate of 5 % exceeds 46 of 600 once in a thousand seeds
    assert max(too_high, too_low) <= 46


@given(values=numbers, share=st.sampled_from([0.1, 0.5, 0.9]))
def test_the_interval_holds_the_estimate(values: list[float], share: float) -> None:
    made = sketch(values)
    low, high = made.interval(share)
    found = made.quantile(share)
    assert found is not None
    assert low is None or low < found
    assert high is None or found < high
