"""`arbiter swap` and `arbiter rollouts`: one model for another, on evidence, and back."""

from __future__ import annotations

from typing import Annotated

import typer

from arbiter.cli.client import Client, Json, segment
from arbiter.cli.listing import show_list
from arbiter.cli.looking import LIVE, show_explained, show_now, show_watch, verify
from arbiter.cli.options import (
    AsJson,
    ConfigFile,
    DataDir,
    followed,
    percent,
    seconds,
    share,
    with_house,
)
from arbiter.cli.output import ERR, OUT, items, number, show_json, show_table, text
from arbiter.cli.report import report
from arbiter.clock import SystemClock
from arbiter.errors import InvalidField
from arbiter.swap.plan import LEAST_STEP

rollouts = typer.Typer(help="Rollouts: how swaps go.", invoke_without_command=True)

Id = Annotated[str, typer.Argument(help="A rollout's id.", show_default=False)]
Why = Annotated[str, typer.Option("--why", help="The reason, for the record.")]
LOOK_EVERY_S = 0.2
_SHOWN = 200
"""How many rollouts the list has, the newest first."""


def swap(
    alias: Annotated[str, typer.Argument(help="The alias to move.")],
    model: Annotated[str | None, typer.Argument(help="The model that it should become.")] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Take the last promotion back.")] = False,
    soak: Annotated[
        str | None, typer.Option("--soak", help="Least time on each step, such as 10m.")
    ] = None,
    steps: Annotated[
        str | None, typer.Option("--steps", help="Shares in percent, such as 10,25,50 or 10%,25%.")
    ] = None,
    min_units: Annotated[
        int | None, typer.Option("--min-units", help="Fewest candidate conversations a step.")
    ] = None,
    margin: Annotated[
        str | None, typer.Option("--margin", help="How much worse is worse, such as 5% or 0.05.")
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(
            "--judge",
            help="Share of conversations to be judged where no rule grades, such as 30% or 0.3.",
        ),
    ] = None,
    schedule: Annotated[
        str | None, typer.Option("--schedule", help="proved, or clock: promoted by time.")
    ] = None,
    budget: Annotated[
        float | None, typer.Option("--budget", help="Bad answers it may cost; 0 is no bound.")
    ] = None,
    apart: Annotated[
        str | None,
        typer.Option(
            "--apart",
            help="One model loaded at a time. replay: recorded cases decide; slices: they take"
            " turns, a window of time each, and a verdict takes days.",
        ),
    ] = None,
    slice_: Annotated[
        str | None,
        typer.Option("--slice", help="With --apart slices: how long a window is, such as 30m."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Say what validation says, and start nothing.")
    ] = False,
    holdback: Annotated[
        str | None,
        typer.Option(
            "--holdback", help="Percent that stay with the old one when promoted, such as 5 or 5%."
        ),
    ] = None,
    shadow: Annotated[
        str | None,
        typer.Option("--shadow", help="Share of conversations asked of both, such as 20% or 0.2."),
    ] = None,
    why: Why = "",
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Replace what an alias points at, step by step, promoted or rolled back on evidence.

    Validates the model on every task's stored cases first, then lets it have a growing share of
    the alias's conversations. `arbiter rollouts show ID` tells how it goes.
    """

    async def work(client: Client) -> None:
        if undo:
            found = await client.call("POST", f"/undo/{segment(alias)}", {"why": why})
            if as_json:
                show_json(found)
            else:
                names = found["stable_names"]
                others = [n for n in items(names) if n != alias]
                OUT.print(f"{alias} is {text(others)} again", markup=False)
                if not found["loaded"]:
                    ERR.print("It is not in memory: it is loaded when it is first asked.")
            return
        if model is None:
            raise InvalidField("Which model?", hint="arbiter swap ALIAS MODEL, or --undo.")
        body: Json = {
            "alias": alias,
            "model": model,
            "soak_s": seconds(soak),
            "steps": _shares(steps),
            "min_units": min_units,
            "margin": share(margin, "margin"),
            "judge_share": share(judge, "judge"),
            "schedule": schedule,
            "budget": budget,
            "apart": apart,
            "slice_s": seconds(slice_),
            "holdback": percent(holdback, "holdback"),
            "shadow": share(shadow, "shadow"),
        }
        if check:
            await _check(client, body, as_json=as_json)
            return
        found = await client.call("POST", "/rollouts", {**body, "why": why})
        found = await _validated(client, text(found["rollout"]), quiet=as_json)
        if as_json:
            show_json(found)
            return
        _show(found)
        if found["phase"] == "progressing" and client.own:
            ERR.print("No house is running: it goes on with `arbiter up` and traffic.")

    with_house(data_dir, config, work)


def _show_judged(found: Json) -> None:
    waiting, judged, late = found["waiting"], found["judged"], found["unjudged"]
    if waiting or judged or late:
        OUT.print(
            f"  chosen to be judged: {judged} judged, {late} not in time (they count as 0),"
            f" {waiting} wait",
            markup=False,
        )
    oldest = found["to_judge"]
    if isinstance(oldest, list) and oldest:
        OUT.print(f"  the oldest: arbiter feedback {oldest[0]} good|bad", markup=False)


async def _check(client: Client, body: Json, *, as_json: bool) -> None:
    found = await followed(client, "POST", "/check", body, quiet=as_json)
    if as_json:
        show_json(found)
        return
    share = number(found["starts_at"], share=True)
    OUT.print(f"{body['alias']} to {body['model']}: {found['advice']}", markup=False)
    OUT.print(f"  {found['reason']}", markup=False)
    _show_findings(found)
    starts = f"It would start at {share} of conversations."
    OUT.print(f"  {starts if found['starts_at'] else 'No traffic would reach it.'}", markup=False)
    ERR.print(f"{found['errors']}", markup=False)


def _show_findings(found: Json) -> None:
    findings = found["findings"]
    for one in items(findings):
        word = "warn" if one["warning"] else one["verdict"]
        OUT.print(f"  {word:<9} {one['sentence']}", markup=False)


def _shares(steps: str | None) -> list[float] | None:
    if steps is None:
        return None
    found = [percent(part, "steps", least=LEAST_STEP) for part in steps.split(",")]
    return [one for one in found if one is not None]


async def _validated(client: Client, rollout: str, *, quiet: bool) -> Json:
    """The rollout, once its stored cases have been run."""
    clock = SystemClock()
    shown = ""
    while True:
        found = await client.call("GET", f"/rollouts/{segment(rollout)}")
        if found["phase"] != "validating":
            return found
        progress = found["progress"]
        if isinstance(progress, dict) and not quiet:
            line = ", ".join(f"{task} {done}/{total}" for task, (done, total) in progress.items())
            if line != shown:
                ERR.print(f"validating: {line}", markup=False)
                shown = line
        await clock.sleep(LOOK_EVERY_S)


@rollouts.command("list")
@rollouts.callback()
def list_(
    context: typer.Context,
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Every rollout, the newest first."""
    if context.invoked_subcommand is not None:
        return

    async def work(client: Client) -> None:
        await show_list(
            client,
            "/rollouts",
            "rollouts",
            ("rollout", "alias", "from", "to", "phase", "share", "reason"),
            lambda one: (
                one["rollout"],
                one["alias"],
                text(one["stable_names"]),
                text(one["candidate_names"]),
                one["phase"],
                _part(one),
                one["reason"],
            ),
            empty="No rollout yet: arbiter swap ALIAS MODEL",
            as_json=as_json,
            most=_SHOWN,
        )

    with_house(data_dir, config, work)


@rollouts.command()
def show(
    rollout: Id,
    watch: Annotated[bool, typer.Option("--watch", help="Until it is over.")] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="The plan, each number and what happened.")
    ] = False,
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """How a rollout stands: its step, its evidence in words, and what is still to go."""

    async def work(client: Client) -> None:
        clock = SystemClock()
        while True:
            path = f"/rollouts/{segment(rollout)}{'/explain' if explain else ''}"
            found = await client.call("GET", path)
            if as_json:
                show_json(found)
            elif explain:
                show_explained(found)
            else:
                if watch and OUT.is_terminal:
                    OUT.clear()
                _show(found)
            if not watch or found["phase"] not in LIVE:
                return
            await clock.sleep(2.0)

    with_house(data_dir, config, work)


def _part(found: Json) -> str:
    """The share of conversations that the candidate answers by now."""
    if found["phase"] != "promoted":
        return number(found["weight"], share=True)
    names = found["candidate_names"]
    if not isinstance(names, list) or found["alias"] not in names:
        return "-"  # something else came after it
    held = number(1.0 - float(text(found["holdback"])), share=True)
    watch = found.get("watch")
    if isinstance(watch, dict):
        return held if watch["held_back"] else "100%"
    # the list does not look whether anybody can be held back now
    return f"{held} or more" if found["kept_until"] and held != "100%" else "100%"


def _show(found: Json) -> None:
    OUT.print(
        f"{found['rollout']}: {found['alias']} from {text(found['stable_names'])} to "
        f"{text(found['candidate_names'])}: {found['phase']}, {_part(found)} of conversations",
        markup=False,
    )
    OUT.print(f"  {found['reason']}", markup=False)
    if found["kept_until"]:
        until = text(found["kept_until"])[:19]
        undo = f"arbiter swap {found['alias']} --undo"
        OUT.print(f"  {text(found['stable_names'])} is kept until {until}: {undo}", markup=False)
    show_watch(found["watch"])
    _show_findings(found)
    log = found["log"]
    for one in items(log):
        is_live = one["phase"] in LIVE
        weight = f" {number(one['weight'], share=True)}" if is_live else ""
        OUT.print(f"  {one['at'][:19]} {one['phase']}{weight} by {one['who']}", markup=False)
    judgement = found["judgement"]
    if isinstance(judgement, dict):
        OUT.print(f"  now: {judgement['reason']}", markup=False)
    metrics = found["metrics"]
    for one in items(metrics):
        OUT.print(f"  {one['mode']:<9} {one['sentence']}", markup=False)
    show_now(found)
    _show_judged(found)
    evidence = found["evidence"]
    rows = [
        (
            one["task"],
            f"{number(one['mean_stable'])} ({one['n_stable']})",
            f"{number(one['mean_candidate'])} ({one['n_candidate']})",
            f"{number(one['e_worse'], digits=1)} of {number(one['needed_worse'], digits=0)}",
            "worse" if one["verdict"] == "worse" else "-",
        )
        for one in items(evidence)
        if one["n_stable"] or one["n_candidate"]
    ]
    if rows:
        show_table(("task", "stable", "candidate", "evidence against", "verdict"), rows, empty="")


def _command(verb: str, help_: str) -> None:
    def command(
        rollout: Id,
        why: Why = "",
        data_dir: DataDir = None,
        config: ConfigFile = None,
        as_json: AsJson = False,
    ) -> None:
        async def work(client: Client) -> None:
            path = f"/rollouts/{segment(rollout)}"
            body: Json = {"why": why}
            if verb == "step":
                # the step is named, so that sending it twice takes one
                now = await client.call("GET", path)
                body["to"] = int(number(now["step"], digits=0)) + 1
            found = await client.call("POST", f"{path}/{verb}", body)
            if verb == "retry":
                found = await _validated(client, text(found["rollout"]), quiet=as_json)
            if as_json:
                show_json(found)
            else:
                OUT.print(
                    f"{found['rollout']} is {found['phase']}: {found['reason']}", markup=False
                )

        with_house(data_dir, config, work)

    rollouts.command(verb, help=help_)(command)


rollouts.command()(verify)
rollouts.command()(report)

for _name, _help in (
    ("pause", "Take no further step; the split stays as it is."),
    ("resume", "Go on."),
    ("step", "Take the next step now, before its time."),
    ("promote", "Promote without proof, on your word."),
    ("abort", "Go back to the old version."),
    ("retry", "Try the same model again, going on with the evidence there is."),
):
    _command(_name, _help)
