"""`arbiter prompts` and `arbiter tasks harvest`: kept requests, made into cases or forgotten."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

import typer

from arbiter.cli.client import Client, Json, segment
from arbiter.cli.options import AsJson, ConfigFile, DataDir, with_house
from arbiter.cli.output import OUT, items, show_json, show_table, text

app = typer.Typer(
    help="Requests that are kept to make cases of; none unless you say so.", no_args_is_help=True
)

SHOWN = 70
"""Characters of a prompt that a table shows."""


@app.command("list")
def list_(data_dir: DataDir = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """How many requests are kept, of which tasks, and from when."""

    async def work(client: Client) -> None:
        found = await client.call("GET", "/prompts")
        if as_json:
            show_json(found)
            return
        state = (
            f"requests of tasks are kept: at most {found['most']}, for {found['keep_days']} days"
            if found["stored"]
            else "requests are not kept (privacy.store_prompts is off)"
        )
        OUT.print(state, markup=False)
        tasks = found["tasks"]
        show_table(
            ("task", "kept", "oldest", "newest"),
            [
                (one["task"], text(one["count"]), one["oldest"][:19], one["newest"][:19])
                for one in items(tasks)
            ],
            empty="Nothing is kept.",
        )

    with_house(data_dir, config, work)


@app.command()
def forget(
    task: Annotated[str | None, typer.Option("--task", help="Only those of this task.")] = None,
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Delete kept requests for good. Cases that were made of them stay."""

    async def work(client: Client) -> None:
        where = "/prompts" if task is None else f"/prompts?task={quote(task, safe='')}"
        found = await client.call("DELETE", where)
        if as_json:
            show_json(found)
        else:
            OUT.print(f"{found['forgotten']} requests are forgotten", markup=False)

    with_house(data_dir, config, work)


def harvest(
    task: Annotated[str, typer.Argument(help="The task's name.", show_default=False)],
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=2000, help="At most so many new cases.")
    ] = 50,
    decisions: Annotated[
        list[str] | None,
        typer.Option("--from-decisions", help="Only these requests, by decision (repeatable)."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be added, and add nothing.")
    ] = False,
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Make cases of kept requests whose right answer is known, the newest first."""

    async def work(client: Client) -> None:
        body: Json = {
            "limit": limit,
            "decisions": [one for many in decisions or [] for one in many.split(",") if one],
            "dry_run": dry_run,
        }
        found = await client.call("POST", f"/tasks/{segment(task)}/harvest", body)
        if as_json:
            show_json(found)
        else:
            _tell(task, found, dry_run=dry_run)

    with_house(data_dir, config, work)


def _tell(task: str, found: Json, *, dry_run: bool) -> None:
    taken, left = found["taken"], found["left"]
    show_table(
        ("decision", "known because", "expected", "prompt"),
        [
            (one["decision"], one["why"], text(one["expected"])[:SHOWN], _last(one["messages"]))
            for one in items(taken)
        ],
        empty="Nothing new was found.",
    )
    why: dict[str, int] = {}
    for one in items(left):
        why[one["why"]] = why.get(one["why"], 0) + 1
    for reason, count in why.items():
        OUT.print(f"  {count} left out: {reason}", markup=False)
    if not taken:
        return
    count = len(taken) if isinstance(taken, list) else 0
    cases, were = ("1 case", "was") if count == 1 else (f"{count} cases", "were")
    if dry_run:
        OUT.print(f"{cases} would be added to {task}; nothing was changed", markup=False)
        return
    OUT.print(f"{cases} {were} added to {task}, which has {found['cases']} now", markup=False)
    OUT.print(
        f"  its digest changes with them: {found['before']} -> {found['after']}", markup=False
    )
    held, most = found["cases"], found["run_at_most"]
    if isinstance(held, int) and isinstance(most, int) and held > most:
        OUT.print(
            f"  only the first {most} cases are run (rollout.calibration_cases)", markup=False
        )


def _last(messages: list[Json]) -> str:
    words = " ".join(str(messages[-1]["content"]).split())
    return words if len(words) <= SHOWN else f"{words[:SHOWN]} ..."
