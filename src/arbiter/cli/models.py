"""`arbiter models`: discover, add, list, show, verify, remove; the rest is hung in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from arbiter.cli.calibration import calibration
from arbiter.cli.client import Client, Json, segment
from arbiter.cli.found import show_found
from arbiter.cli.instances import load, pin, ps, unload, unpin
from arbiter.cli.listing import show_list
from arbiter.cli.options import AsJson, ConfigFile, DataDir, followed, read_file, with_house
from arbiter.cli.output import ERR, OUT, items, number, show_json, show_table, size, spread, text

app = typer.Typer(help="Models: files registered under names.", no_args_is_help=True)
app.command("calibration")(calibration)
for command in (load, unload, ps, pin, unpin):
    app.command()(command)

Name = Annotated[str, typer.Argument(help="A registered name or alias.", show_default=False)]


@app.command()
def add(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE|URL#MODEL",
            help="A GGUF file, or a server's model: http://127.0.0.1:11434#gemma3:1b.",
            show_default=False,
        ),
    ],
    called: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="Its name. [default: the file's]", show_default=False),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Its name, said otherwise.")] = None,
    alias: Annotated[
        list[str] | None, typer.Option("--alias", help="Point this alias at it too.")
    ] = None,
    predecessor: Annotated[
        str | None, typer.Option("--predecessor", help="The model that it comes after.")
    ] = None,
    template: Annotated[
        Path | None, typer.Option("--chat-template", help="Use this template, not the file's own.")
    ] = None,
    calibrate: Annotated[
        bool, typer.Option("--calibrate/--no-calibrate", help="Run each task's graded cases on it.")
    ] = True,
    trained_on: Annotated[
        list[str] | None,
        typer.Option("--trained-on", help="A data set that it was trained on, in your words."),
    ] = None,
    base: Annotated[
        str | None, typer.Option("--base", help="The model that it was made from.")
    ] = None,
    licence: Annotated[
        str | None, typer.Option("--licence", help="Its licence, such as apache-2.0.")
    ] = None,
    specialization: Annotated[
        list[str] | None, typer.Option("--specialization", help="What it was made for.")
    ] = None,
    trainer: Annotated[
        str | None, typer.Option("--trainer", help="Who or what trained it.")
    ] = None,
    script_commit: Annotated[
        str | None, typer.Option("--script-commit", help="The commit of the training program.")
    ] = None,
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Register a model, and run every task's graded cases on it.

    What you say of its making is kept in the ledger as your claim, apart from what the file says.
    """
    where = file if "://" in file else str(Path(file).expanduser().absolute())

    async def work(client: Client) -> None:
        body: Json = {
            "path": where,
            "name": name or called or _named(file),
            "predecessor": predecessor,
            "aliases": alias or [],
            "calibrate": calibrate,
            "claim": {
                "trained_on": trained_on or [],
                "base": base,
                "licence": licence,
                "specializations": specialization or [],
                "trainer": trainer,
                "script_commit": script_commit,
            },
        }
        if template is not None:
            body["chat_template"] = read_file(template)
        found = await followed(client, "POST", "/models", body, quiet=as_json)
        if as_json:
            show_json(found)
            return
        OUT.print(f"registered {text(found.get('names'))} as {found.get('short')}", markup=False)
        _profiles(found)
        if found.get("unavailable"):
            ERR.print(f"it cannot run here yet: {found['unavailable']}", markup=False)

    with_house(data_dir, config, work)


def _named(file: str) -> str:
    """The name of a model that nobody named.

    >>> _named("models/sparrow.gguf"), _named("http://127.0.0.1:11434#gemma3:1b")
    ('sparrow', 'gemma3:1b')
    """
    if "://" in file:
        return file.partition("#")[2] or "model"
    return Path(file).name.removesuffix(".gguf").removesuffix(".json")


