"""`arbiter keys`: list, add, revoke."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from arbiter.cli.client import Client, Json, segment
from arbiter.cli.listing import show_list
from arbiter.cli.options import AsJson, ConfigFile, DataDir, with_house
from arbiter.cli.output import ERR, OUT, show_json, text
from arbiter.errors import InvalidField
from arbiter.gateway.keyring import USUAL

app = typer.Typer(help="Keys of the door.", invoke_without_command=True)


@app.command("list")
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
        await show_list(
            client,
            "/keys",
            "keys",
            ("id", "name", "may", "at most", "made", "revoked"),
            lambda one: (
                one["id"],
                one["name"],
                text(one["scopes"]),
                bounds(one["limits"]),
                one["made_at"][:19],
                "" if one["revoked_at"] is None else one["revoked_at"][:19],
            ),
            empty="No key was made here. On this machine none is needed until there is one.",
            as_json=as_json,
        )

    with_house(data_dir, config, work)


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="Whom it is for, such as laptop.")],
    scope: Annotated[
        str, typer.Option("--scope", help="What it may do: use, feedback, admin.")
    ] = ",".join(USUAL),
    limit: Annotated[
        list[str] | None,
        typer.Option(
            "--limit",
            help="A bound: in-flight=4, per-minute=60 or tokens-per-minute=20000 (repeatable).",
        ),
    ] = None,
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Make a key. It is shown this once, and nobody can read it again."""

    async def work(client: Client) -> None:
        scopes = [one.strip() for one in scope.split(",") if one]
        body: Json = {"name": name, "scopes": scopes, "limits": limits_from(limit or [])}
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


_BOUNDS = {
    "in-flight": ("in_flight", "at once"),
    "per-minute": ("per_minute", "a minute"),
    "tokens-per-minute": ("tokens_per_minute", "tokens a minute"),
}


def limits_from(given: Sequence[str]) -> Json:
    """The bounds of a command line. Raises `InvalidField`.

    >>> limits_from(["in-flight=4", "per-minute=60"])
    {'in_flight': 4, 'per_minute': 60}
    """
    found: Json = {}
    for one in given:
        name, _, number = one.partition("=")
        if name not in _BOUNDS or not (number.isascii() and number.isdigit()):
            raise InvalidField(
                f"{one!r} is no bound.", hint=f"Write one of {', '.join(_BOUNDS)} as NAME=NUMBER."
            )
        found[_BOUNDS[name][0]] = int(number)
    return found


def bounds(limits: object) -> str:
    """The bounds of a key, for people.

    >>> bounds({"in_flight": 4, "per_minute": None, "tokens_per_minute": 20000})
    '4 at once, 20000 tokens a minute'
    """
    told = limits if isinstance(limits, dict) else {}
    return text([f"{told[key]} {what}" for key, what in _BOUNDS.values() if told.get(key)])
