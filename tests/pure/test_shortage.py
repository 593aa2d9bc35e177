"""What a load that ran out of memory teaches, and for how long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbiter.cost import HOST, Level
from arbiter.pool.shortage import BELIEVED_S, Shortage, at_least, lacking, shortage

BOTH = {HOST: Level(total=90, available=80), "gpu": Level(total=50, available=40)}
ALONE = {HOST: Level(total=90, available=80)}
TWO = {**BOTH, "gpu-2": Level(total=50, available=30)}


@pytest.mark.parametrize(
    ("words", "had", "found"),
    [
        ("cudaMalloc failed: out of memory", BOTH, {"gpu": 40}),
        ("ggml_metal: error: failed to allocate buffer, size = 9 MiB", ALONE, {HOST: 80}),
        ("cudaMalloc failed: out of memory", TWO, {}),
        ("found 1 CUDA devices\nkilled by SIGKILL", BOTH, {HOST: 80}),
        ("found 1 CUDA devices\nstd::bad_alloc", BOTH, {HOST: 80}),
        ("std::bad_alloc", {}, {}),
    ],
)
def test_the_line_that_speaks_of_memory_says_which_memory_was_lacking(
    words: str, had: dict[str, Level], found: dict[str, int]
) -> None:
    assert lacking(words, had) == found


def test_it_is_believed_for_longer_each_time_it_proves_true() -> None:
    found, now = None, 0.0
    for believed_s in (*BELIEVED_S, BELIEVED_S[-1]):
        found = shortage(found, {HOST: 5}, now)
        assert found is not None
        assert found.until == now + believed_s
        now = found.until
    assert at_least({HOST: 1}, found, now) == {HOST: 1}


def test_where_nobody_can_say_which_memory_it_was_nothing_is_learned() -> None:
    assert shortage(None, {}, 0.0) is None
    known = Shortage(had={HOST: 5}, until=9.0)
    assert shortage(known, {}, 1.0) is known


sizes = st.dictionaries(st.sampled_from([HOST, "gpu"]), st.integers(0, 100))
some = st.dictionaries(st.sampled_from([HOST, "gpu"]), st.integers(0, 100), min_size=1)


@given(sizes, st.lists(some, min_size=1, max_size=5))
def test_a_need_is_never_less_than_before_and_more_than_anything_that_was_not_enough(
    need: dict[str, int], had: list[dict[str, int]]
) -> None:
    found = None
    for one in had:
        found = shortage(found, one, 0.0)
    more = at_least(need, found, 1.0)
    assert all(more[memory] >= size for memory, size in need.items())
    assert all(more[memory] > size for one in had for memory, size in one.items())
