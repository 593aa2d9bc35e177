"""Evidence from cases that both models were run on: exact values, order, level and power."""

from __future__ import annotations

from itertools import permutations
from math import exp, log
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbiter.stats.bets import Side
from arbiter.stats.case_pairs import STAKES, log_e_of_pairs

scores = st.floats(0.0, 1.0)
pairs = st.lists(st.tuples(scores, scores), max_size=40)
margins = st.sampled_from([0.0, 0.1, 0.5])


def evidence(found: list[tuple[float, float]], side: Side, margin: float = 0.1) -> float:
    return exp(log_e_of_pairs(found, side=side, margin=margin))


def test_no_pairs_are_no_evidence() -> None:
    assert evidence([], Side.WORSE) == evidence([], Side.NOT_WORSE) == 1.0


@pytest.mark.parametrize(
    ("pair", "side", "factors"),
    [
        # c = .9: Z = .9 Y_old - Y_new, at most 1 can be lost
        ((1.0, 0.0), Side.WORSE, (1.09, 1.27, 1.54, 1.855)),
        ((0.0, 1.0), Side.WORSE, (0.9, 0.7, 0.4, 0.05)),
        ((1.0, 1.0), Side.WORSE, (0.99, 0.97, 0.94, 0.905)),
        # Z = Y_new - .9 Y_old, at most .9 can be lost
        ((1.0, 0.0), Side.NOT_WORSE, (0.9, 0.7, 0.4, 0.05)),
        ((0.0, 0.9), Side.NOT_WORSE, (1.1, 1.3, 1.6, 1.95)),
        ((0.5, 0.45), Side.NOT_WORSE, (1.0, 1.0, 1.0, 1.0)),
    ],
)
def test_a_pair_multiplies_each_stake_by_hand(
    pair: tuple[float, float], side: Side, factors: tuple[float, ...]
) -> None:
    for times in (1, 3):
        mean = sum(factor**times for factor in factors) / len(STAKES)
        assert evidence([pair] * times, side) == pytest.approx(mean)


def test_the_order_changes_nothing_not_even_the_last_bit() -> None:
    found = [(1.0, 0.0), (0.3, 0.7), (1.0, 1.0), (0.0, 0.1)]
    logs = {log_e_of_pairs(one, side=Side.WORSE, margin=0.1).hex() for one in permutations(found)}
    assert len(logs) == 1


@given(pairs, margins, st.sampled_from(Side))
def test_nothing_is_ever_lost_whole(
    found: list[tuple[float, float]], margin: float, side: Side
) -> None:
    assert evidence(found, side, margin) > 0.0


@given(margins, st.sampled_from(Side), scores, scores)
def test_on_the_edge_of_its_null_nothing_is_to_be_won(
    margin: float, side: Side, old: float, chance: float
) -> None:
    """A new model that is right with probability ``(1 - margin) old`` gains nothing on average."""
    new = (1.0 - margin) * old
    expected = chance  # any dependence between the two will do: here none, or as much as there is
    both = max(0.0, old + new - 1.0) + expected * (min(old, new) - max(0.0, old + new - 1.0))
    table = {
        (1.0, 1.0): both,
        (1.0, 0.0): old - both,
        (0.0, 1.0): new - both,
        (0.0, 0.0): 1.0 - old - new + both,
    }
    mean = sum(share * evidence([pair], side, margin) for pair, share in table.items())
    assert mean == pytest.approx(1.0)


def test_ten_cases_are_enough_to_see_a_model_that_can_do_nothing() -> None:
    dice, seen = Random(5), 0
    for _ in range(200):
        found = [(float(dice.random() < 0.95), 0.0) for _ in range(10)]
        seen += log_e_of_pairs(found, side=Side.WORSE, margin=0.1) >= log(20)
    assert seen >= 190


def test_it_refuses_what_is_no_score_and_no_margin() -> None:
    with pytest.raises(ValueError, match="score"):
        evidence([(1.5, 0.0)], Side.WORSE)
    with pytest.raises(ValueError, match="score"):
        evidence([(0.0, -0.5)], Side.WORSE)
    for margin in (1.0, -0.1):
        with pytest.raises(ValueError, match="margin"):
            evidence([], Side.WORSE, margin)
