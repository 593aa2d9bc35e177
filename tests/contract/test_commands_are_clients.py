"""The command line is a client of the control API: it opens no database, and asks what is there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.docs.control import control_routes

CLI = Path(__file__).parents[2] / "src" / "arbiter" / "cli"

OPENING = {
    "client.py": "a house for this command alone, when none runs: spoken to through its door",
    "main.py": "`arbiter up` is the house",
}
APART = {
    "bench.py": "measures this machine, with houses of its own",
    "demo.py": "shows the main job, with houses of its own",
    "doctor.py": "has to work when the house does not; reads, and changes nothing",
    "replay.py": "reads a log, or a snapshot of a data directory, perhaps of another house",
    "replay_swap.py": "replays a table",
    "simulate.py": "simulates",
}
"""Commands that are no client of a house, and why."""

WITHOUT_COMMANDS = {
    *("__init__.py", "client.py", "options.py", "output.py", "plots.py", "costs_page.py"),
    *("foreign.py", "found.py", "main.py", "reloading.py"),
}


def trees() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(CLI.glob("*.py")):
        yield path.name, ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.Module) -> set[str]:
    return {
        f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module is not None
        for alias in node.names
    }


def test_only_two_modules_open_a_house_and_none_a_database() -> None:
    opening = {name for name, tree in trees() if "arbiter.app.open_house" in imported(tree)}
    assert opening == set(OPENING)
    storing = {
        name
        for name, tree in trees()
        for one in imported(tree)
        if one.startswith("arbiter.storage")
    }
    assert storing == set()


def test_every_other_command_speaks_to_the_house() -> None:
    speaking = {name for name, tree in trees() if "arbiter.cli.client.Client" in imported(tree)}
    silent = {name for name, _ in trees()} - speaking - WITHOUT_COMMANDS
    assert silent == set(APART)


def what_is_asked() -> Iterator[tuple[str, str, str]]:
    """Every address that a command asks: module, method, path; what is filled in is ``x``."""
    for name, tree in trees():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            function = ast.unparse(node.func).rpartition(".")[2]
            texts = [one for one in map(_written, node.args) if one is not None]
            if function in {"listed", "show_list"} and texts:
                yield name, "GET", texts[0]
            methods = [one for one in texts if one in {"GET", "POST", "PUT", "DELETE"}]
            paths = [one for one in texts if one.startswith("/")]
            if methods and paths:
                yield name, methods[0], paths[0]


def _written(node: ast.expr) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(part.value) if isinstance(part, ast.Constant) else "x" for part in node.values
        )
    return None


def test_every_address_that_a_command_asks_is_described() -> None:
    described = [
        (method, re.compile(re.sub(r"\{\w+\}", ".+", path.removeprefix("/control/v1"))))
        for method, path, _ in control_routes()
    ]
    found = list(what_is_asked())
    assert len({(method, path) for _, method, path in found}) > 30
    assert [
        one for one in found if not any(fits(one, method, path) for method, path in described)
    ] == []


def fits(asked: tuple[str, str, str], method: str, path: re.Pattern[str]) -> bool:
    """Whether this is what is asked. An address may end with a query: ?x, or an x that is one."""
    _, wanted, address = asked
    bare = re.sub(r"(\?.*|(?<=[a-z])x)$", "", address)
    return method == wanted and bool(path.fullmatch(address) or path.fullmatch(bare))
