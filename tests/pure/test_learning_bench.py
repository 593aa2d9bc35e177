"""The bench of the learner: pools that are drawn, and the table that is printed of them."""

from __future__ import annotations

from random import Random

import pytest
from bench.learning import KINDS, PLANS, drawn, table


@pytest.mark.parametrize("name", KINDS)
def test_a_pool_is_drawn_as_its_kind_says(name: str) -> None:
    kind = KINDS[name]
    pool = drawn(kind, Random(1))
    assert len(pool.tasks) == len(pool.rates) == kind.tasks
    assert all(len(row) == kind.versions for row in pool.rates)
    assert all(0.0 < rate < 1.0 for row in pool.rates for rate in row)
    assert sum(pool.shares) == pytest.approx(1.0)
    assert drawn(kind, Random(1)) == pool


def test_a_version_that_leads_is_the_best_of_most_tasks() -> None:
    pools = [drawn(KINDS["one version leads"], Random(seed)) for seed in range(40)]
    led = [row[0] == max(row) for pool in pools for row in pool.rates]
    assert sum(led) / len(led) > 0.7


def test_the_table_has_a_line_for_each_kind_and_tells_no_error_that_is_unknown() -> None:
    row = {said: {"mean": 12.4, "se": 3.2} for said in PLANS}
    lines = table({"some": row | {"single": {"mean": 9.6, "se": None}}})
    assert lines[0].count("|") == lines[1].count("|") == lines[2].count("|")
    assert lines[2].startswith("| some | 10 | 12 (3) |")
