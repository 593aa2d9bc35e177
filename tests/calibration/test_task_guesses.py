"""How honest guesses of a task are: seeded, on the prompts of the demonstration's six tasks.

Each seed learns from some lessons and is asked prompts on subjects that training never has. The
bound is binomial: guesses that are right with the stated probability fall below it once in a
thousand seeds.
"""

from __future__ import annotations

from math import sqrt
from random import Random

import pytest

from arbiter.demo.lessons import TASKS, draw
from arbiter.inference import Chat, Message
from arbiter.knowledge.guess import best_guess
from arbiter.knowledge.kinds import Kinds
from arbiter.knowledge.traits import traits
from arbiter.refs import TaskName

pytestmark = pytest.mark.calibration

SEEDS = 6
ASKED = 60
LEVEL = 0.8


def _drawn(task: str, dice: Random, *, unseen: bool) -> tuple[int, ...]:
    item = draw(task, dice, split="held_out" if unseen else "train")
    return traits(Chat(messages=(Message(role="user", content=item.prompt),)))


def _school(dice: Random, tasks: tuple[str, ...], lessons: int) -> Kinds:
    kinds = Kinds()
    for _ in range(lessons):
        task = dice.choice(tasks)
        kinds.learn_one(_drawn(task, dice, unseen=False), TaskName(task))
    return kinds


def _fewest(asked: int, chance: float) -> float:
    """Fewer hits than this are rarer than one in a thousand."""
    return asked * chance - 3.1 * sqrt(asked * chance * (1 - chance))


@pytest.mark.parametrize("lessons", [30, 120, 600])
def test_guesses_at_unseen_prompts_are_right_as_often_as_they_say(lessons: int) -> None:
    made = right = 0
    for seed in range(SEEDS):
        dice = Random(seed)
        kinds = _school(dice, TASKS, lessons)
        for task in TASKS:
            for _ in range(ASKED):
                found = kinds.predict(_drawn(task, dice, unseen=True))
                guess = best_guess(found, least=LEVEL)
                made += guess is not None
                right += guess is not None and guess.task == task
    assert right >= _fewest(made, LEVEL)
    assert made >= 0.5 * SEEDS * ASKED * len(TASKS)


def test_one_request_in_five_of_a_task_that_nobody_named_does_not_spoil_them() -> None:
    made = right = 0
    for hidden in TASKS:
        dice = Random(TASKS.index(hidden))
        known = tuple([task for task in TASKS if task != hidden])
        kinds = _school(dice, known, 300)
        # five tasks that are known and one that is not, as often as what is learned expects it
        asked = [*known * ASKED, *((hidden,) * (ASKED * len(known) // 4))]
        for task in asked:
            guess = best_guess(kinds.predict(_drawn(task, dice, unseen=True)), least=LEVEL)
            made += guess is not None
            right += guess is not None and guess.task == task
    assert right >= _fewest(made, LEVEL)
    assert made >= 0.4 * len(TASKS) * ASKED * len(TASKS)


def test_stated_confidence_and_share_of_right_guesses_differ_little() -> None:
    bins: dict[int, list[float]] = {}
    for seed in range(SEEDS):
        dice = Random(seed)
        kinds = _school(dice, TASKS, 300)
        for task in TASKS:
            for _ in range(ASKED):
                found = kinds.predict(_drawn(task, dice, unseen=True))
                name = max(found, key=found.__getitem__)
                told = bins.setdefault(min(9, int(10 * found[name])), [0.0, 0.0, 0.0])
                told[0] += 1
                told[1] += found[name]
                told[2] += name == task
    asked = sum(many for many, _, _ in bins.values())
    error = sum(abs(said - right) for _, said, right in bins.values()) / asked
    # all of these are of known tasks, and one in five is expected not to be: too modest, if at all
    assert error <= 0.2
    assert sum(said for _, said, _ in bins.values()) <= sum(right for *_, right in bins.values())
