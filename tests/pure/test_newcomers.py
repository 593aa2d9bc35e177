"""A version is added: whoever is not given to it stays where it was."""

from __future__ import annotations

from random import Random

import pytest
from tests.pure.contending import HOUSE, contenders

from arbiter.inference import Limits
from arbiter.knowledge.tasks import Task
from arbiter.refs import TaskName, VersionId
from arbiter.selection.bandit import Table
from arbiter.selection.selector import Selector

TASKS = [Task(name=TaskName(f"task-{number}")) for number in range(8)]
CASES, JUDGED, TALKS = 8, 600, 60


class House:
    """Five versions of which something was learned, and perhaps a sixth."""

    def __init__(self, seed: int) -> None:
        self.dice, self.table = Random(seed), Table()
        draw = self.dice.gauss
        self.rates = [[min(0.97, max(0.03, draw(0.6, 0.2))) for _ in range(5)] for _ in TASKS]
        for task, row in enumerate(self.rates):
            for version, rate in enumerate(row):
                self.told(task, version, rate, times=CASES)
        for number in range(JUDGED):
            task = self.dice.randrange(len(TASKS))
            version = self.picked(task, f"early {number}")
            self.told(task, version, self.rates[task][version])

    def told(self, task: int, version: int, rate: float, *, times: int = 1) -> None:
        for _ in range(times):
            score = float(self.dice.random() < rate)
            self.table.update(TASKS[task].name, VersionId(f"v{version:02}"), score)

    def picked(self, task: int, talk: str, *, among: int = 5) -> int:
        choice = Selector(self.table).pick(
            contenders(among), task=TASKS[task], limits=Limits(), rule=None, situation=HOUSE,
            conversation=talk,
        )  # fmt: skip
        return int(choice.primary.contender.name[1:])


def kept(seed: int, *, better_by: float, cases: int) -> tuple[int, int]:
    """Of the conversations that a newcomer is not given: how many stay, and how many these are."""
    house = House(seed)
    talks = [(task, f"talk {number}") for task in range(len(TASKS)) for number in range(TALKS)]
    before = [house.picked(task, talk) for task, talk in talks]
    for task, row in enumerate(house.rates):
        house.told(task, 5, min(1.0, max(0.0, max(row) + better_by)), times=cases)
    after = [house.picked(task, talk, among=6) for task, talk in talks]
    others = [(old, new) for old, new in zip(before, after, strict=True) if new != 5]
    return sum(old == new for old, new in others), len(others)


@pytest.mark.parametrize(
    ("better_by", "cases"),
    [(0.05, CASES), (-0.1, CASES), (-0.4, CASES), (0.0, 0)],
    ids=["better", "worse", "much worse", "nothing known"],
)
def test_adding_a_version_leaves_the_picks_of_the_others_as_they_were(
    better_by: float, cases: int
) -> None:
    runs = [kept(seed, better_by=better_by, cases=cases) for seed in range(3)]
    stay, others = (sum(one) for one in zip(*runs, strict=True))
    assert others > 0
    assert stay >= 0.95 * others
