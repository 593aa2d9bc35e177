"""What the statistics of a rollout cost for a unit."""

from __future__ import annotations

import time
from random import Random

from bench.figures import Figure, median

from arbiter.inference import Arm
from arbiter.refs import TaskName
from arbiter.swap.analysis import Evidence, Rule, Unit, verdict

AREA = "statistics"
JUDGED = 3
SEED = 20260101


def _units(count: int) -> list[Unit]:
    dice = Random(SEED)
    return [
        Unit(
            task=TaskName(f"task-{dice.randrange(JUDGED)}"),
            arm=Arm.CANDIDATE if dice.random() < 0.3 else Arm.STABLE,
            probability=0.3,
            score=float(dice.random() < 0.9),
        )
        for _ in range(count)
    ]


def measure(units: int, rounds: int) -> list[Figure]:
    """Microseconds to take a unit, and to reach a verdict."""
    stream = _units(units)
    rule = Rule(tasks=tuple(TaskName(f"task-{number}") for number in range(JUDGED)))
    update: list[float] = []
    judge: list[float] = []
    for _ in range(rounds):
        evidence = Evidence(rule)
        begun = time.thread_time_ns()
        for unit in stream:
            evidence.update(unit)
        between = time.thread_time_ns()
        for _ in stream:
            verdict(evidence)
        update.append((between - begun) / units / 1e3)
        judge.append((time.thread_time_ns() - between) / units / 1e3)
    how = f"{units} units of {JUDGED} tasks, median of {rounds} rounds, thread CPU clock"
    return [
        Figure(area=AREA, name="Evidence.update, a unit", value=median(update), unit="us",
               method=how),
        Figure(area=AREA, name="verdict", value=median(judge), unit="us", method=how),
    ]  # fmt: skip
