"""`arbiter replay`: how much the production selector loses on a pool whose rates are known.

Requests are drawn by task in proportion to their traffic, outcomes are 0/1 by the rate, feedback
comes with the given probability, calibration cases cost nothing. Regret is in expectation, against
whoever knows the best version of each task: the difference of the rates by the probabilities that
the pick was drawn from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from random import Random

from arbiter.errors import InvalidField
from arbiter.studies.again import Rechecks
from arbiter.studies.pools import Pool
from arbiter.studies.world import Ran, World, calibrate, checked, requests, serve

LATER = (500, 1000)
"""How many requests after a break its effect is looked at."""


def bounded(name: str, value: float, least: float, most: float) -> None:
    """Refuse an option's value outside its bounds. Raises `InvalidField`."""
    if not least <= value <= most:
        raise InvalidField(f"--{name} is from {least} to {most}.", param=name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to replay. seeds: how many runs, numbered from first."""

    strategy: str = "learned"
    requests: int = 5000
    feedback: float = 0.2
    calibration: int = 8
    seeds: int = 30
    first: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be run."""
        checked(self.strategy)
        bounded("requests", self.requests, 1, 1_000_000)
        bounded("feedback", self.feedback, 0, 1)
        bounded("calibration", self.calibration, 0, 10_000)
        bounded("seeds", self.seeds, 1, 100_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """A version that silently gets worse: its rate is ``to`` at most, from request ``at`` on."""

    version: str
    to: float
    at: int

    def __post_init__(self) -> None:
        """Refuse a rate that is none."""
        if not 0.0 <= self.to <= 1.0:
            raise InvalidField("--to is a success rate from 0 to 1.", param="to")
        if self.at < 1:
            raise InvalidField("--at is the number of a request, from 1.", param="at")


def summary(values: Sequence[float]) -> dict[str, float | None]:
    """Mean and standard error; of a single value the error is unknown."""
    count = len(values)
    mean = sum(values) / count
    if count < 2:
        return {"mean": mean, "se": None}
    square = sum((value - mean) ** 2 for value in values) / (count - 1)
    return {"mean": mean, "se": sqrt(square / count)}


def replay(pool: Pool, plan: Plan) -> dict[str, object]:
    """Replay a pool; the answer is plain JSON, its regrets over all requests of a run."""
    regrets: list[float] = []
    rights: list[float] = []
    runs: list[Rechecks] = []
    for seed in range(plan.first, plan.first + plan.seeds):
        dice = Random(seed)  # noqa: S311  # a simulation
        world = World.new(pool, plan.strategy)
        again = _rechecks(world, calibrate(world, pool, plan.calibration, dice), seed)
        regret = right = 0.0
        for request in requests(
            pool, plan.requests, feedback=plan.feedback, dice=dice, name=str(seed)
        ):
            lost, hit = serve(world, pool, request)
            again.look(pool)
            regret += lost
            right += hit
        runs.append(again)
        regrets.append(regret)
        rights.append(right / plan.requests)
    return {
        "strategy": plan.strategy,
        "requests": plan.requests,
        "feedback": plan.feedback,
        "calibration": plan.calibration,
        "seeds": plan.seeds,
        "regret": summary(regrets),
        "random": pool.random_regret * plan.requests,
        "best_single": pool.single_regret * plan.requests,
        "picks_right": summary(rights),
        "run_again": _told(runs),
    }


def replay_break(pool: Pool, plan: Plan, broken: Break) -> dict[str, object]:
    """Break a version and tell the share of requests that it still gets later.

    Looked at are the tasks where it was the pick, fell, and another version is better now; the
    share is the probability of picking it, by the tasks' traffic. None: there was no such task.
    It is told as the mean over runs, and over all that traffic of all runs together: a run in which
    only a rare task was hurt weighs as much as any other in the first, and little in the second.
    """
    place = pool.place(broken.version)
    after = pool.capped(broken.version, broken.to)
    sent: dict[int, list[tuple[float, float]]] = {later: [] for later in LATER}
    regrets: list[float] = []
    tasks: list[float] = []
    runs: list[Rechecks] = []
    for seed in range(plan.first, plan.first + plan.seeds):
        dice = Random(seed)  # noqa: S311  # a simulation
        world = World.new(pool, plan.strategy)
        again = _rechecks(world, calibrate(world, pool, plan.calibration, dice), seed)
        stream = requests(
            pool, broken.at + max(LATER), feedback=plan.feedback, dice=dice, name=str(seed)
        )
        for request in stream[: broken.at]:
            serve(world, pool, request)
            again.look(pool)
        hurt = [
            task
            for task, row in enumerate(after.rates)
            if world.place(world.chosen(task, None)) == place
            and max(row) > row[place] < pool.rates[task][place]
        ]
        tasks.append(float(len(hurt)))
        regret = 0.0
        for number, request in enumerate(stream[broken.at :], start=1):
            regret += serve(world, after, request)[0]
            again.look(after)
            if number in sent and any(pool.shares[task] > 0.0 for task in hurt):
                sent[number].append(_sent(world, pool, hurt, place))
        regrets.append(regret)
        runs.append(again)
    return {
        "strategy": plan.strategy,
        "feedback": plan.feedback,
        "calibration": plan.calibration,
        "seeds": plan.seeds,
        "break": {"version": broken.version, "to": broken.to, "at": broken.at},
        "tasks_hurt": summary(tasks),
        "share": {
            str(later): summary([still / whole for still, whole in found]) if found else None
            for later, found in sent.items()
        },
        "share_of_traffic": {
            str(later): sum(one[0] for one in found) / sum(one[1] for one in found)
            if found
            else None
            for later, found in sent.items()
        },
        "regret_after": summary(regrets),
        "run_again": _told(runs),
    }


def _rechecks(world: World, ran: Ran, seed: int) -> Rechecks:
    """With dice of its own, so that requests and their luck are the same without it."""
    return Rechecks(world, ran, Random(f"again {seed}"))  # noqa: S311  # a simulation


def _told(runs: Sequence[Rechecks]) -> dict[str, object]:
    """How often cases were run again, how many draws that was, and how often they showed a fall."""
    return {
        "times": summary([float(one.runs) for one in runs]),
        "cases": summary([float(one.draws) for one in runs]),
        "falls": summary([float(one.falls) for one in runs]),
    }


def _sent(world: World, pool: Pool, tasks: Sequence[int], place: int) -> tuple[float, float]:
    """How much of the traffic of these tasks a version gets, and how much there is of it."""
    still = 0.0
    for task in tasks:
        chances = dict(world.chances(task, world.chosen(task, None)))
        still += pool.shares[task] * chances.get(place, 0.0)
    return still, sum(pool.shares[task] for task in tasks)
