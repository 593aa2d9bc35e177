"""`arbiter keys`: list, add, revoke."""

from __future__ import annotations

from typing import Annotated

import typer

from arbiter.cli.client import Client, Json, segment
from arbiter.cli.options import AsJson, ConfigFile, DataDir, with_house
from arbiter.cli.output import ERR, OUT, show_json, show_table, text
from arbiter.gateway.keyring import USUAL

app = typer.Typer(help="Keys of the door.", invoke_without_command=True)


@app.callback()
def list_(
    context: typer.Context,
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Every key that was made here. What is kept of one is its hash."""
    if context.invoked_subcommand is not None:
        return

    async def work(client: Client) -> None:
        found = await client.listed("/keys", "keys")
        if as_json:
            show_json(found)
            return
        keys = found["keys"]
        show_table(
            ("id", "name", "may", "made", "revoked"),
            [
                (
                    one["id"],
                    one["name"],
                    text(one["scopes"]),
                    one["made_at"][:19],
                    "" if one["revoked_at"] is None else one["revoked_at"][:19],
                )
                for one in (keys if isinstance(keys, list) else [])
            ],
            empty="No key was made here. On this machine none is needed until there is one.",
        )

    with_house(data_dir, config, work)


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="Whom it is for, such as laptop.")],
    scope: Annotated[
        str, typer.Option("--scope", help="What it may do: use, feedback, admin.")
    ] = ",".join(USUAL),
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Make a key. It is shown this once, and nobody can read it again."""

    async def work(client: Client) -> None:
        body: Json = {"name": name, "scopes": [one.strip() for one in scope.split(",") if one]}
        found = await client.call("POST", "/keys", body)
        if as_json:
            show_json(found)
            return
        OUT.print(text(found["key"]), markup=False)
        ERR.print(
            f"{found['id']} may {text(found['scopes'])}. It is not shown again; as long as there"
            " is a key, programs on this machine need one too.",
            markup=False,
        )

    with_house(data_dir, config, work)


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(help="A key's id, from the list.")],
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Let a key open nothing from now on. Answers that are under way go on."""

    async def work(client: Client) -> None:
        found = await client.call("DELETE", f"/keys/{segment(key)}")
        if as_json:
            show_json(found)
        else:
            OUT.print(f"{found['name']} is revoked", markup=False)

    with_house(data_dir, config, work)
