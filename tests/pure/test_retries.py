"""The house's budget of second tries: whatever comes and fails, it is never overdrawn."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from arbiter.pool.retries import WINDOW_S, Retries

STEPS = st.lists(
    st.tuples(st.sampled_from(["came", "failed"]), st.floats(0, 3, allow_nan=False)), max_size=200
)


@given(STEPS, st.sampled_from([0.0, 0.1, 0.2, 1.0]), st.integers(0, 5))
def test_in_any_window_no_more_is_tried_again_than_the_share_and_the_floor(
    steps: list[tuple[str, float]], share: float, floor: int
) -> None:
    retries, now = Retries(share=share, floor=floor), 1_000.0
    came: list[int] = []
    again: list[int] = []
    for what, pause in steps:
        now += pause
        if what == "came":
            retries.came(now)
            came.append(int(now))
        elif retries.may(now):
            again.append(int(now))
        oldest = int(now) - WINDOW_S + 1
        seen = retries.allowance(now)
        assert seen.requests == sum(at >= oldest for at in came)
        assert seen.retries == sum(at >= oldest for at in again)
        if what == "failed" and again and again[-1] == int(now):
            assert seen.retries <= seen.allowed or share > 0
    assert retries.allowance(now).retried == len(again)


@given(st.integers(1, 400))
def test_a_backend_that_fails_all_of_a_steady_load_gets_a_fifth_more_and_no_double(
    a_second: int,
) -> None:
    retries, asked = Retries(share=0.2, floor=32), 0
    for second in range(100, 160):
        for _ in range(a_second):
            retries.came(float(second))
            asked += 1 + retries.may(float(second))
    more = asked - 60 * a_second
    # six whole windows, each with its floor; and none may have more than its share of itself
    assert more <= 0.2 * 60 * a_second + 6 * 32 + 7


def test_what_was_spent_comes_back_after_ten_seconds() -> None:
    retries = Retries(share=0.0, floor=2)
    assert [retries.may(5.0) for _ in range(3)] == [True, True, False]
    assert not retries.may(5.0 + WINDOW_S - 1)
    assert retries.may(5.0 + WINDOW_S)
    found = retries.allowance(5.0 + WINDOW_S)
    assert (found.retried, found.refused) == (3, 2)


def test_a_clock_that_goes_back_gives_nothing_away() -> None:
    retries = Retries(share=0.0, floor=1)
    assert retries.may(50.0)
    assert not retries.may(20.0)


def test_other_bounds_count_at_once() -> None:
    retries = Retries(share=0.0, floor=0)
    assert not retries.may(1.0)
    retries.reconfigure(share=0.0, floor=1)
    assert retries.may(1.0)
