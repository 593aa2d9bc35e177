"""What the learner loses on pools that are drawn, by kind: the production selector, replayed.

    python -m bench.learning [--pools 24] [--json]

Each kind of pool is drawn so many times from the seeds 0, 1, ..., and each is replayed once, for
5,000 requests. Regret is in answers lost against whoever knows the best version of each task, and
its standard error is over pools: they differ far more than runs of one pool do. *single*: whoever
knows the best version of all tasks together beforehand. For a table of one's own there is
`arbiter replay TABLE.csv`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from math import sqrt
from os import cpu_count
from random import Random
from typing import Any

from bench.figures import machine

from arbiter.refs import TaskName
from arbiter.stats.estimators import logistic
from arbiter.studies.pools import Pool
from arbiter.studies.replay import Plan, replay, summary

REQUESTS = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """How pools of a kind are drawn: a rate's logit is a task's part, a version's and its own.

    tasks, versions: how many. by_task, by_version, own: standard deviations of the parts. heavy:
    whether what is a cell's own has heavy tails (Student's t, 3 degrees of freedom, same scale).
    lead: what the first version is ahead of the others everywhere.
    """

    tasks: int
    versions: int
    by_version: float
    own: float
    by_task: float = 1.0
    heavy: bool = False
    lead: float = 0.0


KINDS: Mapping[str, Kind] = {
    "6 versions, 15 tasks": Kind(tasks=15, versions=6, by_version=0.6, own=0.8),
    "the same, heavy tails": Kind(tasks=15, versions=6, by_version=0.6, own=0.8, heavy=True),
    "one version leads": Kind(tasks=14, versions=5, by_version=0.4, own=0.4, lead=1.2),
    "eight nearly equal": Kind(tasks=14, versions=8, by_version=0.1, own=0.2),
    "20 versions, 5 tasks": Kind(tasks=5, versions=20, by_version=0.6, own=0.8),
}

PLANS: Mapping[str, Plan] = {
    f"{strategy} {feedback}/{cases}": Plan(
        strategy=strategy, requests=REQUESTS, feedback=feedback, calibration=cases, seeds=1
    )
    for cases in (8, 0)
    for feedback in (0.2, 0.05)
    for strategy in ("learned", "static")
}
"""By strategy, share of the answers that are judged, and cases a cell."""


def drawn(kind: Kind, dice: Random) -> Pool:
    """One pool of the kind."""

    def own() -> float:
        if not kind.heavy:
            return dice.gauss(0.0, kind.own)
        return dice.gauss(0.0, kind.own) / sqrt(dice.gammavariate(1.5, 2.0))

    versions = [dice.gauss(0.0, kind.by_version) for _ in range(kind.versions)]
    versions[0] += kind.lead
    rates = []
    for _ in range(kind.tasks):
        task = dice.gauss(0.3, kind.by_task)
        rates.append(tuple(logistic(task + version + own()) for version in versions))
    traffic = [1.0 / sqrt(1 + rank) for rank in range(kind.tasks)]
    return Pool(
        tasks=tuple(TaskName(f"task-{number}") for number in range(kind.tasks)),
        shares=tuple(one / sum(traffic) for one in traffic),
        versions=tuple(f"version-{number}" for number in range(kind.versions)),
        rates=tuple(rates),
    )


def lost(name: str, seed: int) -> dict[str, float]:
    """What each plan loses on one pool, and whoever knows the best single version."""
    pool = drawn(KINDS[name], Random(seed))
    found = {"single": pool.single_regret * REQUESTS}
    for said, plan in PLANS.items():
        run = Plan(**(asdict(plan) | {"first": seed}))
        regret: Any = replay(pool, run)["regret"]
        found[said] = float(regret["mean"])
    return found


def measured(
    pools: int, spread: Callable[..., Iterable[dict[str, float]]] = map
) -> dict[str, dict[str, dict[str, float | None]]]:
    """Mean and standard error over pools, by kind and plan."""
    jobs = [(name, seed) for name in KINDS for seed in range(pools)]
    losses = spread(lost, *zip(*jobs, strict=True))
    found: dict[str, list[dict[str, float]]] = {}
    for (name, _), one in zip(jobs, losses, strict=True):
        found.setdefault(name, []).append(one)
    return {
        name: {said: summary([run[said] for run in runs]) for said in runs[0]}
        for name, runs in found.items()
    }


def table(found: Mapping[str, Mapping[str, Mapping[str, float | None]]]) -> Sequence[str]:
    """The lines of a table in Markdown."""
    columns = ["single", *PLANS]
    lines = [f"| pools | {' | '.join(columns)} |", "| --- " * (len(columns) + 1) + "|"]
    for name, row in found.items():
        cells = [
            f"{row[said]['mean']:.0f}" + ("" if error is None else f" ({error:.0f})")
            for said in columns
            for error in [row[said]["se"]]
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(prog="python -m bench.learning", description=__doc__)
    parser.add_argument("--pools", type=int, default=24, help="pools of each kind")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    asked = parser.parse_args()
    with ProcessPoolExecutor(cpu_count()) as workers:
        found = measured(asked.pools, workers.map)
    if asked.json:
        print(json.dumps({"machine": machine(), "pools": asked.pools, "regret": found}))
    else:
        print("\n".join(table(found)))


if __name__ == "__main__":
    main()
