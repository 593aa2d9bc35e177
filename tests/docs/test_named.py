"""What the pages name is there: functions, links, commands."""

from __future__ import annotations

import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import click
import pytest
from tests.docs.commands import command_tree
from tests.docs.pages import IDS, PAGES, Block, blocks_of, read


def test_functions_named_in_the_architecture_exist() -> None:
    page = read("docs/architecture.md")
    named = re.findall(r"`([\w/]+)\.py: ([\w.]+)`", page)
    assert len(named) > 25
    for file, path in named:
        found: object = importlib.import_module("arbiter." + file.replace("/", "."))
        for name in path.split("."):
            found = getattr(found, name)


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(
        r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        if not there.exists() or (anchor and anchor not in _anchors(there)):
            broken.append(target)
    assert broken == []


def _anchors(page: Path) -> set[str]:
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_commands_in_the_pages_are_understood(page: Path) -> None:
    for block in blocks_of(page):
        if block.language not in {"sh", "console"}:
            continue
        for line in _command_lines(block):
            assert _misunderstood(line) is None, f"line {block.line}: {line}"


def _command_lines(block: Block) -> Iterator[str]:
    for line in block.text.replace("\\\n", " ").splitlines():
        shown = block.language == "console"
        if shown and not line.startswith("$ "):
            continue
        command = re.sub(r"^(?:[A-Z_]+=\S+ )+", "", line.removeprefix("$ ") if shown else line)
        if command.startswith("arbiter "):
            yield command


def _misunderstood(line: str) -> str | None:
    """What is wrong with a command line; it is parsed and not run."""
    command: click.Command = command_tree()
    words = [word for word in shlex.split(line)[1:] if word != "&"]
    words = words[: words.index(">")] if ">" in words else words
    while (
        hasattr(command, "commands") and words and words[0] in cast("click.Group", command).commands
    ):
        command = cast("click.Group", command).commands[words.pop(0)]
    try:
        command.make_context("arbiter", list(words))
    except click.UsageError as error:
        return error.format_message()
    except click.exceptions.Exit:
        return None
    return None
