"""`arbiter rollouts`, the part that looks: what stands now, and the record repeated."""

from __future__ import annotations

from typing import Annotated

import typer

from arbiter.cli.client import Client, Json, segment
from arbiter.cli.options import AsJson, ConfigFile, DataDir, with_house
from arbiter.cli.output import ERR, OUT, number, show_json, text

LIVE = frozenset({"validating", "progressing", "paused"})
"""The phases in which the share of a rollout is one: what is over shares nothing."""

HEADINGS = (
    ("plan", "The plan"),
    ("now", "Now"),
    ("tasks", "Task by task"),
    ("happened", "What happened"),
    ("would_end_it", "What ends it"),
    ("meaning", "What the numbers mean"),
)
"""The parts of an explanation, in order, and what stands above each."""


def show_now(found: Json) -> None:
    """Evidence in words, the interval on the difference, and what is still to go."""
    pairs = found["pairs"]
    of_pairs = _lines(pairs["in_words"]) if isinstance(pairs, dict) else []
    evidence = (*_lines(found["in_words"]), _interval(found["interval"]), *of_pairs)
    for line in (*evidence, *_lines(found["to_go"])):
        OUT.print(f"  {line}", markup=False)


def show_watch(found: object) -> None:
    """What became of a promotion, and how the alarms stand."""
    if isinstance(found, dict):
        for line in _lines(found["in_words"]):
            OUT.print(f"  {line}", markup=False)
        for oldest in _lines(found["to_judge"])[:1]:
            OUT.print(f"  the oldest: arbiter feedback {oldest} good|bad", markup=False)


def _interval(ends: object) -> str:
    if not isinstance(ends, list):
        return "candidate minus stable: not known yet"
    low, high = ends
    return f"candidate minus stable: from {number(low)} to {number(high)}, with 95 % at all times"


def show_explained(found: Json) -> None:
    """Everything about a rollout, under headings."""
    explained = found["explained"]
    OUT.print(
        f"{found['rollout']}: {found['alias']} from {text(found['stable_names'])} to "
        f"{text(found['candidate_names'])}",
        markup=False,
    )
    told = explained if isinstance(explained, dict) else {}
    for key, heading in HEADINGS:
        OUT.print(f"\n{heading}", markup=False)
        for line in _lines(told.get(key)):
            OUT.print(f"  {line}", markup=False)


def _lines(found: object) -> list[str]:
    return [_plain(line) for line in found] if isinstance(found, list) else []


def _plain(line: object) -> str:
    """A reason is a person's text: it must not move the cursor of a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(line))


def verify(
    rollout: Annotated[str, typer.Argument(help="A rollout's id.", show_default=False)],
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Decide a rollout once more from its stored rows, and say whether it went as recorded.

    The first entry that differs is named, and the command ends with 1.
    """

    async def work(client: Client) -> None:
        found = await client.call("GET", f"/rollouts/{segment(rollout)}/verify")
        if as_json:
            show_json(found)
        elif found["as_recorded"]:
            OUT.print(_plain(found["sentence"]), markup=False)
        else:
            ERR.print(_plain(found["sentence"]), style="red", markup=False)
        if not found["as_recorded"]:
            raise typer.Exit(1)

    with_house(data_dir, config, work)
