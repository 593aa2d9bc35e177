"""`arbiter alias`: set, list."""

from __future__ import annotations

from typing import Annotated

import typer

from arbiter.cli.client import Client, segment
from arbiter.cli.listing import show_list
from arbiter.cli.options import AsJson, ConfigFile, DataDir, with_house
from arbiter.cli.output import OUT, show_json, text

app = typer.Typer(help="Aliases: names that you move between models.", no_args_is_help=True)


@app.command("set")
def set_(
    alias: Annotated[str, typer.Argument(help="fast, primary, quality, alternative, or your own.")],
    model: Annotated[str, typer.Argument(help="A registered name or alias.")],
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Point an alias at a model at once, on your word. `arbiter swap` does it on evidence."""

    async def work(client: Client) -> None:
        found = await client.call("PUT", f"/aliases/{segment(alias)}", {"target": model})
        if as_json:
            show_json(found)
        else:
            OUT.print(f"{alias} is {found['short']} ({text(found['also'])})", markup=False)

    with_house(data_dir, config, work)


@app.command("list")
def list_(data_dir: DataDir = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Every name and what it points at."""

    async def work(client: Client) -> None:
        await show_list(
            client,
            "/aliases",
            "aliases",
            ("name", "kind", "version", "also called", "standing"),
            lambda one: (
                one["name"],
                one["kind"],
                one["short"],
                text(one["also"]),
                one["standing"],
            ),
            empty="No name yet. Add a model: arbiter models add FILE.gguf",
            as_json=as_json,
        )

    with_house(data_dir, config, work)


@app.command()
def history(
    alias: Annotated[str, typer.Argument(help="A name.")],
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Everything that a name ever pointed at, by whom and why."""

    async def work(client: Client) -> None:
        await show_list(
            client,
            f"/aliases/{segment(alias)}/moves",
            "moves",
            ("at", "from", "to", "who", "why"),
            lambda one: (
                one["at"][:19],
                text(one["from_version"])[7:19],
                text(one["to_version"])[7:19],
                one["who"],
                one["why"],
            ),
            empty=f"{alias} never pointed at anything.",
            as_json=as_json,
        )

    with_house(data_dir, config, work)
