"""The page of the command line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import click
import typer.main
from tests.docs.markdown import NOTE

from arbiter.cli.main import app as commands


def command_tree() -> click.Group:
    """Every command, as click sees it."""
    return cast("click.Group", typer.main.get_command(commands))


def walk(
    group: click.Group, path: tuple[str, ...] = ("arbiter",)
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command with the words that call it, groups before what they hold."""
    yield path, group
    for name, command in sorted(group.commands.items()):
        if _is_group(command):
            yield from walk(cast("click.Group", command), (*path, name))
        else:
            yield (*path, name), command


def _is_group(command: click.Command) -> bool:
    return hasattr(command, "commands")


def cli_page() -> str:
    """The help of every command."""
    parts = [
        "# The command line\n\n"
        + NOTE
        + "\nEvery command speaks to the running house of its data directory. When none runs, it\n"
        "opens the house for itself and closes it again. Every command takes `--json` and then\n"
        "prints one JSON document on stdout. Progress and errors go to stderr. A command that\n"
        "fails ends with 1, a command line that is not understood with 2.\n\n"
        "When the house asks for a key, put it into the environment variable `ARBITER_KEY`.\n",
    ]
    for path, command in walk(command_tree()):
        words = " ".join(path)
        parts.append(f"\n## {words}\n\n```text\n{_help(command, words)}\n```\n")
    return "".join(parts)


def _help(command: click.Command, words: str) -> str:
    context = click.Context(command, info_name=words, terminal_width=88, max_content_width=88)
    lines = command.get_help(context).strip().splitlines()
    return "\n".join(line.rstrip() for line in lines)
