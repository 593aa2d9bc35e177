"""Balanced means by hand: how many there were, and how much units of unlike chances weigh."""

from __future__ import annotations

import pytest

from arbiter.stats.means import BalancedMeans

UNITS = [
    (1.0, False, 0.1),
    (0.0, False, 0.5),
    (1.0, False, 0.5),
    (0.5, True, 0.1),
    (1.0, True, 0.5),
]
PAIRS = [(1.0, 0.0), (0.5, 1.0)]


def means() -> BalancedMeans:
    found = BalancedMeans()
    for unit in UNITS:
        found.update(*unit)
    for pair in PAIRS:
        found.pair(*pair)
    return found


def test_every_unit_and_both_sides_of_every_pair_are_counted() -> None:
    found = means()
    assert (found.n_old, found.n_new) == (3 + 2, 2 + 2)


def weighed(arm: list[tuple[float, float]]) -> tuple[float, float]:
    """The mean of scores with weights, and Kish's effective size of them."""
    whole = sum(weight for _, weight in arm)
    return (
        sum(score * weight for score, weight in arm) / whole,
        whole**2 / sum(weight**2 for _, weight in arm),
    )


def test_a_mean_is_of_all_weights_and_a_ratio_goes_by_their_effective_sizes() -> None:
    # an old unit weighs the chance of having been a new one, and the other way round
    old, n_old = weighed([(1.0, 0.1), (0.0, 0.5), (1.0, 0.5), (1.0, 0.5), (0.5, 0.5)])
    new, n_new = weighed([(0.5, 0.9), (1.0, 0.5), (0.0, 0.5), (1.0, 0.5)])
    found = means()
    assert (found.old, found.new) == pytest.approx((old, new))
    common = (n_old * old + n_new * new) / (n_old + n_new)
    shrunken = [(n * mean + 10.0 * common) / (n + 10.0) for n, mean in ((n_old, old), (n_new, new))]
    assert found.ratio == pytest.approx(shrunken[1] / shrunken[0])


def test_a_ratio_is_worked_out_again_after_each_unit_and_each_pair() -> None:
    found = means()
    told = {found.ratio}
    found.update(0.0, True, 0.5)
    told.add(found.ratio)
    found.pair(0.0, 1.0)
    told.add(found.ratio)
    found.update(1.0, False, 0.5)
    told.add(found.ratio)
    assert len(told) == 4
