from __future__ import annotations

from math import inf, isfinite, nan
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbiter.stats.bets import Side
from arbiter.stats.pairs import PairE

scores = st.floats(0.0, 1.0)
margins = st.sampled_from([0.0, 0.02, 0.05, 0.1, 0.3])


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


def test_a_bet_on_equal_models_is_rarely_wrong_and_proves_more_of_them() -> None:
    dice, wrong = Random(13), 0
    for _ in range(100):
        pairs = PairE(side=Side.NOT_WORSE, margin=0.05, equal=200.0)
        wrong += proves(pairs, dice, 0.76, prompts=300)
    assert wrong <= 13
    plain, bold = (
        [
            proves(
                PairE(side=Side.NOT_WORSE, margin=0.05, equal=equal), Random(seed), 0.8, prompts=300
            )
            for seed in range(60)
        ]
        for equal in (0.0, 200.0)
    )
    assert sum(bold) > sum(plain)


def test_a_belief_that_both_are_equal_is_a_number_of_pairs_and_no_bet_against_it() -> None:
    for side, equal in ((Side.WORSE, 1.0), (Side.NOT_WORSE, -1.0), (Side.NOT_WORSE, inf)):
        with pytest.raises(ValueError, match="equal"):
            PairE(side=side, margin=0.05, equal=equal)
