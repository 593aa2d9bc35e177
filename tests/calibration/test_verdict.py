"""How often a rollout is wrong: whole rollouts through the production code, seeded.

A unit takes 18 seconds, so a step soaks for 200 units; the verdict is asked for after every third
unit. The bounds are binomial: a rate that truly is 5 % exceeds them once in a thousand seeds.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from statistics import median

import pytest
from tests.calibration.bounds import at_most

from arbiter.inference import Arm
from arbiter.refs import GENERAL, ModelName, RolloutId, TaskName, VersionId
from arbiter.studies.rollouts import Case, simulate
from arbiter.swap.analysis import Evidence, Unit, verdict
from arbiter.swap.plan import Plan
from arbiter.swap.rollout import Phase, Rollout, ValidationVerdict, advance, assign, begin

pytestmark = pytest.mark.calibration

SOAK_UNITS = 200
LOOK = 3

TASKS = tuple(TaskName(name) for name in ("chat", "code", "mail", "sums", "talk"))
SHARES = tuple(accumulate((0.50, 0.25, 0.15, 0.07, 0.03)))

World = Callable[[int, bool, TaskName], float]
"""The chance of a right answer, by unit number, arm (is it the candidate?) and task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    phase: Phase
    units: int
    index: int
    bad_answers: int


def run(world: World, *, seed: int, units: int, plan: Plan | None = None) -> Ended:
    plan = plan or Plan(tasks=(GENERAL,), judge_other=False)
    dice = Random(seed)
    rollout, _ = begin(
        Rollout(
            id=RolloutId("rol_1"),
            alias=ModelName("house"),
            stable=VersionId("sha256:" + "a" * 64),
            candidate=VersionId("sha256:" + "b" * 64),
            plan=plan,
            salt=str(seed),
        ),
        ValidationVerdict.PASS,
        "",
    )
    evidence = Evidence(plan)
    bad = 0
    for number in range(1, units + 1):
        arm = assign(rollout.salt, str(number), rollout.weight)
        is_new = arm is Arm.CANDIDATE
        task = TASKS[bisect(SHARES, dice.random())] if len(plan.tasks) > 1 else GENERAL
        score = float(dice.random() < world(number, is_new, task))
        bad += is_new and score == 0.0
        evidence.update(Unit(task=task, arm=arm, probability=rollout.weight, score=score))
        if number % LOOK == 0:
            rollout, _ = advance(
                rollout,
                verdict(evidence),
                elapsed_s=LOOK * plan.soak_s / SOAK_UNITS,
                candidate_units=evidence.means.n_new,
            )
        if rollout.phase is not Phase.PROGRESSING:
            return Ended(phase=rollout.phase, units=number, index=rollout.index, bad_answers=bad)
    return Ended(phase=rollout.phase, units=units, index=rollout.index, bad_answers=bad)


def runs(
    world: World, *, seed: int, times: int, units: int = 2000, plan: Plan | None = None
) -> list[Ended]:
    return [run(world, seed=1000 * seed + n, units=units, plan=plan) for n in range(times)]


def count(ended: list[Ended], phase: Phase) -> int:
    return sum(one.phase is phase for one in ended)


def gap(stable: float, candidate: float) -> World:
    return lambda _number, is_new, _task: candidate if is_new else stable


def harder(number: int, _is_new: bool, _task: TaskName) -> float:
    """The same model twice, while the traffic gets harder: .90 falls to .70."""
    return 0.9 - 0.2 * min(1.0, number / 1000)


def one_task(number: int, is_new: bool, task: TaskName) -> float:
    """A task with a quarter of the traffic is 40 % worse, the others are equal."""
    del number
    return 0.8 * 0.6 if is_new and task == TASKS[1] else 0.8


FIVE_TASKS = Plan(tasks=TASKS, judge_other=False)


@pytest.mark.parametrize(
    ("world", "plan", "seed"),
    [
        pytest.param(gap(0.80, 0.80), None, 1, id="equal at .80"),
        pytest.param(gap(0.95, 0.95), None, 2, id="equal at .95"),
        pytest.param(harder, None, 3, id="equal while traffic gets harder"),
        pytest.param(gap(0.80, 0.80), FIVE_TASKS, 4, id="equal at five tasks"),
    ],
)
def test_an_equal_candidate_is_rarely_rolled_back(
    world: World, plan: Plan | None, seed: int
) -> None:
    ended = runs(world, seed=seed, times=60, units=1200, plan=plan)
    assert count(ended, Phase.ROLLED_BACK) <= at_most(60)


def test_an_equal_candidate_is_rarely_rolled_back_in_conversations_of_twelve() -> None:
    case = Case(p_old=0.8, p_new=0.8, unit=12, requests=4800, runs=30, per_hour=2400.0)
    found = simulate(case)
    assert found["rollback"] is not None
    assert round(30 * found["rollback"]) <= at_most(30)


def test_a_candidate_a_fifth_worse_is_always_caught_soon() -> None:
    ended = runs(gap(0.80, 0.64), seed=5, times=80)
    assert count(ended, Phase.ROLLED_BACK) == 80
    assert median(one.units for one in ended) <= 480


def test_a_candidate_a_tenth_worse_is_mostly_caught() -> None:
    ended = runs(gap(0.80, 0.72), seed=6, times=40)
    assert count(ended, Phase.ROLLED_BACK) >= 30
    assert count(ended, Phase.PROMOTED) == 0


def test_a_candidate_worse_by_just_the_margin_is_rarely_promoted() -> None:
    ended = runs(gap(0.80, 0.76), seed=7, times=60)
    assert count(ended, Phase.PROMOTED) <= at_most(60)


def test_a_better_candidate_is_promoted_on_proof() -> None:
    ended = runs(gap(0.80, 0.95), seed=8, times=60)
    assert count(ended, Phase.PROMOTED) >= 57
    assert min(one.index for one in ended) >= 2
    assert median(one.units for one in ended) <= 620


def test_one_bad_task_is_caught_among_five() -> None:
    ended = runs(one_task, seed=9, times=40, plan=FIVE_TASKS)
    assert count(ended, Phase.ROLLED_BACK) >= 30
    assert count(ended, Phase.PROMOTED) <= 1
