"""Which arm a conversation has."""

from __future__ import annotations

from math import nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbiter.inference import Arm
from arbiter.swap.rollout import assign


@given(st.integers().map(str), st.floats(0, 1), st.floats(0, 1))
def test_a_conversation_keeps_its_arm_and_only_ever_moves_to_the_candidate(
    conversation: str, one: float, other: float
) -> None:
    low, high = sorted((one, other))
    assert assign("s", conversation, low) is assign("s", conversation, low)
    if assign("s", conversation, low) is Arm.CANDIDATE:
        assert assign("s", conversation, high) is Arm.CANDIDATE
    assert assign("s", conversation, 0.0) is Arm.STABLE
    assert assign("s", conversation, 1.0) is Arm.CANDIDATE


@pytest.mark.parametrize("weight", [0.05, 0.3, 0.5])
def test_arms_fill_as_the_weight_says(weight: float) -> None:
    drawn = [assign("salt", str(n), weight) for n in range(4000)]
    share = drawn.count(Arm.CANDIDATE) / 4000
    assert share == pytest.approx(weight, abs=4 * (weight * (1 - weight) / 4000) ** 0.5)


def test_another_rollout_draws_other_conversations() -> None:
    one = [assign("one", str(n), 0.5) for n in range(400)]
    other = [assign("other", str(n), 0.5) for n in range(400)]
    assert 140 < sum(a is b for a, b in zip(one, other, strict=True)) < 260


def test_an_arm_is_the_same_on_every_machine() -> None:
    """Sticky means sticky: another hash would move conversations in the middle of a rollout."""
    drawn = [assign("salt", name, 0.5).value for name in ("a", "b", "c", "é\ud800")]
    assert drawn == ["stable", "candidate", "stable", "stable"]


@pytest.mark.parametrize("weight", [-0.1, 1.1, nan])
def test_a_weight_is_a_share(weight: float) -> None:
    with pytest.raises(ValueError, match="weight"):
        assign("s", "c", weight)
