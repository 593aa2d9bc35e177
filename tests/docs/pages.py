"""The pages of the docs, and the blocks of code in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.docs.markdown import ROOT

SOURCE = ROOT / "src" / "arbiter"
PAGES = (
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
)
DOOR = "http://127.0.0.1:8017"
IDS = [str(page.relative_to(ROOT)) for page in PAGES]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block of a page. mark: the comment on the line before it."""

    language: str
    text: str
    line: int
    mark: str


def blocks_of(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    pattern = re.compile(r"^(?:<!-- ([^\n]*) -->\n)?```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
    for found in pattern.finditer(text):
        line = text.count("\n", 0, found.start(3)) + 1
        yield Block(language=found[2], text=found[3], line=line, mark=found[1] or "")


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks_with_output(
    page: Path, language: str = "python", *, mark: str = ""
) -> list[tuple[Block, str | None]]:
    """Blocks of a page that are so marked, each with the output that the page says follows."""
    found = list(blocks_of(page))
    pairs: list[tuple[Block, str | None]] = []
    for block, after in zip(found, [*found[1:], None], strict=False):
        if block.language == language and block.mark == mark:
            said = after.text if after is not None and after.mark == "output" else None
            pairs.append((block, said))
    return pairs
