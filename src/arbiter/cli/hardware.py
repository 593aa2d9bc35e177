"""`arbiter hardware`: the machine as it is now. What is not known is a dash, with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from arbiter.cli.client import Client
from arbiter.cli.options import AsJson, ConfigFile, DataDir, with_house
from arbiter.cli.output import OUT, number, show_json, show_table, size, text

Found = Mapping[str, Any]


def hardware(data_dir: DataDir = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """What this machine is, what is in use, what can be read of it, and what engines could use."""

    async def work(client: Client) -> None:
        found = await client.call("GET", "/hardware")
        if as_json:
            show_json(found)
        else:
            _show(found)

    with_house(data_dir, config, work)


def _show(found: Found) -> None:
    power = {True: "on battery", False: "on mains"}.get(found["on_battery"], "power not known")
    OUT.print(f"{text(found['processor'])}; {found['system']}; {power}", markup=False)
    OUT.print(
        f"cores: {text(found['cores'])}, hardware threads: {text(found['threads'])}, usable here: "
        f"{text(found['usable_cores'])}; load in the last minute: {number(found['load_1min'])}",
        markup=False,
    )
    OUT.print(
        f"memory: {size(found['memory_bytes'])}, available: "
        f"{size(found['memory_available_bytes'])}, limit of its control group: "
        f"{size(found['memory_limit_bytes'])}",
        markup=False,
    )
    _show_battery(found["battery"])
    OUT.print("")
    show_table(
        ("accelerator", "memory", "used", "busy", "driver", "not known"),
        [_accelerator(one) for one in found["accelerators"]],
        empty="No accelerator is seen.",
    )
    OUT.print("")
    show_table(
        ("energy counter", "of", "by", "changes every", "readable"),
        [
            (
                one["name"],
                one["part"],
                one["source"],
                number(one["update_s"] * 1e3, digits=0, unit=" ms"),
                "yes" if one["readable"] else text(one["reason"]),
            )
            for one in found["counters"]
        ],
        empty="No energy counter can be read.",
    )
    OUT.print("")
    show_table(
        ("not known", "because"),
        [(what, why) for what, why in sorted(found["unknown"].items())],
        empty="Everything is known.",
    )
    OUT.print("")
    show_table(
        ("engine", "could use", "because"), [_engine(one) for one in found["engines"]], empty=""
    )


def _show_battery(found: Found | None) -> None:
    if found is None:
        return
    OUT.print(
        f"battery: {number(found['energy_mwh'], digits=0)} of "
        f"{number(found['full_mwh'], digits=0)} mWh, {text(found['status'])}, "
        f"{number(found['power_mw'], digits=0, unit=' mW')} (of the whole machine)",
        markup=False,
    )


def _accelerator(one: Found) -> tuple[str, ...]:
    memory = "the machine's own" if one["unified"] else size(one["memory_bytes"])
    return (
        text(one["name"] or one["key"]),
        memory,
        size(one["memory_used_bytes"]),
        number(one["busy"], share=True),
        text(one["driver"]),
        "; ".join(f"{what}: {why}" for what, why in one["unknown"].items()) or "-",
    )


def _engine(one: Found) -> tuple[str, str, str]:
    if not one["available"]:
        return one["engine"], "nothing", one["reason"]
    parts = ["the processor"] if one["processor"] else []
    parts += one["accelerators"] or []
    if one["processor"] is None or one["accelerators"] is None:
        parts.append("not known")
    return one["engine"], ", ".join(parts), one["reason"]
