"""How many small faults in the pure modules the tests notice: `make mutation`.

    python -m bench.mutation [--floor 70] [--sample DIGITS] [MODULE ...]

mutmut changes one thing at a time in a copy of a module and runs the tests that touch it. Each
module has a tree of its own, ``mutants/MODULE``, with only the tests that are nearest to it
(`bench.nearest_tests`) and its own examples (`bench.examples`): a test of another module that fails
or is slow there stops nothing, and a module takes minutes. Every run is a new one; with ``--sample
05`` it takes a fifth of the time and gives an estimate. MODULE is a dotted name, such as
``arbiter.swap.rollout``; without one it is every pure module, one after the other. A mutant that no
nearest test touches counts as missed, so a score is a lower bound. Some survivors are equivalent
(another sentence in a reason, ``<`` for ``<=`` on a continuous value), so no score reaches 100.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.examples import written
from bench.nearest_tests import nearest_tests

ROOT = Path(__file__).resolve().parent.parent
FLOOR = 70.0
_KILLED = frozenset({"killed", "timeout", "caught by type check", "segfault"})
_EXAMPLES = "tests/pure/test_examples_of_this_module.py"
_NOT_COUNTED = frozenset({"skipped", "check was interrupted by user", "not checked"})


def pure_modules(root: Path = ROOT) -> tuple[str, ...]:
    """The modules that the configuration names, dotted."""
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    patterns: Sequence[str] = settings["tool"]["mutmut"]["only_mutate"]
    found = sorted(path for pattern in patterns for path in root.glob(pattern))
    return tuple(
        ".".join(path.relative_to(root / "src").with_suffix("").parts)
        for path in found
        if path.name != "__init__.py"
    )


def module_of(mutant: str) -> str:
    """The module of a mutant's name.

    >>> module_of("arbiter.swap.rollout.x_begin__mutmut_3")
    'arbiter.swap.rollout'
    """
    return mutant.rpartition(".")[0]


def tally(lines: Sequence[str], modules: Sequence[str]) -> dict[str, Counter[str]]:
    """How many mutants of each module ended how, from what ``mutmut results`` says.

    >>> tally(["  arbiter.refs.x_short__mutmut_1: killed"], ["arbiter.refs"])
    {'arbiter.refs': Counter({'killed': 1})}
    """
    counts: dict[str, Counter[str]] = {module: Counter() for module in modules}
    for line in lines:
        mutant, _, status = line.strip().rpartition(": ")
        module = module_of(mutant)
        if module in counts:
            counts[module][status] += 1
    return counts


def score(counts: Mapping[str, int]) -> float | None:
    """The share of mutants that the tests noticed, in percent; None when there were none.

    >>> score({"killed": 3, "survived": 1, "skipped": 5})
    75.0
    """
    total = sum(count for status, count in counts.items() if status not in _NOT_COUNTED)
    killed = sum(count for status, count in counts.items() if status in _KILLED)
    return 100.0 * killed / total if total else None


def narrowed(configuration: str, source: str, tests: Sequence[str]) -> str:
    r"""The configuration with one file to change and only these tests.

    >>> print(narrowed('[tool.mutmut]\nonly_mutate = ["a.py", "b.py"]\n'
    ...     'pytest_add_cli_args_test_selection = ["tests"]\n', "b.py", ["t.py"]))
    [tool.mutmut]
    only_mutate = ["b.py"]
    pytest_add_cli_args_test_selection = ["t.py"]
    <BLANKLINE>
    """
    told = {"only_mutate": [source], "pytest_add_cli_args_test_selection": list(tests)}
    for key, values in told.items():
        written = f"{key} = {json.dumps(values)}".replace("\\", r"\\")
        listed = re.compile(rf"^{key} = \[.*?\]$", re.MULTILINE | re.DOTALL)
        configuration, found = listed.subn(written, configuration)
        if found != 1:
            raise ValueError(f"pyproject.toml must have one list {key} in [tool.mutmut]")
    return configuration


def _tree(module: str) -> Path | None:
    """A fresh copy to change this module in, or None when no test is near it."""
    source = Path("src", *module.split(".")).with_suffix(".py")
    tests = nearest_tests(ROOT, module)
    examples = written(module, (ROOT / source).read_text(encoding="utf-8"))
    if not tests and examples is None:
        return None
    tree = ROOT / "mutants" / module
    # mutmut keeps what it found, also of tests that are others by now
    shutil.rmtree(tree, ignore_errors=True)
    for name in ("src", "tests", "bench", "training"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(ROOT / "README.md", tree)
    if examples is not None:
        (tree / _EXAMPLES).write_text(examples, encoding="utf-8")
        tests = (*tests, _EXAMPLES)
    configuration = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (tree / "pyproject.toml").write_text(
        narrowed(configuration, source.as_posix(), tests), encoding="utf-8"
    )
    return tree


def _mutmut(tree: Path, *arguments: str, quiet: bool) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).with_name("mutmut")), *arguments],
        cwd=tree,
        env={**os.environ, "HYPOTHESIS_PROFILE": "mutation"},
        stdout=subprocess.PIPE if quiet else None,
        text=True,
        check=False,
    )


def sampled(module: str, digits: str) -> tuple[str, ...]:
    """What to tell mutmut to run only the mutants whose number ends in one of these digits.

    >>> sampled("arbiter.refs", "05"), sampled("arbiter.refs", "")
    (('arbiter.refs.*[05]',), ())
    """
    return (f"{module}.*[{digits}]",) if digits else ()


def _measure(module: str, *, children: int, quiet: bool, digits: str) -> Counter[str] | None:
    """How the mutants of a module ended; None when mutmut could not finish."""
    tree = _tree(module)
    if tree is None:
        return None
    chosen = sampled(module, digits)
    ran = _mutmut(tree, "run", "--max-children", str(children), *chosen, quiet=quiet)
    if ran.returncode:
        return None
    told = _mutmut(tree, "results", "--all", "true", quiet=True)
    return tally(told.stdout.splitlines(), [module])[module]


def main() -> int:
    """Print a score a module and one in all; 1 when that is below the floor, 2 when one stopped."""
    parser = argparse.ArgumentParser(prog="make mutation", description="Mutation score.")
    parser.add_argument("modules", nargs="*", metavar="MODULE")
    parser.add_argument("--floor", type=float, default=FLOOR, help="percent that must be reached")
    parser.add_argument("--children", type=int, default=os.cpu_count() or 2)
    parser.add_argument(
        "--sample", default="", metavar="DIGITS", help="only mutants whose number ends in these"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    chosen = parser.parse_args()
    modules = tuple(chosen.modules) or pure_modules()
    unknown = sorted(set(modules) - set(pure_modules()))
    if unknown:
        parser.error(f"{unknown[0]} is none of: {', '.join(pure_modules())}")
    counts: dict[str, Counter[str]] = {}
    stopped: list[str] = []
    for module in modules:
        found = _measure(module, children=chosen.children, quiet=chosen.json, digits=chosen.sample)
        if found is None:
            stopped.append(module)
        else:
            counts[module] = found
    scores = {module: score(found) for module, found in counts.items()}
    whole = sum(counts.values(), Counter[str]())
    total = score(whole)
    if chosen.json:
        print(json.dumps({"score": total, "floor": chosen.floor, "modules": scores}))
    else:
        _show(counts, whole)
    if stopped:
        print(f"not measured, see above: {', '.join(stopped)}", file=sys.stderr)
        return 2
    if total is None or total < chosen.floor:
        print(f"the score is below {chosen.floor:g} %", file=sys.stderr)
        return 1
    return 0


def _show(counts: Mapping[str, Counter[str]], whole: Counter[str]) -> None:
    print(f"\n{'module':40} {'score':>7}  outcomes")
    for module, found in [*counts.items(), ("all", whole)]:
        share = score(found)
        how = ", ".join(f"{count} {status}" for status, count in sorted(found.items()))
        print(f"{module:40} {'-' if share is None else f'{share:.1f} %':>7}  {how or 'nothing'}")


if __name__ == "__main__":
    sys.exit(main())
