"""What the energy of a solved task counts in a pick, and whose energy is known at all."""

from __future__ import annotations

from dataclasses import replace

import pytest
from msgspec import structs

from arbiter.cost import Cost, Figure, Method, unknown_cost
from arbiter.errors import InvalidField
from arbiter.inference import Limits
from arbiter.knowledge.energies import (
    LEAST_ALONE,
    LEAST_TOGETHER,
    Energies,
    Spend,
    Spender,
)
from arbiter.knowledge.profiles import Profile
from arbiter.knowledge.tasks import Task, Weights, task_from_spec
from arbiter.refs import GENERAL, ModelName, TaskName, VersionId
from arbiter.selection.bandit import Table
from arbiter.selection.contender import Choice, Contender, Seen, Situation
from arbiter.selection.energy import (
    LEAST_QUALITY,
    Scale,
    energy_part,
    energy_words,
    per_solved,
    scale_of,
)
from arbiter.selection.selector import Selector

SUMS = TaskName("sums")
ANT, BEE, CAT = VersionId("ant"), VersionId("bee"), VersionId("cat")
SERVED = Profile(samples=40, successes=40, graded=40.0, quality=32.0, timed=40, latency_ms=40_000)
HOUSE = Situation(budget_bytes=None, weights=Weights())
WEIGHS = Weights(quality=0.4, latency=0.0, memory=0.0, reliability=0.0, energy=0.6)
TASK = Task(name=SUMS, weights=WEIGHS)


def spend(mwh: float, answers: int = 40) -> Spend:
    """An energy that is known."""
    return Spend(mwh=mwh, answers=answers, is_exclusive=True)


def seen(version: VersionId, energy: Spend | None, profile: Profile = SERVED) -> Seen:
    """A contender that answers as well as any other."""
    one = Contender(
        name=ModelName(version),
        version=version,
        capabilities=frozenset({"chat"}),
        context=None,
        memory_bytes=None,
    )
    return Seen(contender=one, profile=profile, spend=energy)


def pick(by: Selector, *contenders: Seen, task: Task = TASK) -> Choice:
    """Whom it takes."""
    return by.pick(contenders, task=task, limits=Limits(), rule=None, situation=HOUSE)


def scores(choice: Choice) -> dict[str, float]:
    """Of everybody, by name."""
    return {one.contender.name: one.score for one in choice.scored}


# -- the part


def test_the_least_counts_one_and_twice_as_much_a_half() -> None:
    scale = scale_of([0.2, 0.4])
    assert energy_part(0.2, scale) == 1.0
    assert energy_part(0.4, scale) == 0.5


def test_who_is_never_right_takes_much_and_not_endlessly_much() -> None:
    assert per_solved(spend(0.1), 0.0) == pytest.approx(0.1 / LEAST_QUALITY)


def test_without_energy_or_without_grades_nothing_is_known_of_a_solved_task() -> None:
    assert per_solved(None, 0.9) is None
    assert per_solved(spend(0.1), None) is None
    assert scale_of([None, None]) is None


def test_what_is_told_is_the_energy_and_how_it_was_come_by() -> None:
    scale = Scale(least_mwh=0.1, usual=0.8)
    assert energy_words(0.2, spend(0.2), scale) == (
        "energy 0.2 mWh a solved task (40 answers, alone at its model; 2.0 times the least)"
    )
    assert energy_words(0.1, structs.replace(spend(0.1), is_exclusive=False), scale) == (
        "energy 0.1 mWh a solved task (40 answers, of sums over concurrent answers)"
    )
    assert energy_words(None, None, scale) == "energy unknown, taken as the others'"
    assert energy_words(None, None, None) == "energy unknown"


# -- the pick, by both strategies


BOTH = pytest.mark.parametrize("table", [None, Table()], ids=["static", "learned"])


@BOTH
def test_of_equals_the_one_that_takes_less_is_picked_and_why_says_it(table: Table | None) -> None:
    choice = pick(Selector(table), seen(ANT, spend(0.4)), seen(BEE, spend(0.1)))
    assert choice.alias == "bee"
    assert "mWh a solved task" in choice.reason
    (other,) = [one for one in choice.scored if one.contender.name == "ant"]
    assert "4.0 times the least" in other.explanation


@BOTH
def test_without_a_weight_energy_counts_nothing_and_is_not_told(table: Table | None) -> None:
    plain = Task(name=SUMS)
    found = pick(Selector(table), seen(ANT, spend(0.4)), seen(BEE, spend(0.1)), task=plain)
    assert len(set(scores(found).values())) == 1
    assert "mWh" not in found.reason


@BOTH
def test_who_is_not_known_has_neither_advantage_nor_penalty(table: Table | None) -> None:
    found = pick(Selector(table), seen(ANT, spend(0.4)), seen(BEE, spend(0.1)), seen(CAT, None))
    of = scores(found)
    assert of["cat"] == pytest.approx((of["ant"] + of["bee"]) / 2)
    assert of["ant"] < of["cat"] < of["bee"]


