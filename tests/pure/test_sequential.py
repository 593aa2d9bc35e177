from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations
from math import exp, inf, isfinite, log, nan
from random import Random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from arbiter.stats.sequential import (
    HARM,
    BalancedMeans,
    EProcess,
    Grid,
    PairE,
    SampleRatio,
    Side,
    bet_factor,
    combine,
    from_log,
    log_sum,
    non_inferiority,
    ripr_bet,
    strict,
)

means = st.floats(0.01, 0.99)
scores = st.floats(0.0, 1.0)
chances = st.floats(0.01, 0.99)
margins = st.sampled_from([0.0, 0.02, 0.05, 0.1, 0.3])
unit_lists = st.lists(st.tuples(scores, st.booleans(), chances), max_size=40)

# Computed outside this code by bisection on the projection: theta_old, theta_new, pi, margin; f, k;
# the factors of an old 0, an old 1, a new 0 and a new 1.
RIPR = (
    ((0.80, 0.600, 0.5, 0.00), (0.700000000, 0.2380952381),
     (0.6666666667, 1.1428571429, 1.3333333333, 0.8571428571)),
    ((0.80, 0.640, 0.1, 0.00), (0.784000000, 0.0850340140),
     (0.9259259260, 1.0204081630, 1.6666666670, 0.8163265310)),
    ((0.80, 0.640, 0.3, 0.05), (0.767284573, 0.1350036130),
     (0.8594187430, 1.0426379320, 1.3280229340, 0.8780108900)),
    ((0.95, 0.855, 0.5, 0.05), (0.931973486, 0.1496498810),
     (0.7350075300, 1.0193423030, 1.2649924700, 0.9656927090)),
)  # fmt: skip
ARMS = ((0.0, False), (1.0, False), (0.0, True), (1.0, True))

# safestats (R), the formulae of calculateETwoProportions with na = nb = 1 and a Beta(.18, .18)
# prior: its vignette's data, the e-value after each block, and the example of its help page.
VIGNETTE_OLD = (1, 1, 1, 1, 1, 1, 0, 1, 1, 1)
VIGNETTE_NEW = (0, 0, 1, 0, 1, 0, 0, 0, 0, 0)
VIGNETTE_E = (1.0, 3.011246, 0.848616, 2.286948, 1.570525, 4.184512, 0.662492, 1.595495,
              4.110689, 11.150295)  # fmt: skip
HELP_OLD = (1, 0, 1, 0, 0, 0, 1)
HELP_NEW = (1, 0, 1, 1, 1, 0, 1)
HELP_E = 1.095505


def side_of(theta_old: float, theta_new: float, margin: float) -> Side:
    return Side.WORSE if theta_new < (1 - margin) * theta_old else Side.NOT_WORSE


@pytest.mark.parametrize(("given_", "bet", "factors"), RIPR)
def test_a_bet_and_its_factors_are_those_of_the_reference(
    given_: tuple[float, float, float, float],
    bet: tuple[float, float],
    factors: tuple[float, ...],
) -> None:
    theta_old, theta_new, pi, margin = given_
    found = ripr_bet(theta_old, theta_new, pi, margin)
    assert found == pytest.approx(bet, abs=2e-9)
    for (score, is_new), factor in zip(ARMS, factors, strict=True):
        assert bet_factor(
            score, is_new, pi, bet=found, margin=margin, side=Side.WORSE
        ) == pytest.approx(factor, abs=2e-9)


def blocks(old: tuple[int, ...], new: tuple[int, ...]) -> Iterator[float]:
    """The product of our two arms' factors, with the running means of Turner's test."""
    e = 1.0
    for n in range(len(old)):
        theta_old = (0.18 + sum(old[:n])) / (0.36 + n)
        theta_new = (0.18 + sum(new[:n])) / (0.36 + n)
        bet = ripr_bet(theta_old, theta_new, 0.5, 0.0)
        side = side_of(theta_old, theta_new, 0.0)
        for score, is_new in ((old[n], False), (new[n], True)):
            e *= bet_factor(float(score), is_new, 0.5, bet=bet, margin=0.0, side=side)
        yield e


def test_at_even_odds_two_arms_multiply_to_turners_two_by_two_test() -> None:
    assert list(blocks(VIGNETTE_OLD, VIGNETTE_NEW)) == pytest.approx(list(VIGNETTE_E), abs=2e-6)
    assert list(blocks(HELP_OLD, HELP_NEW))[-1] == pytest.approx(HELP_E, abs=2e-6)


