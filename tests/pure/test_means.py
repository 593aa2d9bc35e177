from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbiter.stats.means import BalancedMeans

scores = st.floats(0.0, 1.0)
chances = st.floats(0.01, 0.99)
unit_lists = st.lists(st.tuples(scores, st.booleans(), chances), max_size=40)


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
