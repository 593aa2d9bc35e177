"""`arbiter replay-swap`: what is lost after one version was replaced by another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from arbiter.cli.options import AsJson, fail, read_file
from arbiter.cli.output import ERR, OUT, number, show_json, show_table
from arbiter.errors import ArbiterError


def replay_swap(
    pairs: Annotated[
        Path,
        typer.Argument(
            help="A CSV file: kind,old,new,task,n,p_old,p_new; or task,n,MODEL,MODEL,... to make "
            "pairs of every kind from.",
            show_default=False,
        ),
    ],
    others: Annotated[
        Path | None,
        typer.Option(
            "--others", help="Versions beside the pair: task,n,MODEL,...", show_default=False
        ),
    ] = None,
    old: Annotated[
        list[str] | None,
        typer.Option(
            "--old",
            help="Of a table, replace this version, again for more. [default: the best]",
            show_default=False,
        ),
    ] = None,
    requests: Annotated[
        int, typer.Option("--requests", help="Requests before the swap, and after it.")
    ] = 2500,
    feedback: Annotated[float, typer.Option("--feedback", help="Share that is judged.")] = 0.2,
    calibration: Annotated[
        int, typer.Option("--calibration", help="Cases a cell, free, before.")
    ] = 8,
    cases: Annotated[
        int | None,
        typer.Option(
            "--cases",
            help="Cases a task on the successor, before its first request. "
            "[default: as --calibration]",
            show_default=False,
        ),
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", help="Runs of a pair.")] = 200,
    first: Annotated[int, typer.Option("--first", help="Number of the first run.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Replay a swap: what is lost after it by this learner, and by four fixed policies."""
    # taken in by whoever studies: 20 ms of every start
    from arbiter.studies.pairs import parse_pairs  # noqa: PLC0415
    from arbiter.studies.pools import parse_pool  # noqa: PLC0415
    from arbiter.studies.swaps import SwapPlan, replay_swaps  # noqa: PLC0415

    try:
        pool = None if others is None else parse_pool(read_file(others), source=others.name)
        told = parse_pairs(read_file(pairs), source=pairs.name, others=pool, old=old or ())
        plan = SwapPlan(
            requests=requests,
            feedback=feedback,
            calibration=calibration,
            cases=cases,
            seeds=seeds,
            first=first,
        )
        found = replay_swaps(told, plan, progress=_progress if ERR.is_terminal else None)
    except ArbiterError as error:
        raise fail(error) from error
    if as_json:
        show_json(found)
    else:
        _show(found)


def _progress(done: int, total: int) -> None:
    ERR.print(f"\r  {done} of {total} runs", end="\n" if done == total else "", markup=False)


def _show(found: dict[str, Any]) -> None:
    from arbiter.studies.swaps import POLICIES  # noqa: PLC0415  # as above

    rows = [
        [
            kind,
            *(_with_error(one["regret"][name]) for name in POLICIES),
            one["best"],
            _with_error(one["difference"], sign="+"),
            number(one["allowed"], digits=1),
            "yes" if one["is_within"] else "no",
        ]
        for kind, one in found["kinds"].items()
    ]
    show_table(
        ["kind", *POLICIES, "best fixed", "learned - best", "allowed", "within"], rows, empty=""
    )
    OUT.print(
        f"\nRegret over the {found['requests']} requests after the swap, with its standard error; "
        f"{found['seeds']} runs.",
        markup=False,
    )


def _with_error(found: dict[str, Any], *, sign: str = "") -> str:
    error = found["se"]
    return f"{found['mean']:{sign}.1f}" + ("" if error is None else f" ± {error:.1f}")
