"""Which tests are nearest to a module, by what they import."""

from __future__ import annotations

import ast
from pathlib import Path


def imports(text: str) -> frozenset[str]:
    """Every dotted name that a file imports, members of packages included.

    >>> sorted(imports("from arbiter.swap import rollout"))
    ['arbiter.swap', 'arbiter.swap.rollout']
    """
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return frozenset(found)


def nearest_tests(root: Path, module: str) -> tuple[str, ...]:
    """The files under tests/pure that import this module, themselves or through the fewest others.

    Paths are relative to the root. A helper beside the tests counts as one of the others. Empty
    when no test reaches the module at all.
    """
    known: dict[str, frozenset[str]] = {}
    for base, folder in ((root / "src", "arbiter"), (root, "tests/pure")):
        for path in sorted((base / folder).rglob("*.py")):
            name = ".".join(path.relative_to(base).with_suffix("").parts)
            name = name.removesuffix(".__init__")  # a package offers what its modules hold
            known[name] = imports(path.read_text(encoding="utf-8"))
    seen = ring = {module}
    while ring:
        ring = {name for name, told in known.items() if told & ring} - seen
        tests = sorted(name for name in ring if name.startswith("tests.pure.test_"))
        if tests:
            return tuple(f"{name.replace('.', '/')}.py" for name in tests)
        seen = seen | ring
    return ()
