"""`arbiter rollout-simulate`: how often a rollout would be wrong, without any model."""

from __future__ import annotations

from typing import Annotated

import typer

from arbiter.cli.options import AsJson, fail, seconds, share
from arbiter.cli.output import OUT, number, show_json
from arbiter.errors import ArbiterError, InvalidField


def rollout_simulate(
    p_old: Annotated[
        float, typer.Option("--p-old", help="How often the old model is right.", show_default=False)
    ],
    p_new: Annotated[
        float, typer.Option("--p-new", help="How often the new model is right.", show_default=False)
    ],
    requests: Annotated[int, typer.Option("--requests", help="Requests of a run, at most.")] = 2000,
    runs: Annotated[int, typer.Option("--runs", help="Runs.")] = 500,
    drift: Annotated[
        str | None,
        typer.Option(
            "--drift",
            help="The old model's rate at first and at last, as in .9:.7; the ratio stays.",
        ),
    ] = None,
    tasks: Annotated[
        int, typer.Option("--tasks", help="Tasks, each with half the traffic of the one before.")
    ] = 1,
    unit: Annotated[int, typer.Option("--unit", help="Requests of a conversation.")] = 1,
    per_hour: Annotated[
        float, typer.Option("--per-hour", help="Requests an hour; a step takes an hour.")
    ] = 200.0,
    schedule: Annotated[
        str,
        typer.Option(
            "--schedule", help="proved: at most a half until it is proved; clock: a step an hour."
        ),
    ] = "proved",
    shadow: Annotated[
        str,
        typer.Option(
            "--shadow", help="Share of conversations asked of both models, such as 20% or 0.2."
        ),
    ] = "0",
    correlation: Annotated[
        float,
        typer.Option("--correlation", help="Between both models' answers to one prompt, at most."),
    ] = 0.6,
    slice_: Annotated[
        str | None,
        typer.Option(
            "--slice",
            help="How long a window is, such as 15m, where both models take turns."
            " (--apart slices)",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Simulate rollouts by the code that decides real ones, and tell how they end."""
    from arbiter.studies.rollouts import Case, simulate  # noqa: PLC0415  # for whoever studies

    try:
        case = Case(
            p_old=p_old,
            p_new=p_new,
            requests=requests,
            runs=runs,
            drift=_rates(drift),
            tasks=tasks,
            unit=unit,
            per_hour=per_hour,
            schedule=schedule,
            shadow=share(shadow, "shadow") or 0.0,
            correlation=correlation,
            slice_s=seconds(slice_),
        )
        found = simulate(case)
    except ArbiterError as error:
        raise fail(error) from error
    if as_json:
        show_json(found)
        return
    units = "units" if slice_ is None else "windows"
    for name in ("rollback", "promote", "inconclusive"):
        OUT.print(f"{name:<13} {number(found[name], digits=3)} of runs", markup=False)
    OUT.print(f"median {units}  {number(found['median_units'], digits=0)}", markup=False)
    OUT.print(f"bad answers   {number(found['bad_answers'], digits=1)}", markup=False)
    if "median_pairs" in found:
        OUT.print(f"median pairs  {number(found['median_pairs'], digits=0)}", markup=False)


def _rates(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        begun, ended = text.split(":")
        return float(begun), float(ended)
    except ValueError as error:
        raise InvalidField(
            f"--drift {text!r:.40} is not two rates.", hint="Give it as .9:.7.", param="drift"
        ) from error
