"""`arbiter costs`: what answers cost, one of them or all of them together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote

import typer

from arbiter.cli.client import Client, segment
from arbiter.cli.costs_page import write_page
from arbiter.cli.options import AsJson, ConfigFile, DataDir, with_house
from arbiter.cli.output import OUT, number, show_json, show_table, size, text
from arbiter.cost import JOULES_IN_A_MWH
from arbiter.knowledge.cost_sums import By
from arbiter.refs import short

app = typer.Typer(help="What answers cost: time, memory, energy.", no_args_is_help=False)

Found = Mapping[str, Any]

_WIDTH: Final = 30
_PARTS: Final = ("attributed", "idle", "resting", "unattributed")

_TIMES: Final = (
    ("wall_ms", "from arrival to end"),
    ("wait_ms", "waited for its slot"),
    ("load_ms", "of that for a load"),
    ("first_token_ms", "until its first piece"),
    ("prefill_ms", "reading the prompt"),
    ("decode_ms", "writing"),
    ("cpu_ms", "CPU time"),
    ("gpu_ms", "accelerator time"),
)
_SHARES: Final = (
    ("cpu_utilisation", "of all hardware threads"),
    ("gpu_utilisation", "of an accelerator"),
    ("ane_utilisation", "of a neural engine"),
)
_MEMORY: Final = (
    ("peak_bytes", "most memory"),
    ("mean_bytes", "memory on average"),
    ("device_bytes", "most device memory"),
)
_COUNTS: Final = (
    ("tokens_in", "tokens in"),
    ("tokens_out", "tokens out"),
    ("tokens_cached", "of the prompt, cached"),
)


@app.callback(invoke_without_command=True)
def costs(
    context: typer.Context,
    by: Annotated[
        By, typer.Option("--by", help="What to put together: model, task, alias, caller or day.")
    ] = By.MODEL,
    days: Annotated[
        float | None, typer.Option("--days", help="Only of so many days.", show_default=False)
    ] = None,
    task: Annotated[
        str | None, typer.Option("--task", help="Only of one task.", show_default=False)
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option("--html", help="Also write one page with plots.", show_default=False),
    ] = None,
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """What answers cost together, by model, task, alias, caller or day."""
    if context.invoked_subcommand is not None:
        return

    async def work(client: Client) -> None:
        query = f"?by={by.value}" + ("" if days is None else f"&days={days}")
        query += "" if task is None else f"&task={quote(task, safe='')}"
        found = await client.call("GET", f"/costs{query}")
        if html is not None:
            write_page(html.expanduser(), found)
        if as_json:
            show_json(found)
            return
        _show_totals(found)
        if not client.own:
            _show_energy(found)
        if html is not None:
            OUT.print(f"{html} is written", markup=False)

    with_house(data_dir, config, work)


@app.command()
def show(
    decision: Annotated[str, typer.Argument(help="A decision's id, from the answer's headers.")],
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """The receipt of one answer: each figure, how it was come by, and how far it may be off."""

    async def work(client: Client) -> None:
        found = await client.call("GET", f"/decisions/{segment(decision)}/receipt")
        if as_json:
            show_json(found)
        else:
            _show_receipt(found)

    with_house(data_dir, config, work)


def _show_receipt(found: Found) -> None:
    alone = {True: "alone at its model", False: "beside others at its model"}
    OUT.print(
        f"{found['decision']}: {found['status']}, {alone.get(found['is_exclusive'], 'not counted')}"
        + (
            ""
            if found["concurrency"] is None
            else f", {number(found['concurrency'], digits=1)} at once on average"
        ),
        markup=False,
    )
    rows = [_row(found, key, label, unit=" ms", digits=1) for key, label in _TIMES]
    rows += [_row(found, key, label, share=True) for key, label in _SHARES]
    rows += [(label, size(found[key]["value"]), *_how(found[key])) for key, label in _MEMORY]
    rows.append(_row(found, "energy_mwh", "energy above rest", unit=" mWh", digits=4))
    rows += [_row(found, key, label, digits=0) for key, label in _COUNTS]
    rows.append(_row(found, "tokens_per_s", "tokens a second", digits=1))
    show_table(("what", "value", "method", "may be off by", "note"), rows, empty="")
    _show_attempts(found["attempts"])
    if not found["is_complete"]:
        OUT.print("energy and memory are still to come: ask again in a second", markup=False)


def _show_attempts(attempts: Sequence[Found]) -> None:
    """Every try, where there was more than one: what the figures above are the sums of."""
    if not attempts:
        return
    show_table(
        ("tried", "at", "ended", "took", "CPU", "energy"),
        [
            (
                one["name"] or short(one["version"]),
                text(one["place"]),
                text(one["error"] or "it answered"),
                number(one["took_ms"]["value"], digits=1, unit=" ms"),
                number(one["cpu_ms"]["value"], digits=1, unit=" ms"),
                number(one["energy_mwh"]["value"], digits=4, unit=" mWh"),
            )
            for one in attempts
        ],
        empty="",
    )


def _row(
    found: Found, key: str, label: str, *, unit: str = "", digits: int = 2, share: bool = False
) -> tuple[str, ...]:
    figure = found[key]
    mark = "about " if figure["method"] == "estimated" else ""
    value = number(figure["value"], digits=digits, unit=unit, share=share)
    return (label, mark + value, *_how(figure))


def _how(figure: Found) -> tuple[str, str, str]:
    return (
        text(figure["method"]),
        number(figure["error_pct"], digits=1, unit=" %"),
        text(figure["note"]),
    )


def _show_totals(found: Found) -> None:
    groups = found["groups"]
    show_table(
        (
            str(found["by"]),
            "answers",
            "failed",
            "tried in vain",
            "tokens in",
            "out",
            "tokens/s p50",
            "served p50",
            "p95",
            "CPU",
            "memory p95",
            "energy",
            "a million tokens",
            "a solved task",
        ),
        [_total(one) for one in (*groups, *([found["total"]] if len(groups) > 1 else []))],
        empty="No answer yet: arbiter ask TEXT",
    )
    bars(groups)
    for one in found["suggestions"]:
        OUT.print(f"{one['name']}: raise {one['setting']}? {one['why']}", markup=False)
    if found["is_cut"]:
        OUT.print("only the latest answers are added up: narrow it with --days", markup=False)


def _show_energy(found: Found) -> None:
    """Where the energy of each counter went since the house opened."""
    show_table(
        ("counter, since the house opened", "answers", "idle meanwhile", "at rest", "others"),
        [
            (name, *(number(one[f"{part}_j"] / JOULES_IN_A_MWH, unit=" mWh") for part in _PARTS))
            for name, one in found["energy"].items()
        ],
        empty="",
    )


def _total(one: Found) -> tuple[str, ...]:
    return (
        text(one["name"]),
        text(one["requests"]),
        text(one["failed"]),
        text(one["tries"]),
        text(one["tokens_in"]),
        text(one["tokens_out"]),
        _spread(one["tokens_per_s"], "p50", digits=1, unit=""),
        _spread(one["served_ms"], "p50"),
        _spread(one["served_ms"], "p95"),
        number(one["cpu_s"], digits=2, unit=" s"),
        size((one["peak_bytes"] or {}).get("p95")),
        energy(one),
        number(one["wh_per_mtok"], digits=1, unit=" Wh"),
        number(one["mwh_per_solved"], digits=3, unit=" mWh"),
    )


def energy(one: Found) -> str:
    """Energy of a group: counted, or about as much, or a dash; never the two added."""
    if one["energy_mwh"] is not None:
        return number(one["energy_mwh"], digits=2, unit=" mWh")
    about = one["estimated_mwh"]
    return "-" if about is None else f"about {number(about, digits=2, unit=' mWh')}"


def _spread(found: Found | None, key: str, *, digits: int = 0, unit: str = " ms") -> str:
    return number(None if found is None else found[key], digits=digits, unit=unit)


def measure(groups: Sequence[Found]) -> tuple[str, str, str]:
    """What a plot of these groups shows: a field, what it is called, and its unit."""
    for field, label, unit in (
        ("energy_mwh", "energy", " mWh"),
        ("estimated_mwh", "energy, estimated", " mWh"),
        ("cpu_s", "CPU time", " s"),
    ):
        if any(one[field] for one in groups):
            return field, label, unit
    return "requests", "answers", ""


def bars(groups: Sequence[Found]) -> None:
    """A bar for each group, as long as its part of the largest."""
    if len(groups) < 2:
        return
    field, label, unit = measure(groups)
    most = max(one[field] or 0.0 for one in groups)
    OUT.print(f"\n{label}", markup=False)
    show_table(
        ("", "", ""),
        [
            (
                text(one["name"]),
                "\u2588" * round(_WIDTH * (one[field] or 0.0) / most) if most else "",
                number(one[field], digits=2, unit=unit),
            )
            for one in groups
        ],
        empty="",
    )
