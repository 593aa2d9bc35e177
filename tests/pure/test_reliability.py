from __future__ import annotations

from random import Random

from arbiter.stats.bets import Grid
from arbiter.stats.reliability import FAILS_MORE, reliability, reliable


def after(grid: Grid, answers: float, *, units: int, seed: int = 1) -> float:
    """The e-value when 99 of 100 answers of the old model come, and so many of the new one's."""
    dice, process = Random(seed), reliability(grid)
    for _ in range(units):
        is_new = dice.random() < 0.5
        process.update(float(dice.random() < (answers if is_new else 0.99)), is_new, 0.5)
    return process.e


def test_one_failure_in_ten_is_soon_too_many() -> None:
    assert after(FAILS_MORE, 0.90, units=300) > 20


def test_failing_as_rarely_as_before_is_no_harm() -> None:
    assert after(FAILS_MORE, 0.99, units=1500) < 5


def test_failing_as_rarely_as_before_is_proved_in_time() -> None:
    assert after(reliable(0.02), 0.99, units=2000) > 20


def test_failing_by_more_than_the_margin_is_not_called_reliable() -> None:
    assert after(reliable(0.02), 0.96, units=2000) < 5
