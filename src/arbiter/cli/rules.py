"""`arbiter rules`: add, list, remove."""

from __future__ import annotations

from typing import Annotated

import typer

from arbiter.cli.client import Client, segment
from arbiter.cli.options import AsJson, ConfigFile, DataDir, with_house
from arbiter.cli.output import OUT, show_json, show_table, text

app = typer.Typer(help="Rules: who serves a task, whatever the scores say.", no_args_is_help=True)


@app.command()
def add(
    task: Annotated[str, typer.Option("--task", help="For this task.", show_default=False)],
    prefer: Annotated[str, typer.Option("--prefer", help="Take this alias.", show_default=False)],
    why: Annotated[str, typer.Option("--why", help="The reason, for later.")] = "",
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Prefer an alias for a task as long as it is able to serve it. Swaps keep every rule."""

    async def work(client: Client) -> None:
        body: dict[str, object] = {"prefer": prefer, "why": why}
        found = await client.call("PUT", f"/rules/{segment(task)}", body)
        if as_json:
            show_json(found)
        else:
            OUT.print(f"{task} goes to {prefer} as long as it can serve it", markup=False)

    with_house(data_dir, config, work)


@app.command("list")
def list_(data_dir: DataDir = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Every rule."""

    async def work(client: Client) -> None:
        found = await client.call("GET", "/rules")
        if as_json:
            show_json(found)
            return
        rules = found["rules"]
        show_table(
            ("task", "prefer", "why"),
            [
                (one["task"], one["prefer"], text(one["why"]))
                for one in (rules if isinstance(rules, list) else [])
            ],
            empty="No rule: scores decide. Add one: arbiter rules add --task X --prefer ALIAS",
        )

    with_house(data_dir, config, work)


@app.command()
def remove(
    task: Annotated[str, typer.Argument(help="The task whose rule to forget.")],
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Forget the rule of a task."""

    async def work(client: Client) -> None:
        found = await client.call("DELETE", f"/rules/{segment(task)}")
        if as_json:
            show_json(found)
        else:
            OUT.print(f"the scores decide about {task} again", markup=False)

    with_house(data_dir, config, work)