@app.command()
def discover(
    register: Annotated[
        bool, typer.Option("--register", help="Register everything that was found.")
    ] = False,
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Look for models at the usual ports and folders and at those of the configuration."""

    async def work(client: Client) -> None:
        body: Json = {"register_found": "all" if register else "none"}
        found = await client.call("POST", "/discover", body)
        if as_json:
            show_json(found)
            return
        show_found(found, everything=True)

    with_house(data_dir, config, work)


@app.command("list")
def list_(data_dir: DataDir = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Every registered version, with the names that point at it."""

    async def work(client: Client) -> None:
        await show_list(
            client,
            "/models",
            "models",
            (
                "names",
                "version",
                "standing",
                "architecture",
                "parameters",
                "quant",
                "context",
                "size",
            ),
            lambda one: (
                text(one["names"]),
                one["short"],
                _standing(one),
                text(one["architecture"]),
                number(one["parameters"], digits=0),
                text(one["quantization"]),
                text(one["context_length"]),
                size(one["size_bytes"]),
            ),
            empty="No model yet. Add one: arbiter models add FILE.gguf",
            as_json=as_json,
        )

    with_house(data_dir, config, work)


def _standing(one: Json) -> str:
    standing, until = text(one["standing"]), one["kept_until"]
    kept = f"{standing}, kept until {text(until)[:10]}" if until else standing
    return f"{kept}, not there now" if one["absent"] else kept


@app.command()
def show(
    name: Name, data_dir: DataDir = None, config: ConfigFile = None, as_json: AsJson = False
) -> None:
    """A model: what its file says, where it comes from, how it does at each task.

    Latency is the median. p90: nine of ten answers take no longer. p10: nine of ten are no slower.
    """

    async def work(client: Client) -> None:
        found = await client.call("GET", f"/models/{segment(name)}")
        if as_json:
            show_json(found)
            return
        for field in (
            "names", "version", "standing", "format", "path", "architecture", "parameters",
            "quantization", "context_length", "capabilities", "licence", "predecessor",
            "kept_until", "registered_at",
        ):  # fmt: skip
            OUT.print(f"{field:<15} {text(found.get(field))}", markup=False)
        memory = found["memory"]
        if isinstance(memory, dict):
            OUT.print(f"{'memory':<15} {size(memory['bytes'])} ({memory['method']})", markup=False)
        _provenance(found["provenance"])
        if found.get("unavailable"):
            ERR.print(f"it cannot run here: {found['unavailable']}", markup=False)
        if found.get("absent"):
            ERR.print(f"its server is not there now: {found['absent']}", markup=False)
        _profiles(found)
        _falls(found["falls"])
        if isinstance(examined := found["examined"], dict):
            OUT.print(text(examined["told"]), markup=False)
        _speeds(found)

    with_house(data_dir, config, work)


def _falls(falls: object) -> None:
    """When it silently got worse, and what followed from that."""
    for fall in items(falls):
        where = f"at {fall['task']}" if fall["task"] else "at all tasks"
        OUT.print(
            f"it got worse {where}: what it earned before {fall['since']} counts no more",
            markup=False,
        )


def _provenance(found: object) -> None:
    """What people claim and what was read, each under its own head."""
    if not isinstance(found, dict):
        return
    for one in found["claimed"]:
        OUT.print(f"claimed by {one['who']}, {one['at'][:10]}, entry {one['seq']}:", markup=False)
        _facts(one["claim"])
    if found["read"]:
        OUT.print(f"read from the {found['read_from']}:", markup=False)
        _facts(found["read"])


def _facts(said: Json) -> None:
    for key, value in said.items():
        OUT.print(f"  {key} = {text(value)}", markup=False)


def _profiles(found: Json) -> None:
    profiles = found.get("profiles")
    show_table(
        ("task", "quality", "graded", "samples", "success", "latency"),
        [
            (
                task,
                number(one["quality"]),
                text(one["graded"]),
                text(one["samples"]),
                number(one["success_rate"]),
                spread(one["speed"]["latency_ms"], "p50"),
            )
            for task, one in (profiles if isinstance(profiles, dict) else {}).items()
        ],
        empty="No samples yet: arbiter tasks add NAME --cases FILE --grader KIND",
    )


def _speeds(found: Json) -> None:
    """How fast it is at each task; nothing where it was never timed."""
    profiles, overall = found.get("profiles"), found.get("speed")
    told = {
        task: one["speed"] for task, one in (profiles if isinstance(profiles, dict) else {}).items()
    }
    rows = [(task, one) for task, one in told.items() if any(one.values())]
    if len(rows) > 1 and isinstance(overall, dict):
        rows.append(("all together", overall))
    if not rows:
        return
    show_table(
        ("speed", "timed", "latency p50", "p90", "streamed", "first token p50", "p90",
         "tokens/s p50", "p10", "reading p50"),
        [
            (
                task,
                _samples(one["latency_ms"]),
                spread(one["latency_ms"], "p50"),
                spread(one["latency_ms"], "p90"),
                _samples(one["first_token_ms"]),
                spread(one["first_token_ms"], "p50"),
                spread(one["first_token_ms"], "p90"),
                spread(one["tokens_per_s"], "p50", digits=1, unit=""),
                spread(one["tokens_per_s"], "p10", digits=1, unit=""),
                spread(one["prompt_tokens_per_s"], "p50", unit="/s"),
            )
            for task, one in rows
        ],
        empty="",
    )  # fmt: skip


def _samples(one: object) -> str:
    return text(one["samples"]) if isinstance(one, dict) else "-"


@app.command()
def verify(
    names: Annotated[
        list[str] | None, typer.Argument(help="Only these. [default: all]", show_default=False)
    ] = None,
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Read registered files again; name those that changed or are gone, and end with 1."""

    async def work(client: Client) -> None:
        body: Json = {"names": names or []}
        found = await followed(client, "POST", "/models/verify", body, quiet=as_json)
        models = found["models"]
        checked = items(models)
        if as_json:
            show_json(found)
        else:
            show_table(
                ("names", "version", "", "what"),
                [(text(one["names"]), one["short"], *_checked(one)) for one in checked],
                empty="No model yet. Add one: arbiter models add FILE.gguf",
            )
        if any(one["fault"] for one in checked):
            raise typer.Exit(1)

    with_house(data_dir, config, work)


_KNOWN_BY = {
    "content": ("good", "its file is what was registered"),
    "server": ("served", "known by its server's digest, which is asked for at every load"),
    "claims": ("served", "known by what its server claims of it; there is no digest to check"),
}


def _checked(one: Json) -> tuple[str, str]:
    if one["fault"]:
        return "BAD", text(one["fault"])
    return _KNOWN_BY[text(one["known_by"])]


@app.command()
def remove(
    name: Name, data_dir: DataDir = None, config: ConfigFile = None, as_json: AsJson = False
) -> None:
    """Forget a name. The file and what was measured stay."""

    async def work(client: Client) -> None:
        found = await client.call("DELETE", f"/models/{segment(name)}")
        if as_json:
            show_json(found)
        else:
            where = "file" if found["has_file"] else "server"
            OUT.print(f"{name} is forgotten; its {where} was not touched", markup=False)

    with_house(data_dir, config, work)
