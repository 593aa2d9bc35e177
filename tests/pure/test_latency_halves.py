"""Both halves of the evidence on latency: answers within the old p90, and their mean speed."""

from __future__ import annotations

import pytest

from arbiter.stats.adaptive import AGrapaE
from arbiter.stats.bets import Grid, Side
from arbiter.stats.evalues import average
from arbiter.stats.latency import LatencyE, speed
from arbiter.stats.sequential import EProcess

GRIDS = {
    Side.WORSE: Grid(
        side=Side.WORSE, margin=0.0, ratios=(0.95, 0.85, 0.60), weights=(0.4, 0.4, 0.2)
    ),
    Side.NOT_WORSE: Grid(
        side=Side.NOT_WORSE, margin=0.0, ratios=(1.01, 1.03, 1.08), weights=(0.3, 0.4, 0.3)
    ),
}


@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize("tolerance", [0.0, 0.25])
def test_the_evidence_is_the_mean_of_what_both_halves_say(side: Side, tolerance: float) -> None:
    found = LatencyE(side=side, median_s=1.0, p90_s=2.0, tolerance=tolerance)
    within = EProcess(GRIDS[side], prior_mean=0.9)
    quick = AGrapaE(side=side, margin=0.0)
    for number in range(80):
        is_new = number % 2 == 1
        taken_s = (0.5, 1.7, 2.0, 2.4, 1.1)[number % 5]
        fair_s = taken_s / (1.0 + tolerance) if is_new else taken_s
        found.update(taken_s, is_new, 0.4)
        within.update(float(fair_s <= 2.0), is_new, 0.4)
        quick.update(speed(fair_s, 1.0), is_new, 0.4)
    assert found.log_e == pytest.approx(average((within.log_e, quick.log_e)))
    assert (found.side, found.tolerance) == (side, tolerance)


def proved(side: Side, *, old_s: float, new_s: float) -> bool:
    one = LatencyE(side=side, median_s=1.0, p90_s=2.0)
    for _ in range(800):
        one.update(old_s, False, 0.5)
        one.update(new_s, True, 0.5)
    return one.e > 20.0


def test_who_is_slower_within_the_old_bound_is_noticed_by_the_mean_speed_alone() -> None:
    assert proved(Side.WORSE, old_s=0.5, new_s=1.9)
    assert not proved(Side.WORSE, old_s=1.9, new_s=0.5)
    assert proved(Side.NOT_WORSE, old_s=1.9, new_s=0.5)
    assert not proved(Side.NOT_WORSE, old_s=0.5, new_s=1.9)


def test_an_old_version_whose_answers_all_take_the_same_time_has_quantiles() -> None:
    alike = LatencyE(side=Side.WORSE, median_s=1.0, p90_s=1.0)
    assert alike.log_e == pytest.approx(0.0, abs=1e-12)


def test_who_answers_at_once_has_the_best_score() -> None:
    assert (speed(0.0, 2.0), speed(0.0001, 2.0)) == (1.0, 1.0)


@pytest.mark.parametrize("median_s", [0.0, float("inf"), -1.0])
def test_a_median_that_is_none_is_refused(median_s: float) -> None:
    with pytest.raises(ValueError, match="a latency is 0 seconds or more"):
        speed(1.0, median_s)
