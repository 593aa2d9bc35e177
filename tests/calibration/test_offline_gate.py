"""How often the gate before traffic is wrong, and how often it sees a broken model.

An equal model is to be blocked at most once in a hundred times. The bounds are exact binomial ones
(`tests.calibration.bounds`). Answers of the two models to a case agree as often as chance has it,
or share their luck in six cases of ten, as those of related models do.
"""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from tests.calibration.bounds import at_least, at_most

from arbiter.refs import TaskName
from arbiter.swap.compatibility import ALPHA, quality
from arbiter.swap.findings import Compatibility
from arbiter.swap.rollout import ValidationVerdict
from arbiter.swap.validation import CaseResult

BLOCK, PASS = ValidationVerdict.BLOCK, ValidationVerdict.PASS
RUNS = 500
EQUAL = 0.01


def _result(number: int, score: float) -> CaseResult:
    return CaseResult(case_digest=str(number), score=score, success=True, latency_ms=None)


def gate(dice: Random, tasks: list[tuple[float, float]], *, cases: int, same: float) -> str:
    """What the gate says of a candidate; tasks: the true rates of both at each."""
    old: dict[TaskName, list[CaseResult]] = {}
    new: dict[TaskName, list[CaseResult]] = {}
    for number, (rate, other) in enumerate(tasks):
        name = TaskName(f"t{number}")
        old[name], new[name] = [], []
        for case in range(cases):
            luck = dice.random()
            its = luck if dice.random() < same else dice.random()
            digest = number * cases + case
            old[name].append(_result(digest, float(luck < rate)))
            new[name].append(_result(digest, float(its < other)))
    return Compatibility(findings=quality(old, new)).advice


def said(
    tasks: list[tuple[float, float]], *, cases: int, same: float, runs: int = RUNS
) -> Counter[str]:
    dice = Random(f"{tasks} {cases} {same}")
    return Counter(gate(dice, tasks, cases=cases, same=same) for _ in range(runs))


@pytest.mark.parametrize("same", [0.0, 0.6])
@pytest.mark.parametrize("rate", [0.2, 0.5, 0.8, 0.95])
@pytest.mark.parametrize(("tasks", "cases"), [(1, 10), (1, 20), (1, 100), (5, 20), (5, 50)])
def test_an_equal_model_is_blocked_at_most_once_in_a_hundred(
    tasks: int, cases: int, rate: float, same: float
) -> None:
    found = said([(rate, rate)] * tasks, cases=cases, same=same)
    assert found[BLOCK] <= at_most(RUNS, EQUAL)


def test_over_all_of_these_worlds_an_equal_model_is_blocked_far_less_often() -> None:
    blocked = sum(
        said([(rate, rate)] * tasks, cases=20, same=0.0, runs=1000)[BLOCK]
        for rate in (0.3, 0.8)
        for tasks in (1, 5)
    )
    assert blocked <= at_most(4000, 0.004)


@pytest.mark.parametrize("rate", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("tasks", [1, 5])
def test_one_that_keeps_just_enough_is_blocked_at_most_once_in_twenty(
    tasks: int, rate: float
) -> None:
    found = said([(rate, 0.9 * rate)] * tasks, cases=50, same=0.0)
    assert found[BLOCK] <= at_most(RUNS, ALPHA)


@pytest.mark.parametrize("same", [0.0, 0.6])
@pytest.mark.parametrize("tasks", [1, 3])
def test_one_that_keeps_just_too_little_on_a_task_passes_at_most_once_in_twenty(
    tasks: int, same: float
) -> None:
    others = [(0.99, 0.99)] * (tasks - 1)
    found = said([(0.95, 0.9 * 0.95), *others], cases=100, same=same)
    assert found[PASS] <= at_most(RUNS, ALPHA)


@pytest.mark.parametrize(
    ("tasks", "broken", "cases", "power"),
    [
        (1, 0.0, 10, 0.80),  # the learning stake of `PairE` at the same level: .11
        (1, 0.0, 15, 0.99),
        (1, 0.5, 32, 0.60),
        (1, 0.5, 50, 0.85),
        (5, 0.0, 20, 0.97),  # one task of five
        (5, 0.5, 50, 0.55),
    ],
)
def test_a_broken_model_is_blocked(tasks: int, broken: float, cases: int, power: float) -> None:
    others = [(0.8, 0.8)] * (tasks - 1)
    found = said([(0.8, 0.8 * broken), *others], cases=cases, same=0.6, runs=200)
    assert found[BLOCK] >= at_least(200, power)


def test_one_that_is_somewhat_worse_on_every_task_is_blocked_by_all_of_them_together() -> None:
    found = said([(0.95, 0.7 * 0.95)] * 5, cases=32, same=0.6, runs=200)
    assert found[BLOCK] >= at_least(200, 0.90)


def test_a_small_set_neither_blocks_nor_passes_what_is_somewhat_worse() -> None:
    found = said([(0.8, 0.64)] * 5, cases=10, same=0.6, runs=200)
    assert found["unproven"] >= 180


def test_an_equal_model_passes_when_there_are_enough_cases() -> None:
    found = said([(0.95, 0.95)], cases=200, same=0.6, runs=200)
    assert found[PASS] >= at_least(200, 0.98)
