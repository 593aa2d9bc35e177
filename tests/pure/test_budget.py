"""How many answers a rollout may spoil."""

from __future__ import annotations

import pytest

from arbiter.swap.budget import extra_failures


def test_what_is_spoilt_is_what_the_stable_version_would_have_got_right() -> None:
    assert extra_failures(50, 0.9, 0.7) == pytest.approx(10.0)
    assert extra_failures(200, 0.5, 0.49) == pytest.approx(2.0)


def test_a_better_candidate_spoils_nothing() -> None:
    assert extra_failures(50, 0.7, 0.9) == 0.0
    assert extra_failures(50, 0.7, 0.7) == 0.0


@pytest.mark.parametrize(("stable", "candidate"), [(None, 0.1), (0.9, None), (None, None)])
def test_a_side_without_grades_tells_of_no_loss(
    stable: float | None, candidate: float | None
) -> None:
    assert extra_failures(50, stable, candidate) == 0.0
