"""How soon something will be used again, from when it was used."""

from __future__ import annotations

from math import exp, log

import pytest

from arbiter.pool.usage import HALF_LIFE_S, HORIZON_S, Usage


def used(*times: float) -> Usage:
    usage = Usage(0.0)
    for now in times:
        usage.add(now)
    return usage


def test_what_was_never_used_counts_for_nothing() -> None:
    never = used()
    assert (never.last, never.count(0.0), never.chance(0.0)) == (0.0, 0.0, 0.0)


def test_a_use_counts_half_after_its_half_life_and_a_quarter_after_two() -> None:
    once = used(1_000.0)
    assert once.count(1_000.0) == 1.0
    assert once.count(1_000.0 + HALF_LIFE_S) == pytest.approx(0.5)
    assert once.count(1_000.0 + 2 * HALF_LIFE_S) == pytest.approx(0.25)
    assert once.last == 1_000.0


def test_a_use_adds_to_what_is_left_of_those_before() -> None:
    assert used(0.0, HALF_LIFE_S, 2 * HALF_LIFE_S).count(2 * HALF_LIFE_S) == pytest.approx(1.75)


def test_what_is_used_at_a_steady_rate_is_used_again_as_a_poisson_process_says() -> None:
    # once a minute for a day: after ten more minutes without one use has a chance of e to the -10
    steady = used(*range(0, 86_400, 60))
    assert steady.chance(86_340.0) == pytest.approx(1 - exp(-HORIZON_S / 60), abs=1e-4)


def test_a_single_use_is_as_likely_as_not_to_be_followed_by_another() -> None:
    assert used(5.0).chance(5.0) == pytest.approx(1 - exp(-HORIZON_S * log(2) / HALF_LIFE_S))
    assert used(5.0).chance(5.0 + HALF_LIFE_S) == pytest.approx(1 - 0.5**0.5)
