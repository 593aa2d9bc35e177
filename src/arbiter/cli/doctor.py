"""`arbiter doctor`: what is wrong here, and the command that mends it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from arbiter.cli.client import Json, door_of, reach
from arbiter.cli.options import AsJson, ConfigFile, DataDir, run, settings_from
from arbiter.cli.output import OUT, show_json
from arbiter.clock import SystemClock
from arbiter.config import Settings
from arbiter.doctor.finding import State
from arbiter.errors import ArbiterError

_COLOURS = {State.OK: "green", State.WARN: "yellow", State.FAIL: "red"}


def doctor(
    paranoid: Annotated[
        bool, typer.Option("--paranoid", help="Look for code that runs when Python starts, too.")
    ] = False,
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """What is wrong here, what is missing, and the command that mends it. Changes nothing.

    Ends with 1 when something has to be mended.
    """
    from arbiter.doctor.examination import examined  # noqa: PLC0415  # 10 ms of a start

    async def work() -> None:
        settings = settings_from(data_dir, config)
        door = await door_of(settings.data_dir)
        found = await examined(
            settings,
            SystemClock(),
            door=door,
            paranoid=paranoid,
            instances=None if door is None else await _instances(settings),
            config=config,
        )
        if as_json:
            show_json({"findings": [{**asdict(one), "state": one.state.value} for one in found]})
        else:
            for one in found:
                OUT.print(f"{one.state.value:<5}", style=_COLOURS[one.state], end="")
                OUT.print(f"{one.about}: {one.sentence}", markup=False)
                if one.mend is not None:
                    OUT.print(f"     {one.mend}", markup=False)
        if any(one.state is State.FAIL for one in found):
            raise typer.Exit(1)

    run(work)


async def _instances(settings: Settings) -> Json | None:
    """What the running house tells of the models that it has loaded; None: it does not tell."""
    import aiohttp  # noqa: PLC0415  # 70 ms of a start

    try:
        async with reach(settings) as client:
            return None if client.own else await client.call("GET", "/instances")
    except (ArbiterError, OSError, aiohttp.ClientError):
        return None  # another key, or it closed meanwhile: the rest can be looked at all the same
