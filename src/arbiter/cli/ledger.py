"""`arbiter ledger`: list, verify."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated
from urllib.parse import urlencode

import typer

from arbiter.cli.client import Client
from arbiter.cli.options import AsJson, ConfigFile, DataDir, with_house
from arbiter.cli.output import ERR, OUT, items, show_json, show_table, text

app = typer.Typer(
    help="The ledger: what was done to models, by whom, in a chain that can be checked.",
    no_args_is_help=True,
)

_PART = 200

_FACTS = ("name", "alias", "version", "from", "to", "stable", "candidate", "why", "reason")
"""What of an entry's body is shown in a line of the list."""


@app.command("list")
def list_(
    kind: Annotated[
        str | None,
        typer.Option("--kind", help="Only this kind, or group of kinds: rollout, name, ..."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", help="At most so many.", min=1, max=10_000)] = 50,
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """The latest entries, the newest first, and the head: the hash of the last one."""

    async def work(client: Client) -> None:
        asked = {"limit": min(limit, _PART), **({} if kind is None else {"kind": kind})}
        found = await client.listed(f"/ledger?{urlencode(asked)}", "entries", most=limit)
        if as_json:
            show_json(found)
            return
        entries = found["entries"]
        show_table(
            ("seq", "at", "kind", "who", "what"),
            [
                (text(one["seq"]), one["at"][:19], one["kind"], one["who"], told(one["body"]))
                for one in items(entries)
            ],
            empty="Nothing of that is in the ledger.",
        )
        head = found["head"]
        if isinstance(head, dict):
            OUT.print(f"head: {head['hash']} (entry {head['seq']})", markup=False)

    with_house(data_dir, config, work)


def told(body: object) -> str:
    """An entry's body in a line; digests in short.

    >>> told({"name": "primary", "from": None, "to": "sha256:" + "ab" * 32, "why": ""})
    'name primary, to abababababab'
    """
    if not isinstance(body, Mapping):
        return text(body)
    said = [(key, body[key]) for key in _FACTS if body.get(key)]
    claim, read = body.get("claim"), body.get("said")
    if isinstance(claim, Mapping):
        said += [(key, value) for key, value in claim.items() if key != "base_version"]
    if isinstance(read, Mapping):
        said.append(("facts", len(read)))
    return ", ".join(f"{key} {_short(text(value))}" for key, value in said)


def _short(value: str) -> str:
    return value[7:19] if value.startswith("sha256:") else value


@app.command()
def verify(
    head: Annotated[
        str | None,
        typer.Option("--head", help="A head that you wrote down: it has to be there still."),
    ] = None,
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Check every entry of the chain, and that what is registered is what it says.

    The first thing that is wrong is named, and the command ends with 1.
    """

    async def work(client: Client) -> None:
        query = "" if head is None else f"?{urlencode({'head': head})}"
        found = await client.call("GET", f"/ledger/verify{query}")
        bad = found["bad"]
        if as_json:
            show_json(found)
        else:
            good = found["good"]
            OUT.print("1 entry is good" if good == 1 else f"{good} entries are good")
            if isinstance(bad, dict):
                ERR.print(f"bad ({bad['fault']}): {bad['sentence']}", style="red", markup=False)
            elif found["head"] is not None:
                OUT.print(f"head: {found['head']}", markup=False)
        if bad is not None:
            raise typer.Exit(1)

    with_house(data_dir, config, work)
