"""What is said of a load that is not tried, and how long a shortage is known for."""

from __future__ import annotations

import pytest

from arbiter.cost import HOST
from arbiter.pool.shortage import BELIEVED_S, Shortage, at_least, ran_out, shortage


def test_who_is_not_loaded_is_told_how_much_there_was_and_is_and_when_it_is_tried() -> None:
    error = ran_out("gpu0", had=3_000_000_000, free=2_499_600_000, left_s=61)
    assert str(error).startswith(
        "Its last load ran out of memory with 3000 MB of it free (gpu0), and now there are 2500 MB."
    )
    assert str(error).endswith("It is tried with as little again in 2 minutes.")
    assert "arbiter models unload NAME" in str(error)
    assert error.retry_after_s == 61


def test_a_second_shortage_keeps_the_larger_bound_while_the_first_is_believed() -> None:
    first = Shortage(had={HOST: 7, "gpu": 3}, until=100.0)
    found = shortage(first, {HOST: 5}, 99.0)
    assert found == Shortage(had={HOST: 7, "gpu": 3}, until=99.0 + BELIEVED_S[1], times=2)


def test_one_that_is_not_believed_any_more_counts_and_says_nothing() -> None:
    first = Shortage(had={HOST: 7, "gpu": 3}, until=100.0, times=2)
    found = shortage(first, {HOST: 5}, 100.0)
    assert found == Shortage(had={HOST: 5}, until=100.0 + BELIEVED_S[2], times=3)


@pytest.mark.parametrize(
    ("now", "need"), [(99.0, {HOST: 8, "gpu": 4, "disk": 1}), (100.0, {HOST: 2, "disk": 1})]
)
def test_a_need_is_raised_in_every_memory_for_as_long_as_it_is_believed(
    now: float, need: dict[str, int]
) -> None:
    known = Shortage(had={HOST: 7, "gpu": 3}, until=100.0)
    assert at_least({HOST: 2, "disk": 1}, known, now) == need


def test_a_need_that_is_larger_than_any_shortage_stays() -> None:
    assert at_least({HOST: 9}, Shortage(had={HOST: 7}, until=1.0), 0.0) == {HOST: 9}
    assert at_least({HOST: 9}, None, 0.0) == {HOST: 9}
