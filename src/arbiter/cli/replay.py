"""`arbiter replay`: the selector over known success rates, or over a log of real decisions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arbiter.cli.options import AsJson, fail, read_file
from arbiter.cli.output import OUT, number, show_json, show_table
from arbiter.errors import ArbiterError, InvalidField

if TYPE_CHECKING:
    # what is studied with is taken in by whoever does: 20 ms of every start
    from arbiter.studies.log import Log
    from arbiter.studies.replay import Break

TO, AT = 0.45, 2500
"""How far a version breaks unless it is said, and when."""


def replay(
    table: Annotated[
        Path | None,
        typer.Argument(help="A CSV file: task,n,MODEL,MODEL,...", show_default=False),
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option(
            "--log",
            help="Instead of a table: the data directory of a house, or a file of JSON lines.",
            show_default=False,
        ),
    ] = None,
    requests: Annotated[
        int,
        typer.Option(
            "--requests", help="Requests of a run; one that breaks a version ends 1,000 after --at."
        ),
    ] = 5000,
    feedback: Annotated[float, typer.Option("--feedback", help="Share that is judged.")] = 0.2,
    calibration: Annotated[int, typer.Option("--calibration", help="Cases a cell, free.")] = 8,
    seeds: Annotated[int, typer.Option("--seeds", help="Runs.")] = 30,
    first: Annotated[int, typer.Option("--first", help="Number of the first run.")] = 0,
    strategy: Annotated[
        str, typer.Option("--strategy", help="learned, static, or for a log always:MODEL.")
    ] = "learned",
    broken: Annotated[
        str | None, typer.Option("--break", help="Break this version in the midst.")
    ] = None,
    to: Annotated[
        float | None,
        typer.Option(
            "--to", help="Its rate is this at most then: 0.45 unless told.", show_default=False
        ),
    ] = None,
    at: Annotated[
        int | None,
        typer.Option("--at", help="From this request on: 2500 unless told.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Replay the selector: on a pool whose rates are known, or on a log of real decisions.

    A table tells the selector's regret. A log tells what the strategy would have earned.
    """
    from arbiter.studies.hindsight import in_hindsight  # noqa: PLC0415  # as above
    from arbiter.studies.pools import parse_pool  # noqa: PLC0415
    from arbiter.studies.replay import Plan, replay_break  # noqa: PLC0415
    from arbiter.studies.replay import replay as replayed  # noqa: PLC0415

    try:
        breaks = _break(broken, to=to, at=at, is_of_table=table is not None)
        if log is not None and table is None:
            found = in_hindsight(_log(log), strategy)
        elif table is not None and log is None:
            pool = parse_pool(read_file(table), source=table.name)
            plan = Plan(
                strategy=strategy,
                requests=requests,
                feedback=feedback,
                calibration=calibration,
                seeds=seeds,
                first=first,
            )
            found = replayed(pool, plan) if breaks is None else replay_break(pool, plan, breaks)
        else:
            raise InvalidField("Name a table, or a log with --log.", param="log")
    except ArbiterError as error:
        raise fail(error) from error
    if as_json:
        show_json(found)
    elif table is None:
        _show_hindsight(found)
    else:
        _show(found)


def _break(
    version: str | None, *, to: float | None, at: int | None, is_of_table: bool
) -> Break | None:
    """What is to be broken. Raises `InvalidField` for options that would change nothing."""
    if version is None:
        given = next((name for name, value in (("to", to), ("at", at)) if value is not None), None)
        if given is not None:
            raise InvalidField(
                f"--{given} says how a version breaks, and --break names none.",
                hint="Name one: --break VERSION.",
                param=given,
            )
        return None
    if not is_of_table:
        raise InvalidField(
            "--break breaks a version of a table: of a log it is not known how good it was.",
            hint="Name a table: arbiter replay TABLE.csv --break VERSION.",
            param="break",
        )
    from arbiter.studies.replay import Break  # noqa: PLC0415  # as above

    return Break(version=version, to=TO if to is None else to, at=AT if at is None else at)


def _log(path: Path) -> Log:
    from arbiter.studies.house_log import house_log  # noqa: PLC0415  # as above
    from arbiter.studies.log import parse_log  # noqa: PLC0415

    if path.expanduser().is_dir():
        return house_log(path.expanduser())
    return parse_log(read_file(path), source=path.name)


def _show(found: dict[str, Any]) -> None:
    shown = dict(found)
    shares, broken = shown.pop("share", {}), shown.pop("break", None)
    if broken is not None:
        shown["break"] = f"{broken['version']} to {broken['to']} at request {broken['at']}"
    shown |= {f"share at +{later}": share for later, share in shares.items()}
    traffic = shown.pop("share_of_traffic", {})
    shown |= {f"of traffic +{later}": share for later, share in traffic.items()}
    again = shown.pop("run_again", {})
    shown |= {f"again, {what}": count for what, count in again.items()}
    for key, value in shown.items():
        text = value
        if value is None:
            text = "- (the version was the pick nowhere where another one is better now)"
        elif isinstance(value, dict):
            text = f"{number(value['mean'])} (standard error {number(value['se'])})"
        elif isinstance(value, float):
            text = f"{value:.6g}"
        OUT.print(f"{key:<16} {text}", markup=False)


_ESTIMATES = (
    ("doubly robust", "doubly_robust"),
    ("with a baseline", "baseline"),
    ("self-normalised", "self_normalised"),
    ("inverse propensity", "inverse_propensity"),
)


def _show_hindsight(found: dict[str, Any]) -> None:
    rows = [(words, *_numbers(found["estimates"][name])) for words, name in _ESTIMATES]
    rows += [
        ("earned by the house", *_numbers(found["earned"])),
        ("difference", *_numbers(found["difference"])),
    ]
    show_table((found["strategy"], "mean score", "95 % interval"), rows, empty="")
    OUT.print(
        f"\n{found['used']} of {found['decisions']} decisions, worth "
        f"{number(found['effective_sample'], digits=0)} of this strategy's own.",
        markup=False,
    )
    for why, count in found["left_out"].items():
        OUT.print(f"  {count} left out: {why}", markup=False)
    if not found["is_support_known"]:
        OUT.print(
            "  The log does not say whom else the house could have picked: where it never would "
            "have done what this strategy does, the estimate is too low.",
            markup=False,
        )


def _numbers(one: dict[str, Any]) -> tuple[str, str]:
    ends = one["interval"]
    return number(one["mean"], digits=3), (
        "-" if ends is None else f"{ends[0]:.3f} to {ends[1]:.3f}"
    )
