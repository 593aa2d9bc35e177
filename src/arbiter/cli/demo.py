"""`arbiter demo`: the main job on the models that ship, and what those models can do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from arbiter.cli.options import AsJson, run
from arbiter.cli.output import ERR, OUT, show_json

app = typer.Typer(
    help="The whole main job on the models that ship, from nothing.", invoke_without_command=True
)


def _say(line: str) -> None:
    ERR.print(line, markup=False)


@app.callback()
def demo(
    context: typer.Context,
    keep: Annotated[
        Path | None,
        typer.Option("--keep", help="Keep the data directory here.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Do the whole main job on the models that ship, from nothing, in about a minute."""
    if context.invoked_subcommand is not None:
        return
    from arbiter.demo.story import tell  # noqa: PLC0415  # 20 ms of every start

    async def work() -> None:
        told = await tell(keep=keep, say=_say)
        if as_json:
            show_json(told.to_plain())
        else:
            OUT.print(told.table(), markup=False)
        if not told.went_as_told:
            ERR.print("the demo did not go as told", style="red")
            raise typer.Exit(1)

    run(work)


@app.command()
def matrix(
    items: Annotated[int, typer.Option("--items", help="Held-out items a cell.", min=10)] = 200,
    as_json: AsJson = False,
) -> None:
    """What every model that ships gets right on held-out items, through the door."""
    from arbiter.demo.matrix import measure  # noqa: PLC0415  # 20 ms of every start

    async def work() -> None:
        found = await measure(items=items, say=_say)
        if as_json:
            show_json(found.to_plain())
        else:
            OUT.print(found.table(), markup=False)

    run(work)
