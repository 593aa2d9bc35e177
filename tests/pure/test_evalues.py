from __future__ import annotations

from itertools import permutations
from math import exp, inf, isfinite, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbiter.stats.evalues import average, combine, e_bh, from_log, log_sum


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
    ("es", "alpha", "rejected"),
    [
        ((100.0, 1.0, 1.0, 1.0, 1.0), 0.05, (0,)),
        ((99.0, 1.0, 1.0, 1.0, 1.0), 0.05, ()),
        ((40.0, 9.0, 40.0, 25.0), 0.1, (0, 2, 3)),  # needed: 40, 20, 13.3 and 10
        ((13.4, 13.4, 13.4, 9.9), 0.1, (0, 1, 2)),  # none alone, three together
        ((20.0,), 0.05, (0,)),
        ((), 0.05, ()),
    ],
)
def test_several_nulls_are_rejected_by_the_e_bh_rule(
    es: tuple[float, ...], alpha: float, rejected: tuple[int, ...]
) -> None:
    assert e_bh([log(e) for e in es], alpha) == rejected


@given(st.lists(st.floats(-5.0, 12.0), min_size=1, max_size=12), st.floats(0.01, 0.5))
def test_what_e_bh_rejects_is_larger_than_what_it_does_not(logs: list[float], alpha: float) -> None:
    rejected = e_bh(logs, alpha)
    least = min((logs[index] for index in rejected), default=inf)
    others = [log_e for index, log_e in enumerate(logs) if index not in rejected]
    assert max(others, default=-inf) <= least
    if rejected:
        assert least >= log(len(logs) / (len(rejected) * alpha))


def test_alphas_that_are_none_and_averages_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="alpha"):
        e_bh([1.0], 1.0)
    with pytest.raises(ValueError, match="average"):
        average([])
