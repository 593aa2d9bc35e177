"""`arbiter tasks`: add, harvest, list, show, remove."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from arbiter.cli.client import Client, Json, segment
from arbiter.cli.listing import show_list
from arbiter.cli.options import AsJson, ConfigFile, DataDir, followed, read_file, with_house
from arbiter.cli.output import OUT, items, number, show_json, show_table, spread, text
from arbiter.cli.prompts import harvest
from arbiter.errors import InvalidField

app = typer.Typer(help="Tasks: kinds of work, with graded cases.", no_args_is_help=True)
app.command("harvest")(harvest)

Task = Annotated[str, typer.Argument(help="The task's name.", show_default=False)]


@app.command()
def add(
    task: Task,
    parent: Annotated[
        str | None,
        typer.Option("--parent", help="A task that this is a finer kind of; it takes after it."),
    ] = None,
    cases: Annotated[
        Path | None,
        typer.Option("--cases", help='JSON lines: {"prompt": "...", "expected": "..."}.'),
    ] = None,
    grader: Annotated[
        str | None,
        typer.Option(
            "--grader", help="exact, choice, contains, regex, number, json-schema or json-fields."
        ),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--grader-option",
            help="NAME=JSON or NAME=@FILE, such as tolerance=0.01 or schema=@s.json (repeatable).",
        ),
    ] = None,
    needs: Annotated[
        list[str] | None,
        typer.Option("--needs", help="A capability it needs, or gpu (repeatable)."),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option("--threshold", min=0, max=1, help="Least quality.")
    ] = None,
    max_latency_ms: Annotated[
        float | None,
        typer.Option("--max-latency-ms", min=0, help="Longest latency of most answers."),
    ] = None,
    max_memory_mb: Annotated[
        float | None, typer.Option("--max-memory-mb", min=0, help="Most memory.")
    ] = None,
    weights: Annotated[
        str | None, typer.Option("--weights", help="quality=0.7,energy=0.1,... for this task.")
    ] = None,
    anew: Annotated[
        bool,
        typer.Option("--anew", help="Keep nothing of a task of this name, its cases neither."),
    ] = False,
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Add a task, or change the one of this name; its cases run on every model.

    What is not named stays as it was.
    """

    async def work(client: Client) -> None:
        if option and grader is None:
            raise InvalidField("--grader-option belongs to a --grader.", hint="Name the grader.")
        told: Json = {
            "parent": parent,
            "needs": None if needs is None else _split(needs),
            "threshold": threshold,
            "max_latency_ms": max_latency_ms,
            "max_memory_mb": max_memory_mb,
            "cases": None if cases is None else read_file(cases),
            "grader": None
            if grader is None
            else {"kind": grader, "options": dict(_option(one) for one in option or [])},
            "weights": None
            if weights is None
            else dict(_option(part) for part in weights.split(",")),
        }
        given = {what: value for what, value in told.items() if value is not None}
        before = {} if anew else await _as_it_is(client, task)
        kept = {
            what: before[what]
            for what in told
            if what not in given and before.get(what) not in (None, [], "")
        }
        found = await followed(
            client,
            "PUT",
            f"/tasks/{segment(task)}",
            {**kept, **given},
            quiet=as_json,
            # what is kept was read: whoever changed it meanwhile is not written over
            still=text(before["etag"]) if before else None,
        )
        if as_json:
            show_json(found)
            return
        OUT.print(f"task {task}: {found.get('cases')} cases", markup=False)
        if kept:
            words = ", ".join(what.replace("_", " ") for what in kept)
            OUT.print(f"  as before: {words} (--anew keeps nothing)", markup=False)
        if "grader" in given and before.get("grader") not in (None, given["grader"]):
            OUT.print(
                "  grades that requests got by the other grader still count; to forget them: "
                f"arbiter knowledge reset --task {task}",
                markup=False,
            )

    with_house(data_dir, config, work)


async def _as_it_is(client: Client, task: str) -> Json:
    """What stands of a task, as it is added; nothing where there is none of this name."""
    listed = await client.listed("/tasks", "tasks")
    if task not in {one["task"] for one in items(listed["tasks"])}:
        return {}
    found = await client.call("GET", f"/tasks/{segment(task)}")
    cases = "\n".join(json.dumps(one, ensure_ascii=False) for one in items(found["case_list"]))
    return {**found, "cases": cases}


