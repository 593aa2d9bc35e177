"""`arbiter bench`: the proofs that can be repeated on one's own machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from arbiter.cli.options import AsJson, run
from arbiter.cli.output import ERR, OUT, number, show_json, show_table
from arbiter.clock import SystemClock

if TYPE_CHECKING:
    # each command takes in its own: together they are 40 ms of every start
    from arbiter.studies.checks import Check

app = typer.Typer(help="Proofs that can be repeated on your own machine.")


@app.callback()
def bench() -> None:
    """Proofs that can be repeated on your own machine."""


def _say(line: str) -> None:
    ERR.print(line, markup=False)


@app.command()
def noloss(
    streams: Annotated[
        int, typer.Option("--streams", help="Streams to run, at least.", min=100)
    ] = 2_000,
    as_json: AsJson = False,
) -> None:
    """Stream from real models while they are swapped, evicted, unloaded and killed.

    Every stream is compared with what its version answers alone. Ends with 1 when one was lost,
    truncated or duplicated.
    """
    from arbiter.demo.no_loss import prove  # noqa: PLC0415  # as above

    async def work() -> None:
        found = await prove(streams=streams, clock=SystemClock(), say=_say)
        plain = found.to_plain()
        if as_json:
            show_json(plain)
        else:
            for fault in found.faults:
                ERR.print(fault, markup=False)
            words = ("streams", "whole", "lost", "truncated", "duplicated", "cut_by_kill")
            OUT.print(", ".join(f"{word} {plain[word]}" for word in words), markup=False)
            done = ", ".join(f"{what} {times}" for what, times in found.done.items())
            OUT.print(f"{done}; {found.prompts} prompts", markup=False)
        if not found.is_proved:
            raise typer.Exit(1)

    run(work)


@app.command()
def metering(as_json: AsJson = False) -> None:
    """Repeat every check of the meter here: some three minutes. Ends with 1 when one fails."""
    from arbiter.studies.metering import checks  # noqa: PLC0415  # as above

    found: list[Check] = []

    async def work() -> None:
        async for check in checks(SystemClock()):
            ERR.print(f"  {check.id}: {check.state.value}", markup=False)
            found.append(check)

    run(work)
    tell(found, as_json=as_json)


def tell(found: Sequence[Check], *, as_json: bool) -> None:
    """Print the checks; end with 1 when one failed."""
    from arbiter.studies.checks import failed  # noqa: PLC0415  # as above

    if as_json:
        show_json({"checks": [{**asdict(check), "state": check.state.value} for check in found]})
    else:
        show_table(
            ("", "check", "off by", "allowed", "", "how"),
            [
                (
                    check.id,
                    check.title,
                    number(check.error_pct, digits=3, unit=" %"),
                    number(check.limit_pct, digits=3, unit=" %"),
                    check.state.value,
                    check.why,
                )
                for check in found
            ],
            empty="",
        )
    if failed(found):
        raise typer.Exit(1)
