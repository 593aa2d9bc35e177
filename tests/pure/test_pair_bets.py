"""The bets on pairs by hand: nothing is won before a pair, and what is staked was known before."""

from __future__ import annotations

from math import log

import pytest

from arbiter.stats.bets import Side
from arbiter.stats.pairs import PairE

PAIRS = [(1.0, 0.0), (1.0, 0.5), (0.0, 1.0), (1.0, 1.0), (0.75, 0.25), (0.0, 0.0)]


@pytest.mark.parametrize("side", list(Side))
def test_before_any_pair_nothing_is_won_or_lost(side: Side) -> None:
    one = PairE(side=side, margin=0.1)
    assert (one.log_e, one.e) == (0.0, 1.0)


def test_the_first_pair_is_bet_on_by_nobody_who_believes_in_no_side() -> None:
    for side in Side:
        one = PairE(side=side, margin=0.1)
        one.update(1.0, 0.0)
        assert one.log_e == 0.0


@pytest.mark.parametrize("margin", [0.0, 0.2])
@pytest.mark.parametrize(
    ("side", "equal"), [(Side.WORSE, 0.0), (Side.NOT_WORSE, 0.0), (Side.NOT_WORSE, 50.0)]
)
def test_each_stake_is_the_mean_gain_so_far_over_the_mean_square(
    side: Side, margin: float, equal: float
) -> None:
    one = PairE(side=side, margin=margin, equal=equal)
    kept, won = 1.0 - margin, 0.0
    gains: list[float] = []
    olds: list[float] = []
    for old, new in PAIRS * 2 + [(new, old) for old, new in PAIRS] * 4:
        # one pair is believed beforehand: a gain of 0, a square of 1/4, an old score of 1/2
        n = len(gains) + 1
        old_mean = (0.5 + sum(olds)) / n
        mean = (sum(gains) + equal * margin * old_mean) / (n + equal)
        square = (0.25 + sum(gain * gain for gain in gains)) / n
        # no loss takes more than half of what there is
        most = 0.5 if side is Side.WORSE else 0.5 / kept
        gain = kept * old - new if side is Side.WORSE else new - kept * old
        won += log(1.0 + min(max(0.0, mean) / square, most) * gain)
        one.update(old, new)
        gains.append(gain)
        olds.append(old)
        assert one.log_e == pytest.approx(won)
    assert won != 0.0
