"""How long a decision takes: the production `Selector`, with evidence coming in."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Sequence
from random import Random

from bench.figures import Figure, quantile

from arbiter.inference import Limits
from arbiter.knowledge.profiles import Profile
from arbiter.knowledge.scores import GRADES
from arbiter.knowledge.tasks import Task, Weights
from arbiter.refs import ModelName, TaskName, VersionId
from arbiter.selection.bandit import Table
from arbiter.selection.contender import Contender, Seen, Situation
from arbiter.selection.selector import Selector

AREA = "decision"
TASKS = 100
SEED = 20260101


def _profile(dice: Random, samples: int) -> Profile:
    return Profile(
        samples=samples,
        graded=samples,
        quality=samples * dice.random(),
        successes=samples - 1,
        timed=samples - 1,
        latency_ms=samples * 100 * dice.random(),
    )


class _House:
    """What a pick looks at, and evidence that changes as it does in a house that runs."""

    def __init__(self, versions: int, *, each: int, learned: bool) -> None:
        """each: scores that every version has at every task."""
        self.dice = Random(SEED)
        self.limits = Limits()
        self.situation = Situation(budget_bytes=80_000_000_000, weights=Weights())
        self.tasks = [Task(name=TaskName(f"task-{number}")) for number in range(TASKS)]
        self.contenders = [
            Contender(
                name=ModelName(f"model-{number}"),
                version=VersionId(f"sha256:{number:064x}"),
                capabilities=frozenset({"chat"}),
                context=4096,
                memory_bytes=number * 10_000_000,
            )
            for number in range(versions)
        ]
        self.seen: dict[TaskName, list[Seen]] = {
            task.name: [
                Seen(contender=one, profile=_profile(self.dice, each)) for one in self.contenders
            ]
            for task in self.tasks
        }
        self.table = Table() if learned else None
        if self.table is not None:
            for name, row in self.seen.items():
                for one in row:
                    self.table.put(
                        name, one.contender.version, GRADES,
                        count=each, n=each, good=one.profile.quality,
                    )  # fmt: skip
            self.table.settle()

    def learn(self, task: Task, selector: Selector) -> float:
        """One more sample of one version at this task; the milliseconds that it took to learn.

        What follows for the probabilities is worked out at once, as in a house after an answer.
        """
        place = self.dice.randrange(len(self.contenders))
        score = float(self.dice.random() < 0.7)
        old = self.seen[task.name][place]
        new = old.profile.plus(Profile(samples=1, graded=1, quality=score, successes=1))
        self.seen[task.name][place] = Seen(contender=old.contender, profile=new)
        begun = time.thread_time_ns()
        if self.table is not None:
            self.table.update(task.name, old.contender.version, score)
            selector.refresh(task.name, self.seen[task.name])
        return (time.thread_time_ns() - begun) / 1e6

    def decide(self, selector: Selector, task: Task, number: int) -> float:
        """Milliseconds of one pick, on this thread's CPU clock."""
        begun = time.thread_time_ns()
        selector.pick(
            self.seen[task.name],
            task=task,
            limits=self.limits,
            rule=None,
            situation=self.situation,
            conversation=str(number),
        )
        return (time.thread_time_ns() - begun) / 1e6


def _rows(label: str, how: str, times: Sequence[float], target: float | None) -> list[Figure]:
    return [
        Figure(area=AREA, name=f"{label} {name}", value=quantile(times, share), unit="ms",
               target=goal, method=how)
        for name, share, goal in (("p50", 0.5, None), ("p95", 0.95, target))
    ]  # fmt: skip


def _measured(
    versions: int, picks: int, *, each: int, learned: bool, target: float
) -> list[Figure]:
    house = _House(versions, each=each, learned=learned)
    selector = Selector(house.table)
    for number, task in enumerate(house.tasks):
        house.decide(selector, task, number)
    warm, lessons = [], []
    for number in range(picks):
        task = house.dice.choice(house.tasks)
        lessons.append(house.learn(task, selector))
        warm.append(house.decide(selector, task, number))
    kind = "learned" if learned else "static"
    size = f"{versions:,} x {TASKS}"
    how = (
        f"{picks} picks, each after one more score at its task, worked out before as in a house; "
        f"{versions * TASKS * each:,} scores to begin with; thread CPU clock"
    )
    found = _rows(f"{kind} {size}", how, warm, target)
    return found + (_rows(f"a lesson {size}", how, lessons, None) if learned else [])


def _memory(versions: int, each: int) -> Figure:
    """Memory of a table and of its plans, with every cell in use."""
    house = _House(versions, each=each, learned=False)
    tracemalloc.start()
    table = Table()
    for name, row in house.seen.items():
        for one in row:
            table.put(name, one.contender.version, GRADES, count=each, n=each, good=each / 2)
    table.settle()
    selector = Selector(table)
    for number, task in enumerate(house.tasks):
        house.decide(selector, task, number)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return Figure(
        area=AREA, name=f"memory of {versions:,} x {TASKS}", value=held / 1e6, unit="MB",
        target=None, method=f"every cell has {each} scores, every task a plan; tracemalloc",
    )  # fmt: skip


def measure(picks: int) -> list[Figure]:
    """Quantiles of a decision and of a lesson, and what the learner holds."""
    return [
        *_measured(100, picks, each=20, learned=True, target=0.1),
        *_measured(100, picks, each=20, learned=False, target=0.1),
        *_measured(1_000, picks, each=10, learned=True, target=1.0),
        _memory(100, 20),
        _memory(1_000, 10),
    ]
