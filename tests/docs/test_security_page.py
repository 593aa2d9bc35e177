"""Every promise of the locks has a test that carries its id, or a reason why there is none yet."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/reference/security.md").read_text(encoding="utf-8")
IDS = {f"S-{number:02d}" for number in range(1, 40)}


def rows(heading: str) -> dict[str, str]:
    """The rows of one table of the page: id and all that follows."""
    part = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return dict(re.findall(r"^\| (S-\d\d) \| (.+) \|$", part, re.MULTILINE))


def claimed() -> dict[str, list[str]]:
    """The tests that carry each id: by the mark on them, as it stands in the source."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for id_ in _ids_of(node):
                    found.setdefault(id_, []).append(f"{path.name}::{node.name}")
    return found


def _ids_of(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    marks = [one for one in node.decorator_list if isinstance(one, ast.Call)]
    return [
        str(ast.literal_eval(given))
        for mark in marks
        if ast.unparse(mark.func) == "pytest.mark.security"
        for given in mark.args
    ]


@pytest.mark.parametrize("id_", sorted(IDS))
def test_a_promise_has_a_test_or_a_reason(id_: str) -> None:
    is_held, is_listed = id_ in rows("Held by tests"), id_ in rows("Without a test yet")
    assert is_held != is_listed
    assert is_held == bool(claimed().get(id_))


def test_no_test_claims_what_nobody_promised() -> None:
    assert set(claimed()) <= IDS
    assert set(rows("Held by tests")) | set(rows("Without a test yet")) == IDS