@given(means, means, chances, margins)
def test_a_factor_is_the_likelihood_ratio_against_the_projection(
    theta_old: float, theta_new: float, pi: float, margin: float
) -> None:
    f, k = ripr_bet(theta_old, theta_new, pi, margin)
    c, side = 1 - margin, side_of(theta_old, theta_new, margin)
    expected = ((1 - theta_old) / (1 - f), theta_old / f,
                (1 - theta_new) / (1 - c * f), theta_new / (c * f))  # fmt: skip
    assume(min(expected) > 0.002)  # the stake is clipped below
    for (score, is_new), ratio in zip(ARMS, expected, strict=True):
        factor = bet_factor(score, is_new, pi, bet=(f, k), margin=margin, side=side)
        assert factor == pytest.approx(ratio, rel=1e-6, abs=1e-9)


@given(means, means, chances, margins, scores, st.booleans())
def test_a_factor_is_positive_whatever_happens(
    theta_old: float, theta_new: float, pi: float, margin: float, score: float, is_new: bool
) -> None:
    bet = ripr_bet(theta_old, theta_new, pi, margin)
    side = side_of(theta_old, theta_new, margin)
    assert bet_factor(score, is_new, pi, bet=bet, margin=margin, side=side) > 0.0


@given(means, means, chances, margins, means)
def test_a_factor_is_worth_one_where_the_null_is_just_true(
    theta_old: float, theta_new: float, pi: float, margin: float, mu_old: float
) -> None:
    bet = ripr_bet(theta_old, theta_new, pi, margin)
    side, mu_new = side_of(theta_old, theta_new, margin), (1 - margin) * mu_old
    chance = ((1 - pi) * (1 - mu_old), (1 - pi) * mu_old, pi * (1 - mu_new), pi * mu_new)
    expected = sum(
        p * bet_factor(score, is_new, pi, bet=bet, margin=margin, side=side)
        for p, (score, is_new) in zip(chance, ARMS, strict=True)
    )
    assert expected == pytest.approx(1.0, rel=1e-9)


@given(unit_lists, st.sampled_from([HARM, strict(0.05), strict(0.1), non_inferiority(0.05)]))
def test_a_replay_is_equal_to_the_last_bit(
    units: list[tuple[float, bool, float]], grid: Grid
) -> None:
    one, other = EProcess(grid), EProcess(grid)
    for unit in units:
        one.update(*unit)
    for unit in units:
        other.update(*unit)
        assert isfinite(other.log_e)
    assert one.log_e.hex() == other.log_e.hex()


def test_an_e_process_is_the_weighted_mean_of_its_alternatives_products() -> None:
    grid = Grid(side=Side.WORSE, margin=0.0, ratios=(0.9, 0.5), weights=(0.6, 0.4))
    process = EProcess(grid, prior_mean=0.8, prior_weight=10.0)
    process.update(1.0, False, 0.3)
    process.update(0.0, True, 0.3)
    expected = 0.0
    for ratio, weight in zip(grid.ratios, grid.weights, strict=True):
        product = 1.0
        for score, is_new, theta in ((1.0, False, 0.8), (0.0, True, 9 / 11)):
            bet = ripr_bet(theta, ratio * theta, 0.3, 0.0)
            product *= bet_factor(score, is_new, 0.3, bet=bet, margin=0.0, side=Side.WORSE)
        expected += weight * product
    assert process.e == pytest.approx(expected, rel=1e-12)


@given(unit_lists, scores, scores)
def test_a_bet_never_depends_on_the_outcome_it_is_laid_on(
    units: list[tuple[float, bool, float]], low: float, high: float
) -> None:
    """What a new unit changes is linear in its score, so its bet was fixed before."""
    factors = []
    for score in (low, high, (low + high) / 2):
        process = EProcess(Grid(side=Side.WORSE, margin=0.05, ratios=(0.8,), weights=(1.0,)))
        for unit in units:
            process.update(*unit)
        before = process.log_e
        process.update(score, True, 0.4)
        factors.append(exp(process.log_e - before))
    assert factors[2] == pytest.approx((factors[0] + factors[1]) / 2, rel=1e-6)


@pytest.mark.parametrize(
    ("score", "pi"),
    [(-0.1, 0.5), (1.1, 0.5), (nan, 0.5), (inf, 0.5), (0.5, 0.0), (0.5, 1.0), (0.5, nan)],
)
def test_scores_and_chances_outside_their_interval_are_refused(score: float, pi: float) -> None:
    with pytest.raises(ValueError, match="lies in"):
        EProcess(HARM).update(score, True, pi)
    with pytest.raises(ValueError, match="lies in"):
        BalancedMeans().update(score, True, pi)
    with pytest.raises(ValueError, match="lies in"):
        bet_factor(score, True, pi, bet=(0.5, 0.1), margin=0.0, side=Side.WORSE)


