"""How long a decision takes: the production `Selector`, 100 versions at 100 tasks."""

from __future__ import annotations

import time
from random import Random

from bench.figures import Figure, quantile

from arbiter.inference import Limits
from arbiter.knowledge.profiles import Profile
from arbiter.knowledge.tasks import Task, Weights
from arbiter.refs import ModelName, TaskName, VersionId
from arbiter.selection.contender import Contender, Seen, Situation
from arbiter.selection.selector import Selector

AREA = "decision"
VERSIONS = 100
TASKS = 100
SEED = 20260101


def _profile(dice: Random) -> Profile:
    samples = dice.randrange(10, 1000)
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

    def __init__(self) -> None:
        self.dice = Random(SEED)
        self.limits = Limits()
        self.situation = Situation(budget_bytes=8_000_000_000, weights=Weights())
        self.tasks = [Task(name=TaskName(f"task-{number}")) for number in range(TASKS)]
        self.contenders = [
            Contender(
                name=ModelName(f"model-{number}"),
                version=VersionId(f"sha256:{number:064x}"),
                capabilities=frozenset({"chat"}),
                context=4096,
                memory_bytes=number * 10_000_000,
            )
            for number in range(VERSIONS)
        ]
        self.seen = {
            task.name: [Seen(contender=one, profile=_profile(self.dice)) for one in self.contenders]
            for task in self.tasks
        }

    def learn(self, task: Task) -> None:
        """One more sample of one version at this task."""
        place = self.dice.randrange(VERSIONS)
        old = self.seen[task.name][place]
        new = old.profile.plus(Profile(samples=1, graded=1, quality=1.0, successes=1))
        self.seen[task.name][place] = Seen(contender=old.contender, profile=new)

    def decide(self, selector: Selector, task: Task) -> float:
        """Milliseconds of one pick, on this thread's CPU clock."""
        begun = time.thread_time_ns()
        selector.pick(
            self.seen[task.name], task=task, limits=self.limits, rule=None, situation=self.situation
        )
        return (time.thread_time_ns() - begun) / 1e6


def measure(picks: int) -> list[Figure]:
    """Quantiles of a decision, warm and cold."""
    house = _House()
    selector = Selector()
    for task in house.tasks:
        house.decide(selector, task)
    warm: list[float] = []
    for _ in range(picks):
        task = house.dice.choice(house.tasks)
        house.learn(task)
        warm.append(house.decide(selector, task))
    cold = [
        house.decide(Selector(), house.dice.choice(house.tasks)) for _ in range(max(50, picks // 5))
    ]
    size = f"{VERSIONS} versions x {TASKS} tasks, thread CPU clock"
    kept = f"{picks} picks, one version's evidence changes before each; {size}"
    fresh = f"{len(cold)} picks, each by a selector that has seen nothing; {size}"
    return [
        Figure(area=AREA, name=f"{state} {label}", value=quantile(times, share), unit="ms",
               target=target, method=how)
        for state, times, how, goal in (("warm", warm, kept, 0.1), ("cold", cold, fresh, None))
        for label, share, target in (("p50", 0.5, None), ("p95", 0.95, goal))
    ]  # fmt: skip
