"""The tree of errors: what clients may rely on."""

from __future__ import annotations

import re

import pytest

from arbiter import errors
from arbiter.errors import ArbiterError, Busy, EngineError, EngineRefused, PromptTooLong


def family(root: type[ArbiterError]) -> list[type[ArbiterError]]:
    return [root, *(one for child in root.__subclasses__() for one in family(child))]


EVERY = [cls for cls in family(ArbiterError) if cls.__module__ == errors.__name__]


def drawn() -> list[tuple[str, int]]:
    """Each class in the tree at the top of the module, with its depth."""
    found = re.findall(
        r"^    ((?:[│ ]   )*)(?:[├└]── )?([A-Z]\w+)", str(errors.__doc__), re.MULTILINE
    )
    return [(name, len(indent) // 4 + (name != "ArbiterError")) for indent, name in found]


def defined(root: type[ArbiterError] = ArbiterError, depth: int = 0) -> list[tuple[str, int]]:
    below = [one for child in root.__subclasses__() for one in defined(child, depth + 1)]
    return [(root.__name__, depth), *below] if root.__module__ == errors.__name__ else below


def test_the_tree_at_the_top_is_the_tree_below() -> None:
    assert drawn() == defined()


def test_every_code_is_its_own() -> None:
    codes = [cls.code for cls in EVERY]
    assert sorted(codes) == sorted(set(codes))


@pytest.mark.parametrize("cls", EVERY)
def test_every_class_has_a_code_of_its_own_in_small_letters(cls: type[ArbiterError]) -> None:
    assert "code" in vars(cls)
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", cls.code)


@pytest.mark.parametrize("cls", EVERY)
def test_every_status_says_who_is_at_fault(cls: type[ArbiterError]) -> None:
    assert 400 <= cls.status <= 599


@pytest.mark.parametrize("cls", EVERY)
def test_the_docstring_is_the_default_message_and_a_sentence(cls: type[ArbiterError]) -> None:
    error = cls.__new__(cls)
    ArbiterError.__init__(error)  # as if nothing were handed in, whatever else a class needs
    message = error.message
    assert message == str(cls.__doc__).splitlines()[0]
    assert re.fullmatch(r"[A-Z][^\n]*\.", message)


@pytest.mark.parametrize("cls", family(EngineError))
def test_an_engines_failure_is_not_ours_unless_the_request_was_at_fault(
    cls: type[ArbiterError],
) -> None:
    assert cls.ours is (cls in {EngineRefused, PromptTooLong})


@pytest.mark.parametrize("cls", family(Busy))
def test_whoever_finds_the_house_busy_may_try_again(cls: type[ArbiterError]) -> None:
    assert cls.retryable


def test_an_error_reads_as_its_message_with_what_to_do() -> None:
    error = Busy("Too many wait.", hint="Try again.", param="model", retry_after_s=2)
    assert str(error) == error.sentence == "Too many wait. Try again."
    assert (error.param, error.retry_after_s, error.decision) == ("model", 2, None)


def test_an_error_without_a_hint_is_its_message() -> None:
    assert str(Busy("Too many wait.")) == "Too many wait."
