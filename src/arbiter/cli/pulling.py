"""`arbiter pull`: newer content for a name at its server."""

from __future__ import annotations

from typing import Annotated

import typer

from arbiter.cli.client import Client, Json
from arbiter.cli.options import AsJson, ConfigFile, DataDir, with_house
from arbiter.cli.output import ERR, OUT, items, show_json, size

Name = Annotated[
    str, typer.Argument(help="A registered name, or a name at the server.", show_default=False)
]


def pull(
    name: Name,
    server: Annotated[
        str | None, typer.Option("--from", help="The server's address, when several could.")
    ] = None,
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Have Ollama fetch a model; the present content stays there under a dated name."""

    async def work(client: Client) -> None:
        result: Json = {}
        said = ""
        async for told in client.lines("POST", "/pull", {"model": name, "url": server}):
            found, progress = told.get("result"), told.get("progress")
            if isinstance(found, dict):
                result = found
            if isinstance(progress, dict) and not as_json and progress["status"] != said:
                said = progress["status"]
                total = progress["total"]
                ERR.print(f"  {said}" + (f" ({size(total)})" if total else ""), markup=False)
        if as_json:
            show_json(result)
        else:
            _tell(result)

    with_house(data_dir, config, work)


def _tell(result: Json) -> None:
    model, url = result["model"], result["url"]
    if not result["new"]:
        OUT.print(f"nothing new: {model} at {url} is what it was", markup=False)
        return
    OUT.print(f"{model} at {url} has new content", markup=False)
    if result["kept_as"]:
        OUT.print(f"  the old content stays there as {result['kept_as']}", markup=False)
    models = result["models"]
    for one in items(models):
        OUT.print(f"  registered as {', '.join(one['names']) or '-'}", markup=False)
        if one["why"]:
            OUT.print(f"  {one['why']}", markup=False)