@BOTH
def test_where_nobody_is_known_energy_decides_nothing(table: Table | None) -> None:
    found = pick(Selector(table), seen(ANT, None), seen(BEE, None))
    assert len(set(scores(found).values())) == 1
    assert "energy unknown" in found.reason


@BOTH
def test_a_contender_that_cannot_serve_is_no_measure_for_the_others(table: Table | None) -> None:
    broken = seen(BEE, spend(0.001))
    broken = structs.replace(broken, contender=replace(broken.contender, unavailable="no engine"))
    alone = pick(Selector(table), seen(ANT, spend(0.4)))
    beside = pick(Selector(table), seen(ANT, spend(0.4)), broken)
    assert scores(beside)["ant"] == pytest.approx(scores(alone)["ant"])


@BOTH
def test_what_becomes_known_between_two_picks_is_seen(table: Table | None) -> None:
    selector = Selector(table)
    ant, bee = seen(ANT, None), seen(BEE, None)
    pick(selector, ant, bee)
    ant, bee = structs.replace(ant, spend=spend(0.4)), structs.replace(bee, spend=spend(0.1))
    assert pick(selector, ant, bee).alias == "bee"
    bee = structs.replace(bee, spend=spend(4.0))
    assert pick(selector, ant, bee).alias == "ant"


# -- the weight


def test_a_task_that_does_not_weigh_energy_keeps_its_digest() -> None:
    plain = {"quality": 0.4, "latency": 0.3, "memory": 0.2, "reliability": 0.1}
    assert Task(name=SUMS, weights=Weights()).spec()["weights"] == plain
    assert TASK.spec()["weights"] == {
        "quality": 0.4, "latency": 0.0, "memory": 0.0, "reliability": 0.0, "energy": 0.6,
    }  # fmt: skip


def test_a_weight_of_energy_is_read_like_the_others() -> None:
    assert task_from_spec(SUMS, TASK.spec(), ()).weights == WEIGHS
    alone = {"quality": 0, "latency": 0, "memory": 0, "reliability": 0, "energy": 1}
    assert task_from_spec(SUMS, {"weights": alone}, ()).weights == Weights(
        quality=0, latency=0, memory=0, reliability=0, energy=1
    )
    with pytest.raises(InvalidField, match="energy"):
        task_from_spec(SUMS, {"weights": {"mood": 1}}, ())


# -- whose energy is known


def cost(mwh: float | None, method: Method = Method.MEASURED) -> Cost:
    """A cost of which only energy matters."""
    method = Method.UNKNOWN if mwh is None else method
    note = "no counter" if mwh is None else None
    energy = Figure(value=mwh, method=method, note=note)
    return structs.replace(unknown_cost("nothing"), energy_mwh=energy)


def who(task: TaskName = SUMS, *, answered: bool = True) -> Spender:
    """The ant at a task."""
    return Spender(version=ANT, task=task, answered=answered)


def test_from_ten_answers_alone_on_they_are_believed() -> None:
    energies = Energies()
    for number in range(LEAST_ALONE):
        assert energies.get(ANT, SUMS) is None
        energies.add(who(), cost(0.1 + 0.01 * (number % 2)))
        energies.add(who(), cost(9.0, Method.ESTIMATED))
        energies.add(who(), cost(None))
    found = energies.get(ANT, SUMS)
    assert found is not None
    assert found.mwh == pytest.approx(0.105)
    assert (found.answers, found.is_exclusive) == (LEAST_ALONE, True)
    assert energies.get(ANT, SUMS) is energies.get(ANT, SUMS)
    assert energies.get(BEE, SUMS) is None


def test_too_few_alone_are_added_to_the_shares_of_those_together() -> None:
    energies = Energies()
    for _ in range(LEAST_TOGETHER - 2):
        energies.add(who(), cost(0.2, Method.SHARED))
    energies.add(who(), cost(0.2))
    assert energies.get(ANT, SUMS) is None
    energies.add(who(), cost(0.2))
    found = energies.get(ANT, SUMS)
    assert found is not None
    assert (found.is_exclusive, found.answers) == (False, LEAST_TOGETHER)


def test_what_failed_took_energy_and_is_no_answer() -> None:
    energies = Energies()
    for _ in range(LEAST_ALONE):
        energies.add(who(), cost(0.1))
        energies.add(who(answered=False), cost(0.1))
    found = energies.get(ANT, SUMS)
    assert found is not None
    assert found.mwh == pytest.approx(0.2)


def test_at_general_all_tasks_count_together_and_none_twice() -> None:
    energies = Energies()
    energies.take([(ANT, SUMS, 1.0, 5, 1), (ANT, "code", 2.0, 5, 1), (ANT, GENERAL, 3.0, 5, 0)])
    found = energies.get(ANT, GENERAL)
    assert found is not None
    assert found.mwh == pytest.approx(0.3)
    assert found.answers == 10
