"""Options that ask for another load, and the loads that an Ollama would have made for them."""

from __future__ import annotations

import pytest

from arbiter.pool.pinned_options import NAMES, Avoided, LoadOptions, load_options

LONG: LoadOptions = (("num_ctx", "8192"),)
SHORT: LoadOptions = (("num_ctx", "2048"),)


def counted(*asked: LoadOptions) -> int:
    avoided = Avoided()
    for one in asked:
        avoided.note(one)
    return avoided.count


@pytest.mark.parametrize("name", sorted(NAMES))
def test_what_is_about_loading_is_kept(name: str) -> None:
    assert load_options([(name, 1)]) == ((name, "1"),)


def test_options_are_sorted_so_that_the_same_ones_are_the_same() -> None:
    given = [("num_gpu", 0), ("temperature", 0.2), ("num_ctx", 8192)]
    assert load_options(given) == load_options(reversed(given))
    assert load_options(given) == (("num_ctx", "8192"), ("num_gpu", "0"))


def test_what_is_not_given_asks_for_nothing() -> None:
    assert load_options([("num_ctx", None), ("top_k", 5)]) == ()
    assert load_options([("use_mmap", False)]) == (("use_mmap", "False"),)


def test_a_value_of_any_length_is_kept_short() -> None:
    assert load_options([("num_ctx", "9" * 1000)]) == (("num_ctx", "9" * 40),)


def test_the_first_request_loads_and_reloads_nothing() -> None:
    assert counted() == counted(()) == counted(LONG) == 0


def test_only_a_change_would_have_been_a_reload() -> None:
    assert counted(LONG, LONG, LONG) == 0
    assert counted(LONG, SHORT) == 1
    assert counted(LONG, SHORT, LONG, LONG, ()) == 3
