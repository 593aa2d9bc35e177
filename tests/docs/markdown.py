"""What the generated pages have in common: where they are, and tables."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference"
NOTE = "<!-- Written by `make docs`; changes by hand are lost. -->\n"


def prose(text: str) -> str:
    """Docstring markup as Markdown: one backtick, and no line ends inside a paragraph."""
    text = inspect.cleandoc(text).replace("``", "`")
    return "\n\n".join(
        part if part.lstrip().startswith(("-", "    ")) else " ".join(part.split())
        for part in text.split("\n\n")
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"
