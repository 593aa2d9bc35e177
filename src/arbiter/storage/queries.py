"""Named SQL, read once from the files beside this module.

A query starts with ``-- name: verb_what`` and ends before the next one. Parameters are ``?``:
each driver puts its own mark there. No SQL is built from strings anywhere else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files
from types import MappingProxyType
from typing import Final

_NAME = re.compile(r"^-- name: ([a-z_]+)\s*$", re.MULTILINE)


def named(text: str) -> dict[str, str]:
    r"""The queries of one file.

    >>> named("-- name: one\nSELECT 1;\n-- name: two\nSELECT 2;")
    {'one': 'SELECT 1', 'two': 'SELECT 2'}

    Raises `ValueError` when a name stands twice, has other letters or names nothing.
    """
    found: dict[str, str] = {}
    parts = _NAME.split(text)[1:]
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        if name in found:
            raise ValueError(f"two queries are called {name}")
        found[name] = body.strip().rstrip(";")
        if not found[name] or "-- name:" in body:
            raise ValueError(f"{name} names no query, or the one after it has another name")
    return found


EVERY_REQUEST: Final = ("add_decision", "add_outcome", "add_cost")
"""What nearly every request has written: parents before what refers to them."""


def many(sql: str, count: int) -> str:
    """A statement that puts in so many rows at once.

    >>> many("INSERT INTO a (b, c) VALUES (?, ?) ON CONFLICT (b) DO NOTHING", 2)
    'INSERT INTO a (b, c) VALUES (?, ?), (?, ?) ON CONFLICT (b) DO NOTHING'
    """
    head, _, rest = sql.partition("VALUES (")
    row, _, tail = rest.partition(")")
    return f"{head}VALUES {', '.join([f'({row})'] * count)}{tail}"


def load_queries() -> Mapping[str, str]:
    """Every query of every file. Raises `ValueError` when a name stands twice."""
    found: dict[str, str] = {}
    folder = files("arbiter.storage") / "queries"
    for file in sorted(folder.iterdir(), key=lambda f: f.name):
        if file.name.endswith(".sql"):
            for name, body in named(file.read_text(encoding="utf-8")).items():
                if name in found:
                    raise ValueError(f"two queries are called {name}")
                found[name] = body
    return MappingProxyType(found)


def load_migrations() -> tuple[tuple[int, str, str], ...]:
    """Every migration in order: its number, its name, its SQL."""
    folder = files("arbiter.storage") / "migrations"
    found = [
        (int(file.name[:4]), file.name, file.read_text(encoding="utf-8"))
        for file in folder.iterdir()
        if file.name.endswith(".sql")
    ]
    return tuple(sorted(found))
