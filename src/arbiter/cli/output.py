"""What commands print: tables for people, one JSON document with ``--json``.

Results go to stdout; progress, warnings and errors go to stderr.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from arbiter.refs import legible

# piped, a table is as wide as it needs to be: a script reads it, or a log keeps it; a model that is
# called always:cat: is no picture of one
OUT = Console(
    highlight=False, soft_wrap=True, emoji=False, width=None if sys.stdout.isatty() else 240
)
ERR = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


def show_json(value: object) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def show_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str) -> None:
    """A table, or a sentence that says what to do when there is nothing to show."""
    if not rows:
        OUT.print(empty, markup=False)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns[:-1]:
        table.add_column(column, no_wrap=True)
    table.add_column(columns[-1], overflow="fold")
    for row in rows:
        table.add_row(*[_plain(cell) for cell in row])
    OUT.print(table)


def _plain(cell: str) -> str:
    """Text as text: a hostile model name must not style a terminal."""
    return legible(cell, most=len(cell)).replace("[", r"\[")


def number(value: object, *, digits: int = 2, unit: str = "", share: bool = False) -> str:
    """A number for people; what is unknown is a dash, never 0.

    >>> number(None), number(0.5), number(12.34, digits=0, unit=" ms")
    ('-', '0.50', '12 ms')
    """
    if not isinstance(value, int | float):
        return "-"
    return f"{value:.0%}" if share else f"{value:.{digits}f}{unit}"


def spread(value: object, key: str, *, digits: int = 0, unit: str = " ms") -> str:
    """One figure of how a measure is spread, as the control API tells it.

    >>> spread({"samples": 41, "p50": 812.4, "p90": 2300.0}, "p90"), spread(None, "p90")
    ('2300 ms', '-')
    """
    return number(value.get(key) if isinstance(value, dict) else None, digits=digits, unit=unit)


def size(value: object) -> str:
    """Bytes for people.

    >>> size(2_400_000), size(None)
    ('2.4 MB', '-')
    """
    if not isinstance(value, int | float):
        return "-"
    return f"{value / 1e9:.1f} GB" if value >= 1e9 else f"{value / 1e6:.1f} MB"


def items(value: object) -> list[Any]:
    """A list of an answer; empty where there is none.

    >>> items(["owl"]), items(None)
    (['owl'], [])
    """
    return value if isinstance(value, list) else []


def text(value: object) -> str:
    """A value as text, a dash when there is none."""
    if value is None or value == "":
        return "-"
    if isinstance(value, list):
        return ", ".join(str(one) for one in value) or "-"
    return str(value)
