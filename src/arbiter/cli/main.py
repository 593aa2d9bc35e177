"""`arbiter`: the commands about no one kind of thing, and where the others are hung in."""

from __future__ import annotations

import asyncio
import gc
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated

import typer

import arbiter
from arbiter.app import open_house
from arbiter.cli import (
    alias,
    asking,
    bench,
    costs,
    demo,
    doctor,
    hardware,
    importing,
    keys,
    knowledge,
    ledger,
    models,
    prompts,
    pulling,
    replay,
    replay_swap,
    rules,
    simulate,
    swap,
    tasks,
)
from arbiter.cli.client import Client
from arbiter.cli.found import news, show_found
from arbiter.cli.options import (
    AsJson,
    ConfigFile,
    DataDir,
    fail,
    run,
    settings_from,
    with_house,
)
from arbiter.cli.output import ERR, OUT, show_json
from arbiter.cli.reloading import Reloads, told
from arbiter.config import LogSettings
from arbiter.errors import ArbiterError, Conflict
from arbiter.gateway.control_discovery import report_view
from arbiter.house import House, reachable
from arbiter.logs import written
from arbiter.swap.scouting import Report

app = typer.Typer(
    name="arbiter",
    help="One door in front of every model that you run yourself.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(demo.app, name="demo")
app.add_typer(bench.app, name="bench")
app.add_typer(keys.app, name="keys")
app.add_typer(models.app, name="models")
app.add_typer(alias.app, name="alias")
app.add_typer(tasks.app, name="tasks")
app.add_typer(prompts.app, name="prompts")
app.add_typer(rules.app, name="rules")
app.add_typer(swap.rollouts, name="rollouts")
app.add_typer(ledger.app, name="ledger")
app.add_typer(knowledge.app, name="knowledge")
app.add_typer(costs.app, name="costs")
app.command("ask")(asking.ask)
app.command("select")(asking.select)
app.command("why")(asking.why)
app.command("feedback")(asking.feedback)
app.command("swap")(swap.swap)
app.command("pull")(pulling.pull)
app.command("import")(importing.import_)
app.command("hardware")(hardware.hardware)
app.command("doctor")(doctor.doctor)
app.command("replay")(replay.replay)
app.command("replay-swap")(replay_swap.replay_swap)
app.command("rollout-simulate")(simulate.rollout_simulate)

Port = Annotated[
    int | None,
    typer.Option(
        "--port",
        help="Port; 0 picks a free one. [default: 8017]",
        envvar="ARBITER_PORT",
        show_default=False,
    ),
]
Host = Annotated[
    str | None,
    typer.Option(
        "--host", help="Address. [default: 127.0.0.1]", envvar="ARBITER_HOST", show_default=False
    ),
]


@app.command()
def up(
    port: Port = None,
    host: Host = None,
    discover: Annotated[
        bool | None,
        typer.Option(
            "--discover/--no-discover",
            help="Look for models on this machine. [default: as configured]",
            show_default=False,
        ),
    ] = None,
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Open the house and its door, until Ctrl-C."""

    async def work() -> None:
        given = {"door.port": port, "door.host": host, "discovery.enabled": discover}
        settings = settings_from(data_dir, config, **given)
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for one in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(one, stop.set)
        reread = partial(settings_from, data_dir, config, **given)
        async with (
            _logged(settings.log),
            open_house(settings, reread=reread) as house,
            house.door() as address,
        ):
            reloads = Reloads(house)
            loop.add_signal_handler(signal.SIGHUP, reloads.begin)
            url = reachable(address)
            names = [name.name for name in house.registry.names()]
            if as_json:
                sys.stdout.write(
                    json.dumps({"url": url, "data_dir": str(settings.data_dir)}) + "\n"
                )
                sys.stdout.flush()
            else:
                OUT.print(f"Arbiter is up at {url} (data in {settings.data_dir})", markup=False)
                OUT.print(f"  OpenAI base URL: {url}/v1 (for Ollama and Anthropic without /v1)")
                OUT.print("  models: auto, task:NAME or a name")
                if names:
                    OUT.print(f"  registered: {', '.join(names)}", markup=False)
                elif not settings.discovery.enabled:
                    OUT.print("  no model yet: arbiter models add FILE.gguf")
                if settings.discovery.enabled:
                    OUT.print("  looking for models on this machine ...")
            sys.stdout.flush()
            settle_memory()
            house.scout.open(_Teller(house, as_json=as_json))
            await stop.wait()
            ERR.print("closing: running requests may end", markup=False)

    run(work)


@asynccontextmanager
async def _logged(settings: LogSettings) -> AsyncIterator[None]:
    """Write the log, of what happens while the house is opened and closed too."""
    with written(form=settings.format, level=settings.level):
        yield


@app.command("reload")
def reload_(data_dir: DataDir = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Have the house that runs read its settings again; nothing that runs is cut."""

    async def work(client: Client) -> None:
        if client.own:
            raise Conflict("No house is running here.", hint="It reads its settings at its start.")
        found = await client.call("POST", "/reload", {})
        if as_json:
            show_json(found)
            return
        OUT.print(told(found), markup=False)

    with_house(data_dir, config, work)


class _Teller:
    """Says what was found: all of the first look, and of later ones only what is new."""

    def __init__(self, house: House, *, as_json: bool) -> None:
        self._house = house
        self._as_json = as_json
        self._is_first = house.settings.discovery.enabled

    def __call__(self, report: Report) -> None:
        found = report_view(report, self._house.registry)
        told = found if self._is_first else news(found)
        if self._as_json:
            if self._is_first:
                sys.stdout.write(json.dumps({"found": told}) + "\n")
        elif self._is_first or any(told.values()):
            show_found(told, everything=False)
        self._is_first = False
        sys.stdout.flush()


def settle_memory() -> None:
    """Spare the collector what stays for the life of the house.

    A request leaves no cycles behind; walking every long-lived object again and again is then
    the larger part of what collecting costs.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


@app.command()
def status(data_dir: DataDir = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """What the house holds and has done so far."""

    async def work(client: Client) -> None:
        found = await client.call("GET", "/status")
        if as_json:
            show_json({**found, "running": not client.own})
            return
        where = "opened for this command" if client.own else f"running, pid {found['pid']}"
        OUT.print(f"house: {where}; data in {found['data_dir']}", markup=False)
        OUT.print(f"versions: {found['versions']}, tasks: {found['tasks']}", markup=False)
        requests = found["requests"]
        if isinstance(requests, dict):
            OUT.print(f"requests: {requests['ended']}, failed: {requests['failed']}", markup=False)

    with_house(data_dir, config, work)


def _version(wanted: bool) -> None:
    if wanted:
        OUT.print(arbiter.__version__)
        raise typer.Exit


@app.callback()
def arbiter_(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_version, is_eager=True),
    ] = False,
) -> None:
    """One door in front of every model that you run yourself."""
    del version


def main() -> None:
    """Run the command line; errors are sentences, never tracebacks."""
    try:
        app()
    except ArbiterError as error:
        sys.exit(fail(error).exit_code)
