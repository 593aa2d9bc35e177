"""`arbiter rules`: add, list, remove."""

from __future__ import annotations

from typing import Annotated

import typer

from arbiter.cli.client import Client, Json, segment
from arbiter.cli.listing import show_list
from arbiter.cli.options import AsJson, ConfigFile, DataDir, with_house
from arbiter.cli.output import OUT, show_json, text

app = typer.Typer(help="Rules: who serves a task, whatever the scores say.", no_args_is_help=True)

Aliases = list[str] | None


@app.command()
def add(
    task: Annotated[
        str, typer.Option("--task", help="For this task and what is below it; general is for all.")
    ] = "general",
    prefer: Annotated[
        str | None, typer.Option("--prefer", help="Take this alias as long as it can serve.")
    ] = None,
    only: Annotated[str | None, typer.Option("--only", help="Take this alias or nobody.")] = None,
    never: Annotated[
        Aliases, typer.Option("--never", help="Leave this alias out (repeatable).")
    ] = None,
    why: Annotated[str, typer.Option("--why", help="The reason, for later.")] = "",
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Say who serves a task, in place of what its rule said before. Swaps keep every rule."""

    async def work(client: Client) -> None:
        body: Json = {"prefer": prefer, "only": only, "never": never or [], "why": why}
        found = await client.call("PUT", f"/rules/{segment(task)}", body)
        if as_json:
            show_json(found)
        else:
            OUT.print(_sentence(found), markup=False)
            before = found["replaced"]
            if isinstance(before, dict):
                OUT.print(f"before: {_sentence(before)}", markup=False)

    with_house(data_dir, config, work)


def _sentence(rule: Json) -> str:
    """A rule in words.

    >>> _sentence({"task": "general", "prefer": "quality", "only": None, "never": ["fast"]})
    'every task goes to quality as long as it can serve it, and never to fast'
    >>> _sentence({"task": "sum", "prefer": None, "only": "quality", "never": []})
    'sum goes to quality or to nobody'
    """
    who = "every task" if rule["task"] == "general" else text(rule["task"])
    never = f"never to {text(rule['never'])}"
    if rule["only"] is not None:
        taken = f"{who} goes to {rule['only']} or to nobody"
    elif rule["prefer"] is not None:
        taken = f"{who} goes to {rule['prefer']} as long as it can serve it"
    else:
        return f"{who} goes {never}"
    return f"{taken}, and {never}" if rule["never"] else taken


@app.command("list")
def list_(data_dir: DataDir = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Every rule."""

    async def work(client: Client) -> None:
        await show_list(
            client,
            "/rules",
            "rules",
            ("task", "prefer", "only", "never", "why"),
            lambda one: (
                one["task"],
                *(text(one[part]) for part in ("prefer", "only", "never", "why")),
            ),
            empty="No rule: scores decide. Add one: arbiter rules add --task X --prefer ALIAS",
            as_json=as_json,
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
            OUT.print(f"the rule of {task} is forgotten", markup=False)

    with_house(data_dir, config, work)
