"""What is believed beforehand of whether answers come, and which side each bet is on."""

from __future__ import annotations

import pytest

from arbiter.stats.bets import Side
from arbiter.stats.reliability import FAILS_MORE, reliability, reliable
from arbiter.stats.sequential import EProcess


def test_one_in_fifty_failing_is_believed_as_firmly_as_twenty_answers() -> None:
    ours, plain = reliability(FAILS_MORE), EProcess(FAILS_MORE, prior_mean=0.98, prior_weight=20.0)
    others = [
        EProcess(FAILS_MORE),
        EProcess(FAILS_MORE, prior_mean=0.98),
        EProcess(FAILS_MORE, prior_weight=20.0),
    ]
    for number in range(60):
        for one in (ours, plain, *others):
            one.update(float(number % 7 > 0), number % 2 > 0, 0.5)
    assert ours.log_e == plain.log_e
    assert all(abs(ours.log_e - one.log_e) > 0.01 for one in others)


def test_who_answers_as_often_is_proved_to_and_who_fails_more_is_not() -> None:
    assert reliable(0.02).side is Side.NOT_WORSE
    for share, is_proved in ((1.0, True), (0.8, False)):
        bets = reliability(reliable(0.1))
        for number in range(600):
            bets.update(1.0, False, 0.5)
            bets.update(float(number % 10 < 10 * share), True, 0.5)
        assert (bets.e > 20.0) is is_proved


@pytest.mark.parametrize("margin", [0.02, 0.1])
def test_bets_lie_on_both_sides_of_equality_and_inside_the_margin(margin: float) -> None:
    low, even, high = reliable(margin).ratios
    assert 1.0 - margin < low < even == 1.0 < high
