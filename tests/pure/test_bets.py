from __future__ import annotations

from collections.abc import Iterator
from math import nan

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from arbiter.stats.bets import Grid, Side, bet_factor, ripr_bet

means = st.floats(0.01, 0.99)
scores = st.floats(0.0, 1.0)
chances = st.floats(0.01, 0.99)
margins = st.sampled_from([0.0, 0.02, 0.05, 0.1, 0.3])

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
