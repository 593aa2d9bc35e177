"""Patterns that a hostile answer cannot make run for ever."""

from __future__ import annotations

import pytest

from arbiter.errors import InvalidField
from arbiter.judge.patterns import LONGEST_PATTERN, compiled


def is_in(pattern: str, text: str, *, ignore_case: bool = False) -> bool:
    return compiled(pattern, ignore_case=ignore_case).is_in(text)


def test_a_pattern_is_looked_for_anywhere_in_the_text() -> None:
    assert is_in("[0-9]+", "it is 42.")
    assert not is_in("[0-9]+", "it is forty-two.")


def test_white_space_around_the_text_is_no_part_of_it() -> None:
    assert is_in("^yes$", "\n yes \n")
    assert not is_in("^yes$", "yes no")


def test_case_counts_unless_it_is_said_not_to() -> None:
    assert not is_in("paris", "Paris")
    assert is_in("paris", "Paris", ignore_case=True)


def test_half_a_surrogate_pair_breaks_neither_text_nor_pattern() -> None:
    assert is_in("b", "a\ud800b")
    assert is_in("a.b", "a\ud800b")
    assert is_in("a\ud800b", "a\ud800b")


def test_a_pattern_that_takes_others_for_ever_is_answered_at_once() -> None:
    assert not is_in("^(a+)+$", "a" * 5_000 + "b")


def test_the_longest_pattern_is_taken_and_one_longer_is_not() -> None:
    assert is_in("a" * LONGEST_PATTERN, "a" * LONGEST_PATTERN)
    with pytest.raises(InvalidField, match="at most 1000 characters") as found:
        compiled("a" * (LONGEST_PATTERN + 1), ignore_case=False)
    assert found.value.param == "grader"


@pytest.mark.parametrize(
    ("pattern", "why"), [("(a", "missing )"), (r"(a)\1", "invalid escape"), ("(?=a)", "invalid")]
)
def test_what_is_no_pattern_is_refused_with_what_is_wrong(pattern: str, why: str) -> None:
    with pytest.raises(InvalidField, match="is no pattern") as found:
        compiled(pattern, ignore_case=False)
    assert why in str(found.value)
    assert str(found.value).startswith(f"{pattern!r} is no pattern: ")
    assert "Patterns have RE2's syntax: no references to groups" in str(found.value)
    assert found.value.param == "grader"