def test_a_refused_unit_leaves_no_trace() -> None:
    process = EProcess(HARM)
    with pytest.raises(ValueError, match="lies in"):
        process.update(nan, False, 0.5)
    assert process.log_e == EProcess(HARM).log_e


@pytest.mark.parametrize(
    ("theta_old", "theta_new", "margin"),
    [(0.0, 0.5, 0.0), (0.5, 1.0, 0.0), (nan, 0.5, 0.0), (0.5, 0.4, 1.0), (0.5, 0.4, -0.1)],
)
def test_bets_on_impossible_means_are_refused(
    theta_old: float, theta_new: float, margin: float
) -> None:
    with pytest.raises(ValueError, match="lie"):
        ripr_bet(theta_old, theta_new, 0.5, margin)


@pytest.mark.parametrize(
    ("side", "margin", "ratios", "weights", "cap"),
    [
        (Side.WORSE, 0.0, (1.0,), (1.0,), 0.9),
        (Side.NOT_WORSE, 0.05, (0.9,), (1.0,), 0.9),
        (Side.WORSE, 0.0, (0.9,), (0.9,), 0.9),
        (Side.WORSE, 0.0, (0.9, 0.8), (1.0,), 0.9),
        (Side.WORSE, 0.0, (0.9, 0.8), (0.0, 1.0), 0.9),
        (Side.WORSE, 1.0, (0.9,), (1.0,), 0.9),
        (Side.WORSE, 0.0, (0.0,), (1.0,), 0.9),
        (Side.WORSE, 0.0, (0.9,), (1.0,), 1.0),
    ],
)
def test_a_grid_that_could_not_test_its_null_is_refused(
    side: Side, margin: float, ratios: tuple[float, ...], weights: tuple[float, ...], cap: float
) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        Grid(side=side, margin=margin, ratios=ratios, weights=weights, cap=cap)


@pytest.mark.parametrize(("mean", "weight"), [(0.0, 1.0), (1.0, 1.0), (0.5, 0.0), (0.5, inf)])
def test_a_prior_that_is_certain_or_empty_is_refused(mean: float, weight: float) -> None:
    with pytest.raises(ValueError, match="prior"):
        EProcess(HARM, prior_mean=mean, prior_weight=weight)


@given(st.lists(st.floats(-2000, 2000), min_size=1, max_size=5))
def test_combining_ignores_the_order_of_tasks_and_never_overflows(logs: list[float]) -> None:
    combined = {combine(order) for order in permutations(logs)}
    assert len(combined) == 1
    assert isfinite(combined.pop())


@given(st.lists(st.floats(0.01, 100.0), min_size=1, max_size=6))
def test_combining_is_half_the_product_plus_half_the_average(es: list[float]) -> None:
    product = 1.0
    for e in es:
        product *= e
    expected = product / 2 + sum(es) / len(es) / 2
    assert exp(combine(map(log, es))) == pytest.approx(expected, rel=1e-9)


def test_one_task_alone_is_combined_to_itself() -> None:
    assert combine([log(7.0)]) == pytest.approx(log(7.0), abs=1e-15)


def test_nothing_cannot_be_combined() -> None:
    with pytest.raises(ValueError, match="no e-values"):
        combine([])


def test_an_e_value_of_zero_is_a_logarithm_like_any_other() -> None:
    assert log_sum([-inf, -inf]) == log_sum([]) == -inf
    assert log_sum([-inf, 0.0]) == 0.0
    assert from_log(-inf) == 0.0


@pytest.mark.parametrize(
    ("n_old", "n_new", "pi", "e"),
    # savvi 0.3.1, Multinomial.odds with k = 100
    [(550, 450, 0.5, 28.636092457161638), (120, 80, 0.5, 8.437118317907656),
     (60, 940, 0.9, 3492.8258754060334)],
)  # fmt: skip
def test_the_sample_ratio_is_that_of_the_reference(
    n_old: int, n_new: int, pi: float, e: float
) -> None:
    arrivals = SampleRatio()
    for is_new in [False] * n_old + [True] * n_new:
        arrivals.update(is_new, pi)
    assert arrivals.e == pytest.approx(e, rel=1e-9)


