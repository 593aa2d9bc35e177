"""`arbiter import`: the models of a llama-swap configuration or of llama.cpp's presets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from arbiter.cli.client import Client, Json
from arbiter.cli.foreign import Found, beside_models, less_room, located, read
from arbiter.cli.options import (
    AsJson,
    ConfigFile,
    DataDir,
    followed,
    read_file,
    settings_from,
    with_house,
)
from arbiter.cli.output import ERR, OUT, show_json, text
from arbiter.errors import ArbiterError


def import_(
    file: Annotated[
        Path,
        typer.Argument(
            help="A llama-swap configuration (.yaml), or presets of llama.cpp (.ini).",
            show_default=False,
        ),
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only tell what would be registered.")
    ] = False,
    calibrate: Annotated[
        bool, typer.Option("--calibrate/--no-calibrate", help="Run each task's graded cases.")
    ] = True,
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Register the models that another program is configured with, under the same names.

    Nothing of the file is run. What Arbiter does otherwise, or does not know, is named.
    """
    beside = file.expanduser().absolute().parent

    async def work(client: Client) -> None:
        told = []
        written = read_file(file)
        models = read(written, suffix=file.suffix)
        for found in models:
            if dry_run or found.path is None:
                told.append(_would(found, beside))
            else:
                more: Json = {"calibrate": calibrate}
                told.append(await _register(client, found, beside, more, quiet=as_json))
            if not as_json:
                _show(told[-1])
        left = beside_models(written, suffix=file.suffix)
        room = less_room(models, settings_from(data_dir, config).pool.context)
        if as_json:
            show_json({"models": told, "left": list(left), "room": room})
        else:
            if left:
                ERR.print(f"of the file itself not taken: {', '.join(left)}", markup=False)
            if room is not None:
                ERR.print(f"room for conversations: {room}", markup=False)
        if any(one["state"] == "failed" for one in told):
            raise typer.Exit(1)

    with_house(data_dir, config, work)


def _would(found: Found, beside: Path) -> Json:
    state = "skipped" if found.path is None else "found"
    return _told(found, state, found.why or str(located(found, beside)))


async def _register(client: Client, found: Found, beside: Path, more: Json, *, quiet: bool) -> Json:
    body: Json = {
        "path": str(located(found, beside)),
        "name": found.name,
        "aliases": list(found.aliases),
        **more,
    }
    try:
        if found.template is not None:
            body["chat_template"] = read_file(beside / found.template)
        made = await followed(client, "POST", "/models", body, quiet=quiet)
    except ArbiterError as error:
        return _told(found, "failed", error.sentence)
    return _told(found, "registered", f"as {made.get('short')}")


def _told(found: Found, state: str, why: str) -> Json:
    return {
        "name": found.name,
        "aliases": list(found.aliases),
        "state": state,
        "why": why,
        "left": list(found.left),
        "context": found.context,
    }


def _show(done: Json) -> None:
    aliases = f" ({text(done['aliases'])})" if done["aliases"] else ""
    OUT.print(f"{done['state']}: {done['name']}{aliases}: {done['why']}", markup=False)
    left = done["left"]
    if isinstance(left, list) and left:
        ERR.print(f"  not taken: {', '.join(left)}", markup=False)
