"""The pages are written in plain words, and the changelog is about this version."""

from __future__ import annotations

import importlib
import re
import tomllib
from pathlib import Path

import pytest
from tests.docs.pages import IDS, PAGES, read


def test_changelog_and_version_agree() -> None:
    version = tomllib.loads(read("pyproject.toml"))["project"]["version"]
    newest = re.search(r"^## \[([^\]]+)\]", read("CHANGELOG.md"), re.MULTILINE)
    assert newest is not None
    assert newest[1] == version
    assert importlib.import_module("arbiter").__version__ == version


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_pages_are_written_in_plain_words(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert [word for word in FORBIDDEN if re.search(word, text, re.IGNORECASE)] == []
    odd = {char for char in text if ord(char) > 0x2BFF or 0x2600 <= ord(char) <= 0x27BF}
    assert odd == set()
    assert not text.startswith("\n")
    assert text.endswith("\n")


FORBIDDEN = (
    r"/work/",
    r"\.\./shared",
    r"/root/",
    r"/tmp/",
    r"\bpypi\b",
    r"\bsessions?\b(?! header)",
    r"\bblazing\w*",
    r"\bseamless\w*",
    r"\bpowerful\b",
    r"\beffortless\w*",
    r"\brobust\b",
    r"\bleverag\w+",
    r"\bcutting[- ]edge\b",
    r"\bstate[- ]of[- ]the[- ]art\b",
    r"\bworld[- ]class\b",
    r"\brevolution\w*",
    r"\bsimply\b",
    r"\bTODO\b",
    r"\bFIXME\b",
)