def test_each_weight_has_its_own_sample_ratio() -> None:
    mixed, low, high = SampleRatio(), SampleRatio(), SampleRatio()
    dice = Random(5)
    for _ in range(200):
        for alone, pi in ((low, 0.1), (high, 0.5)):
            is_new = dice.random() < 0.4
            mixed.update(is_new, pi)
            alone.update(is_new, pi)
    assert mixed.log_e == pytest.approx(low.log_e + high.log_e, abs=1e-9)
    with pytest.raises(ValueError, match="lies in"):
        mixed.update(True, 0.0)


def test_traffic_that_gets_harder_does_not_make_the_newcomer_look_bad() -> None:
    balanced = BalancedMeans()
    for pi, score in ((0.1, 0.9), (0.5, 0.5)):
        for n in range(100):
            balanced.update(score, n < 100 * pi, pi)
    assert balanced.ratio == pytest.approx(1.0)
    assert balanced.old == pytest.approx(balanced.new)


def test_a_ratio_is_unknown_until_both_arms_have_been_seen() -> None:
    balanced = BalancedMeans()
    assert (balanced.old, balanced.new, balanced.ratio) == (None, None, None)
    balanced.update(1.0, True, 0.5)
    assert (balanced.old, balanced.new, balanced.ratio) == (None, 1.0, None)
    balanced.update(0.0, False, 0.5)
    assert balanced.ratio is not None


def test_two_models_that_never_succeed_are_equal() -> None:
    balanced = BalancedMeans()
    balanced.update(0.0, True, 0.5)
    balanced.update(0.0, False, 0.5)
    assert balanced.ratio == 1.0


@given(unit_lists)
def test_a_ratio_is_shrunk_towards_one(units: list[tuple[float, bool, float]]) -> None:
    balanced = BalancedMeans()
    for unit in units:
        balanced.update(*unit)
    if balanced.ratio is not None and balanced.old and balanced.new:
        raw = balanced.new / balanced.old
        assert min(raw, 1.0) - 1e-9 <= balanced.ratio <= max(raw, 1.0) * (1 + 1e-9)


@given(st.lists(st.tuples(scores, scores), max_size=60), margins, st.sampled_from(Side))
def test_pairs_always_leave_something_to_bet_with(
    pairs: list[tuple[float, float]], margin: float, side: Side
) -> None:
    one, other = PairE(side=side, margin=margin), PairE(side=side, margin=margin)
    for old, new in pairs:
        one.update(old, new)
        other.update(old, new)
        assert isfinite(one.log_e)
        assert one.e > 0.0
    assert one.log_e.hex() == other.log_e.hex()


def correlated_pairs(dice: Random, theta_old: float, theta_new: float) -> tuple[float, float]:
    luck, same = dice.random(), dice.random() < 0.6
    other = luck if same else dice.random()
    return float(luck < theta_old), float(other < theta_new)


def proves(pairs: PairE, dice: Random, theta_new: float, *, prompts: int) -> bool:
    for _ in range(prompts):
        pairs.update(*correlated_pairs(dice, 0.8, theta_new))
        if pairs.e >= 20:
            return True
    return False


@pytest.mark.parametrize(
    ("side", "margin", "theta_new"), [(Side.WORSE, 0.0, 0.64), (Side.NOT_WORSE, 0.05, 0.9)]
)
def test_pairs_prove_a_clear_difference_within_two_hundred_prompts(
    side: Side, margin: float, theta_new: float
) -> None:
    dice, proved = Random(11), 0
    for _ in range(40):
        pairs = PairE(side=side, margin=margin)
        proved += proves(pairs, dice, theta_new, prompts=200)
    assert proved >= 30


@pytest.mark.parametrize(
    ("side", "margin", "theta_new"), [(Side.WORSE, 0.0, 0.8), (Side.NOT_WORSE, 0.05, 0.76)]
)
def test_pairs_are_rarely_wrong_on_the_edge_of_their_null(
    side: Side, margin: float, theta_new: float
) -> None:
    dice, wrong = Random(12), 0
    for _ in range(100):
        pairs = PairE(side=side, margin=margin)
        wrong += proves(pairs, dice, theta_new, prompts=300)
    assert wrong <= 13  # 5 % of 100 exceeds this once in 2,000 seeds


def test_pairs_refuse_what_is_no_score_and_no_margin() -> None:
    for old, new in ((nan, 0.5), (0.5, 1.5)):
        with pytest.raises(ValueError, match="score"):
            PairE(side=Side.WORSE, margin=0.0).update(old, new)
    with pytest.raises(ValueError, match="margin"):
        PairE(side=Side.WORSE, margin=1.0)
