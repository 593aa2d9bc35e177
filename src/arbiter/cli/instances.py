"""`arbiter models` load, unload, ps, pin and unpin: what is in memory."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from arbiter.cli.client import Client, Json, Refused, segment
from arbiter.cli.options import AsJson, ConfigFile, DataDir, followed, seconds, with_house
from arbiter.cli.output import OUT, items, number, show_json, show_table, size, text
from arbiter.errors import InvalidField

Name = Annotated[str, typer.Argument(help="A registered name or alias.", show_default=False)]


def moment(date: str) -> str:
    """A date as people write it, in this machine's time, as a whole date. Raises `InvalidField`."""
    try:
        return datetime.fromisoformat(date).astimezone().isoformat()
    except ValueError as error:
        raise InvalidField(f"{date!r} is no date.", hint="Write it as 2026-12-01T18:00.") from error


def _until(date: object) -> str:
    """A pin's end, in this machine's time as `moment` reads it."""
    if date is None:
        return "for good"
    return f"until {datetime.fromisoformat(str(date)).astimezone():%Y-%m-%d %H:%M}"


def load(
    name: Name,
    instances: Annotated[
        int, typer.Option("--instances", min=1, max=16, help="So often, each with its own slots.")
    ] = 1,
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Load a model now, so that its first request need not wait."""

    async def work(client: Client) -> None:
        _needs_running(client)
        body: Json = {"instances": instances}
        found = await followed(
            client, "POST", f"/instances/{segment(name)}/load", body, quiet=as_json
        )
        if as_json:
            show_json(found)
        else:
            held, took = size(found["measured_bytes"]), number(found["load_s"], unit=" s")
            often = "" if found["instances"] == 1 else f" {text(found['instances'])} times"
            each = "" if not often else " each"
            OUT.print(f"{name} is loaded{often}: {held}{each}, in {took}", markup=False)

    with_house(data_dir, config, work)


def unload(
    name: Name,
    now: Annotated[
        bool, typer.Option("--now", help="Cut the answers that run; they end with an error.")
    ] = False,
    number_: Annotated[
        int | None,
        typer.Option(
            "--number", min=1, max=16, help="Only this one of its instances; the others serve."
        ),
    ] = None,
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Unload a model, once the answers that run have ended (at most pool.drain_s)."""

    async def work(client: Client) -> None:
        _needs_running(client)
        body: Json = {"now": now, "number": number_}
        found = await client.call("POST", f"/instances/{segment(name)}/unload", body)
        if as_json:
            show_json(found)
        else:
            which = "" if number_ is None else f"instance {number_} of "
            said = "is unloaded" if found["unloaded"] else "was not loaded"
            OUT.print(f"{which}{name} {said}", markup=False)

    with_house(data_dir, config, work)


def pin(
    name: Name,
    span: Annotated[
        str | None, typer.Option("--for", help="For so long: 30m, 8h, 7d. [default: for good]")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", help="Until this date: 2026-12-01T18:00.")
    ] = None,
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Keep a name's model in memory: it is loaded now and at every start, and never evicted."""

    async def work(client: Client) -> None:
        body: Json = {
            "for_s": seconds(span),
            "until": None if until is None else moment(until),
            "load": not client.own,
        }
        found = await followed(client, "PUT", f"/pins/{segment(name)}", body, quiet=as_json)
        if as_json:
            show_json(found)
            return
        pinned = found["pin"]
        OUT.print(
            f"{name} is pinned {_until(pinned['until'] if isinstance(pinned, dict) else None)}",
            markup=False,
        )

    with_house(data_dir, config, work)


def unpin(
    name: Name, data_dir: DataDir = None, config: ConfigFile = None, as_json: AsJson = False
) -> None:
    """Let a pinned model go like any other. It stays loaded until its memory is needed."""

    async def work(client: Client) -> None:
        found = await client.call("DELETE", f"/pins/{segment(name)}")
        if as_json:
            show_json(found)
        else:
            said = "is pinned no more" if found["unpinned"] else "was not pinned"
            OUT.print(f"{name} {said}", markup=False)

    with_house(data_dir, config, work)


def ps(data_dir: DataDir = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """What is in memory now: predicted beside measured, who waits, what a load takes."""

    async def work(client: Client) -> None:
        found = await client.listed("/instances", "instances")
        if as_json:
            show_json(found)
            return
        instances = found["instances"]
        show_table(
            ("names", "version", "engine", "state", "in use", "waiting", "predicted", "measured",
             "load", "what"),
            [
                (
                    text(one["names"]),
                    one["short"],
                    one["engine"],
                    one["state"],
                    text(one["leases"]),
                    text(one["waiting"]),
                    size(one["predicted_bytes"]),
                    size(one["measured_bytes"]),
                    number(one["load_s"], digits=1, unit=" s"),
                    _what(one),
                )
                for one in items(instances)
            ],
            empty="Nothing is loaded; models load when they are first asked.",
        )  # fmt: skip
        _budget(found)

    with_house(data_dir, config, work)


def _what(one: Json) -> str:
    """What else is to be known: a pin, what a load waits for, what went wrong, what was avoided."""
    parts = [
        *_beside(one),
        f"pinned {_until(one['pinned_until'])}" if one["is_pinned"] else "",
        "" if one["waits_for"] is None else f"waits for memory: {one['waits_for']}",
        str(one["ailing"] or _slow(one) or one["probe"] or one["last_error"] or ""),
        str(one["resting"] or ""),
        _too_little(one),
        f"{one['reloads_avoided']} reloads avoided" if one["reloads_avoided"] else "",
    ]
    return text("; ".join(filter(None, parts)))


def _slow(one: Json) -> str:
    return f"it is slow: {one['slow']}" if one["slow"] else ""


def _too_little(one: Json) -> str:
    short = one["too_little_bytes"]
    found = short.items() if isinstance(short, dict) else ()
    return ", ".join(f"{size(most)} ({memory}) were too little" for memory, most in found)


def _beside(one: Json) -> list[str]:
    """Which of several instances it is, and what share of the work it has."""
    if one["most"] == 1 and one["number"] == 1:
        return []
    where = "" if one["place"] is None else f" at {one['place']}"
    number_, most = int(str(one["number"])), int(str(one["most"]))
    often = f" of up to {most}" if number_ <= most else ""  # a server that is away counts as none
    ramp, weight = float(str(one["ramp"])), float(str(one["weight"]))
    return [
        f"instance {number_}{often}{where}",
        "" if weight == 1.0 else f"weight {weight:g}",
        f"slow start: {ramp:.0%}" if ramp < 1.0 and one["state"] == "ready" else "",
    ]


def _budget(found: Json) -> None:
    now, given = found["budget_now"], found["budget_bytes"]
    for memory, most in (now if isinstance(now, dict) else {}).items():
        beside = f" (of {size(given)} given to them)" if memory == "host" and given else ""
        where = "" if memory == "host" else f" on {memory}"
        OUT.print(f"models may have {size(most)} now{where}{beside}", markup=False)


def _needs_running(client: Client) -> None:
    if client.own:
        raise Refused("No house is running here, so nothing is in memory.", hint="arbiter up")
