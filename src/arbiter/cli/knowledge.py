"""`arbiter knowledge`: export, import, digest, reset, sources."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from arbiter.cli.client import Client, Json
from arbiter.cli.listing import show_list
from arbiter.cli.options import AsJson, ConfigFile, DataDir, followed, with_house
from arbiter.cli.output import ERR, OUT, items, number, show_json, text
from arbiter.errors import InvalidField

app = typer.Typer(
    help="What was learned: take it along, take it in, forget it.", no_args_is_help=True
)


@app.command("export")
def export(
    file: Annotated[str, typer.Argument(help="Where to; - is standard output.")],
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Write tasks, cases, rules and everything measured to a file that is not there yet."""

    async def work(client: Client) -> None:
        data = await client.data("GET", "/knowledge/file")
        if file == "-":
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
            return
        _write(Path(file), data)
        lines = data.count(b"\n")
        if as_json:
            show_json({"file": file, "lines": lines, "bytes": len(data)})
        else:
            OUT.print(f"{file}: {lines} lines", markup=False)

    with_house(data_dir, config, work)


def _write(path: Path, data: bytes) -> None:
    try:
        # answers are not in it, but prompts of cases are
        handle = os.open(path.expanduser(), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
    except OSError as error:
        raise InvalidField(
            f"{path} cannot be written: {error.strerror}.",
            hint="Name a file that is not there yet.",
        ) from error


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="A file that was exported.")],
    prefer: Annotated[
        Literal["ours", "theirs"],
        typer.Option("--prefer", help="Whose tasks and rules stand where they differ."),
    ] = "ours",
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Take in what is new in a file. What is here already is not counted again."""
    body: Json = {"path": str(file.expanduser().resolve()), "prefer": prefer}

    async def work(client: Client) -> None:
        found = await followed(client, "POST", "/knowledge/import", body, quiet=as_json)
        if as_json:
            show_json(found)
            return
        OUT.print(
            f"new: tasks {text(found['tasks'])}; rules {text(found['rules'])}; "
            f"cases run {found['validations']}; sums of requests {found['outcomes']}; "
            f"judgements {found['feedback']}",
            markup=False,
        )
        if found["falls"]:
            OUT.print(f"versions that silently got worse there: {found['falls']}")
        OUT.print(f"here already: {found['known']}")
        if found["apart"]:
            OUT.print(f"left out, because the task is graded otherwise here: {found['apart']}")
        conflicts = found["conflicts"]
        for one in items(conflicts):
            kept = "theirs is taken" if prefer == "theirs" else "kept; --prefer theirs takes theirs"
            ERR.print(f"conflict: {one} ({kept})", markup=False)

    with_house(data_dir, config, work)


@app.command()
def digest(data_dir: DataDir = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """The digest of what people decided, which no swap changes, and of what was measured."""

    async def work(client: Client) -> None:
        found = await client.call("GET", "/knowledge")
        if as_json:
            show_json(found)
            return
        for what in ("knowledge", "evidence", "house"):
            OUT.print(f"{what}: {found[what]}", markup=False)

    with_house(data_dir, config, work)


@app.command()
def reset(
    task: Annotated[str | None, typer.Option("--task", help="Only of this task.")] = None,
    version: Annotated[
        str | None, typer.Option("--version", help="Only of this version: a name or a digest.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do it without asking.")] = False,
    keep: Annotated[
        bool, typer.Option("--export/--no-export", help="Write everything to a dated file first.")
    ] = True,
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Forget what was measured. Tasks, cases and rules stay."""

    async def work(client: Client) -> None:
        body: Json = {"task": task, "version": version, "keep": keep}
        found = await client.call("POST", "/knowledge/reset", body)
        if not any(_counts(found).values()):
            if as_json:
                show_json(found)
            else:
                OUT.print("there is nothing to forget")
            return
        if not as_json:
            OUT.print(_sentence(_counts(found)), markup=False)
        if not yes:
            typer.confirm("Forget it?", abort=True, err=True)
        found = await client.call("POST", "/knowledge/reset", {**body, "really": True})
        if as_json:
            show_json(found)
            return
        OUT.print("forgotten")
        if found["kept_in"] is not None:
            OUT.print(f"to have it back: arbiter knowledge import {found['kept_in']}", markup=False)

    with_house(data_dir, config, work)


def _counts(found: Json) -> dict[str, int]:
    counts = found["evidence"]
    return counts if isinstance(counts, dict) else {}


def _sentence(counts: dict[str, int]) -> str:
    """What would go, in words.

    >>> _sentence({"validations": 60, "requests": 1, "feedback": 0, "carried_requests": 9})
    'this goes: 60 cases run, 1 request, 9 requests of other houses'
    """
    words = {
        "validations": ("case run", "cases run"),
        "requests": ("request", "requests"),
        "feedback": ("judgement", "judgements"),
        "carried_requests": ("request of other houses", "requests of other houses"),
        "carried_feedback": ("judgement of other houses", "judgements of other houses"),
    }
    told = [f"{n} {words[what][n != 1]}" for what, n in counts.items() if n]
    return f"this goes: {', '.join(told)}"


@app.command()
def sources(data_dir: DataDir = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """How far each source of feedback is believed, and the counts that say so."""

    async def work(client: Client) -> None:
        await show_list(
            client,
            "/knowledge/sources",
            "sources",
            ("source", "caller", "weight", "judgements", "compared", "agreed"),
            lambda one: (
                one["source"],
                one["caller"],
                number(one["weight"]),
                number(one["judgements"], digits=0),
                number(one["pairs"], digits=0),
                number(one["agreed"], digits=0),
            ),
            empty="Nobody gave feedback yet: arbiter feedback DECISION good",
            as_json=as_json,
        )

    with_house(data_dir, config, work)
