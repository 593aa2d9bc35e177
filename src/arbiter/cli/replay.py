"""`arbiter replay`: what the selector would have lost on a table of known success rates."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from arbiter.cli.options import AsJson, fail, read_file
from arbiter.cli.output import OUT, number, show_json
from arbiter.errors import ArbiterError
from arbiter.studies.pools import parse_pool
from arbiter.studies.replay import Break, Plan, replay_break
from arbiter.studies.replay import replay as replayed


def replay(
    table: Annotated[
        Path, typer.Argument(help="A CSV file: task,n,MODEL,MODEL,...", show_default=False)
    ],
    requests: Annotated[int, typer.Option("--requests", help="Requests of a run.")] = 5000,
    feedback: Annotated[float, typer.Option("--feedback", help="Share that is judged.")] = 0.2,
    calibration: Annotated[int, typer.Option("--calibration", help="Cases a cell, free.")] = 8,
    seeds: Annotated[int, typer.Option("--seeds", help="Runs.")] = 30,
    strategy: Annotated[str, typer.Option("--strategy", help="learned or static.")] = "learned",
    broken: Annotated[
        str | None, typer.Option("--break", help="Break this version in the midst.")
    ] = None,
    to: Annotated[float, typer.Option("--to", help="Its rate is this at most then.")] = 0.45,
    at: Annotated[int, typer.Option("--at", help="From this request on.")] = 2500,
    as_json: AsJson = False,
) -> None:
    """Replay the selector on a pool whose rates are known, and tell its regret."""
    try:
        pool = parse_pool(read_file(table), source=table.name)
        plan = Plan(
            strategy=strategy,
            requests=requests,
            feedback=feedback,
            calibration=calibration,
            seeds=seeds,
        )
        if broken is None:
            found = replayed(pool, plan)
        else:
            found = replay_break(pool, plan, Break(version=broken, to=to, at=at))
    except ArbiterError as error:
        raise fail(error) from error
    if as_json:
        show_json(found)
        return
    for key, value in found.items():
        if isinstance(value, dict) and "mean" in value:
            OUT.print(
                f"{key:<12} {number(value['mean'])} (standard error {number(value['se'])})",
                markup=False,
            )
        else:
            OUT.print(f"{key:<12} {value}", markup=False)
