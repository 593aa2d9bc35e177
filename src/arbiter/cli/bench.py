"""`arbiter bench`: the proofs that can be repeated on one's own machine."""

from __future__ import annotations

from typing import Annotated

import typer

from arbiter.cli.options import AsJson, run
from arbiter.cli.output import ERR, OUT, show_json
from arbiter.clock import SystemClock
from arbiter.demo.no_loss import prove

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
