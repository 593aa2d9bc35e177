"""`arbiter models calibration`: what is done of the graded cases, what is left, and what waits."""

from __future__ import annotations

from arbiter.cli.client import Client
from arbiter.cli.options import AsJson, ConfigFile, DataDir, with_house
from arbiter.cli.output import OUT, items, show_json, show_table, text


def calibration(
    data_dir: DataDir = None, config: ConfigFile = None, as_json: AsJson = False
) -> None:
    """Graded cases in idle time: what is done, what is left, and what waits for what."""

    async def work(client: Client) -> None:
        found = await client.call("GET", "/calibration")
        if as_json:
            show_json(found)
            return
        activity = "waiting for idle time" if client.own else text(found["activity"])
        why = "it goes on while a house is up" if client.own else text(found["why"])
        OUT.print(
            f"{activity}: {found['left']} cases left, {found['today']} of at most "
            f"{found['per_day']} run in the last 24 hours",
            markup=False,
        )
        OUT.print(f"  {why}", markup=False)
        entries = found["entries"]
        show_table(
            ("model", "task", "done", "left", "why", "waits for"),
            [
                (
                    one["model"],
                    one["task"],
                    f"{one['done']} of {one['cases']}",
                    text(one["left"]),
                    one["why"],
                    text(one["waits"]),
                )
                for one in items(entries)
            ],
            empty="No graded cases yet: arbiter tasks add NAME --cases FILE --grader KIND",
        )

    with_house(data_dir, config, work)
