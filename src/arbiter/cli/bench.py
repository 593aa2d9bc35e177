"""`arbiter bench metering`: how right the meter is, on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import typer

from arbiter.cli.options import AsJson, run
from arbiter.cli.output import ERR, number, show_json, show_table
from arbiter.clock import SystemClock
from arbiter.studies.checks import Check, failed
from arbiter.studies.metering import checks

app = typer.Typer(help="Measure this program on this machine.", no_args_is_help=True)


@app.callback()
def bench() -> None:
    """Measure this program on this machine."""


@app.command()
def metering(as_json: AsJson = False) -> None:
    """Repeat every check of the meter here; about two minutes. Ends with 1 when one fails."""
    found: list[Check] = []

    async def work() -> None:
        async for check in checks(SystemClock()):
            ERR.print(f"  {check.id}: {check.state.value}", markup=False)
            found.append(check)

    run(work)
    tell(found, as_json=as_json)


def tell(found: Sequence[Check], *, as_json: bool) -> None:
    """Print the checks; end with 1 when one failed."""
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
