"""Which modules are measured by small faults, and that their examples are among the tests."""

from __future__ import annotations

import tomllib

from bench.examples import failures, written
from bench.mutation import ROOT, pure_modules

SOURCE = '''
def double(number):
    """Twice as much.

    >>> double(4)
    8
    """
    return 2 * number
'''


def test_every_module_that_may_only_decide_is_measured() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    (named,) = (one["source_modules"] for one in contracts if one["name"] == "Decisions are pure")
    measured = pure_modules()
    missed = [
        name
        for name in named
        if not any(module == name or module.startswith(f"{name}.") for module in measured)
    ]
    assert missed == []


def test_every_measured_module_is_there() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = settings["tool"]["mutmut"]["only_mutate"]
    assert [pattern for pattern in patterns if not list(ROOT.glob(pattern))] == []


def test_the_examples_of_a_module_are_tests_of_it() -> None:
    tests = written("doubled", SOURCE)
    assert tests is not None
    assert ">>> double(4)" in tests
    compile(tests, "tests", "exec")


def test_an_example_that_comes_out_otherwise_is_noticed() -> None:
    assert failures("math", "floor", ">>> floor(2.5)\n2\n>>> floor(3.5)\n4") == 1


def test_a_module_without_examples_has_no_such_tests() -> None:
    assert written("plain", "def plain():\n    'Nothing to show.'\n") is None