def _split(words: list[str] | None) -> list[str]:
    return [word for words_ in words or [] for word in words_.split(",") if word]


def _option(text_: str) -> tuple[str, object]:
    name, sign, value = text_.partition("=")
    if not sign or not name.strip():
        raise InvalidField(f"{text_!r} is not NAME=VALUE.")
    if value.startswith("@"):
        value = read_file(Path(value[1:]))
    try:
        return name.strip(), json.loads(value)
    except ValueError:
        return name.strip(), value


@app.command("list")
def list_(data_dir: DataDir = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Every task, and what it demands."""

    async def work(client: Client) -> None:
        await show_list(
            client,
            "/tasks",
            "tasks",
            (
                "task",
                "parent",
                "grader",
                "cases",
                "needs",
                "threshold",
                "max latency",
                "max memory",
            ),
            lambda one: (
                one["task"],
                text(one["parent"]),
                *_demands(one["in_force"], one["cases"]),
            ),
            empty="No task yet: arbiter tasks add NAME --cases FILE --grader KIND",
            as_json=as_json,
        )

    with_house(data_dir, config, work)


def _demands(counts: Mapping[str, Any], cases: object) -> tuple[str, ...]:
    """What a task demands, in the cells of a table; also what it takes from its parent."""
    return (
        text(counts["grader"] and counts["grader"]["kind"]),
        text(cases),
        text(counts["needs"]),
        number(counts["threshold"]),
        number(counts["max_latency_ms"], digits=0, unit=" ms"),
        number(counts["max_memory_mb"], digits=0, unit=" MB"),
    )


@app.command()
def show(
    task: Task, data_dir: DataDir = None, config: ConfigFile = None, as_json: AsJson = False
) -> None:
    """A task and how every model does at it."""

    async def work(client: Client) -> None:
        found = await client.call("GET", f"/tasks/{segment(task)}")
        if as_json:
            show_json(found)
            return
        OUT.print(f"{task}: {found['cases']} cases, digest {found['digest']}", markup=False)
        if found["parent"] is not None:
            OUT.print(_above(found), markup=False)
        profiles = found["profiles"]
        show_table(
            ("model", "quality", "graded", "samples", "latency p50", "p90", "tokens/s p50"),
            [
                (
                    name,
                    number(one["quality"]),
                    text(one["graded"]),
                    text(one["samples"]),
                    spread(one["speed"]["latency_ms"], "p50"),
                    spread(one["speed"]["latency_ms"], "p90"),
                    spread(one["speed"]["tokens_per_s"], "p50", digits=1, unit=""),
                )
                for name, one in (profiles if isinstance(profiles, dict) else {}).items()
            ],
            empty="No model yet: arbiter models add FILE.gguf",
        )

    with_house(data_dir, config, work)


def _above(found: Json) -> str:
    """Whose finer kind a task is, and what it takes from there.

    >>> own = {"grader": None, "threshold": 0.9}
    >>> counts = {"grader": {"kind": "exact"}, "threshold": 0.9}
    >>> _above({"parent": "code", **own, "in_force": counts})
    'a finer kind of code, and from there: grader exact'
    """
    counts = found["in_force"]
    taken = [
        f"{name.replace('_', ' ')} {_short(value)}"
        for name, value in (counts.items() if isinstance(counts, dict) else ())
        if value != found[name]
    ]
    return f"a finer kind of {found['parent']}, and from there: {'; '.join(taken) or 'nothing'}"


def _short(value: object) -> str:
    match value:
        case {"kind": kind}:
            return text(kind)
        case dict():
            return ", ".join(f"{name}={part}" for name, part in value.items())
        case _:
            return text(value)


@app.command()
def remove(
    task: Task, data_dir: DataDir = None, config: ConfigFile = None, as_json: AsJson = False
) -> None:
    """Forget a task and its cases. What was measured stays."""

    async def work(client: Client) -> None:
        found = await client.call("DELETE", f"/tasks/{segment(task)}")
        if as_json:
            show_json(found)
        else:
            OUT.print(f"task {task} is forgotten", markup=False)

    with_house(data_dir, config, work)
