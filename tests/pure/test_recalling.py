"""A table that is told again what another one was told: it stands where that one stood."""

from __future__ import annotations

import json
from collections.abc import Mapping
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbiter.knowledge.scores import CARRIED, CASES, GRADES, Fall, Source
from arbiter.refs import TaskName, VersionId
from arbiter.selection.bandit import Table

A, B = VersionId("ant"), VersionId("bee")
SUMS, TALES = TaskName("sums"), TaskName("tales")
ANN: Source = ("ann", "person")

Told = tuple[VersionId, TaskName, float, Source]


def few(said: Mapping[Source, float], house: float) -> dict[Source, float]:  # noqa: ARG001  # a Weigh
    """What a caller says counts as five scores at most."""
    return {source: min(1.0, 5.0 / max(1.0, amount)) for source, amount in said.items()}


def drawn(seed: int, count: int, rate: float) -> list[Told]:
    dice = Random(seed)
    return [
        (
            dice.choice((A, A, B)),
            dice.choice((SUMS, SUMS, TALES)),
            float(dice.random() < rate),
            dice.choice((GRADES, GRADES, ANN)),
        )
        for _ in range(count)
    ]


def lived(told: list[Told]) -> tuple[Table, list[tuple[int, Fall]]]:
    table, falls = Table(weigh=few), []
    for number, (version, task, score, source) in enumerate(told):
        fall = table.update(task, version, score, source=source, mark=f"{number:06}")
        if fall is not None:
            falls.append((number, fall))
    return table, falls


def recalled(told: list[Told], falls: list[tuple[int, Fall]]) -> Table:
    table, known = Table(weigh=few).fresh(), dict(falls)
    for number, (version, task, score, source) in enumerate(told):
        fell = known.get(number)
        is_shown = table.recall(
            task, version, score, source=source, mark=f"{number:06}", fell=fell
        )  # fmt: skip
        assert is_shown is (fell is not None)
    for _ in table.settling():
        pass
    return table


@pytest.mark.parametrize("seed", range(5))
def test_what_is_recalled_is_what_was_learned_with_every_fall_and_suspicion(seed: int) -> None:
    told = [*drawn(seed, 200, 0.9), *drawn(seed + 50, 70, 0.2), *drawn(seed + 90, 60, 0.8)]
    table, falls = lived(told)
    assert falls
    again = recalled(told, falls)
    assert again.to_state() == table.to_state()
    table.settle()
    for version in (A, B):
        for task in (SUMS, TALES):
            found, expected = again.get(task, version), table.get(task, version)
            assert found.mean == pytest.approx(expected.mean, abs=0.01)
            assert found.samples == pytest.approx(expected.samples)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(0, 60), st.floats(0, 1))
def test_the_next_score_is_taken_alike(seed: int, count: int, rate: float) -> None:
    told = [*drawn(seed, 120, 0.95), *drawn(seed + 1, count, rate)]
    table, falls = lived(told)
    again = recalled(told, falls)
    for number, (version, task, score, source) in enumerate(drawn(seed + 2, 30, 0.1)):
        mark = f"later {number:06}"
        fall = again.update(task, version, score, source=source, mark=mark)
        assert fall == table.update(task, version, score, source=source, mark=mark)
    assert again.to_state() == table.to_state()


def test_a_fall_that_nobody_noticed_then_is_noticed_with_the_next_score() -> None:
    told: list[Told] = [(A, SUMS, 1.0, GRADES)] * 60 + [(A, SUMS, 0.0, GRADES)] * 12
    again = recalled(told, [])
    fall = again.update(SUMS, A, 0.0, mark="next")
    assert fall is not None
    assert fall.since == "000060"
    assert again.get(SUMS, A).mean < 0.3


def test_a_fall_of_another_task_is_not_the_one_that_a_score_shows() -> None:
    table = Table()
    for _ in range(60):
        table.recall(SUMS, A, 1.0, source=GRADES, mark="a")
    fell = Fall(version=A, task=TALES, since="b")
    assert not any(
        table.recall(SUMS, A, 0.0, source=GRADES, mark="b", fell=fell) for _ in range(20)
    )


@pytest.mark.parametrize("task", [SUMS, None])
def test_a_fall_that_no_score_shows_drops_what_was_before(task: TaskName | None) -> None:
    table = Table(half_life=None)
    for _ in range(30):
        table.recall(SUMS, A, 1.0, source=GRADES, mark="a")
        table.recall(TALES, A, 1.0, source=GRADES, mark="a")
    table.recall_fall(Fall(version=A, task=task, since="b"))
    table.settle()
    kept = {row[0]: row[5] for row in streams(table)}
    assert kept == {"sums": 0.0, "tales": 30.0 if task is SUMS else 0.0}
    assert table.get(SUMS, A).samples == 30.0, "so many there were"


def test_a_fall_of_a_version_that_nobody_knows_is_no_error() -> None:
    table = Table()
    table.recall_fall(Fall(version=A, task=None, since=""))
    table.update(SUMS, A, 1.0)
    table.recall_fall(Fall(version=A, task=TALES, since=""))
    assert table.get(SUMS, A).samples == 1.0


def streams(table: Table) -> list[list[object]]:
    """Task, version, caller, kind, count, n and the rest of every stream."""
    found = table.to_state()["streams"]
    assert isinstance(found, list)
    return found


def test_sums_that_are_put_twice_add_up() -> None:
    table = Table()
    table.put(SUMS, A, CARRIED, count=10.0, n=8.0, good=6.0)
    table.put(SUMS, A, CARRIED, count=4.0, n=3.0, good=9.0)
    table.recall_shift(SUMS, A, count=2.0, total=1.0, source=CASES)
    found = {row[3]: row[4:7] for row in streams(table)}
    assert found == {"carried": [14.0, 11.0, 9.0], "cases": [2.0, 2.0, 1.0]}


def test_whoever_looks_at_a_table_that_became_another_looks_again() -> None:
    table = Table()
    table.relate(predecessors={B: A}, parents={TALES: SUMS})
    for _ in range(40):
        table.update(SUMS, A, 0.0)
    before, revision = table.get(SUMS, A), table.revision(SUMS)
    other = table.fresh()
    for _ in range(40):
        other.recall(SUMS, A, 1.0, source=GRADES, mark="")
    other.settle()
    assert table.get(SUMS, A) == before, "until then nothing has happened"
    table.become(other)
    assert table.revision(SUMS) != revision
    assert table.get(SUMS, A).mean > 0.9
    assert table.get(SUMS, B).mean > 0.7, "it is still the successor"
    assert table.get(TALES, A).mean > 0.7, "and the finer task"


def test_what_is_told_of_kinship_while_another_one_is_made_is_not_lost() -> None:
    table = Table()
    other = table.fresh()
    table.relate(predecessors={B: A}, parents={})
    for _ in range(40):
        other.recall(SUMS, A, 1.0, source=GRADES, mark="")
        other.recall(SUMS, VersionId("cat"), 0.0, source=GRADES, mark="")
    other.settle()
    table.become(other)
    assert table.get(SUMS, B).mean > table.get(SUMS, VersionId("dog")).mean + 0.1


def test_settling_goes_in_steps_of_a_row_or_a_column() -> None:
    table = Table()
    for version in (A, B):
        for task in (SUMS, TALES):
            table.put(task, version, GRADES, count=20.0, n=20.0, good=15.0)
    steps = len(list(table.settling()))
    assert steps >= 2 + 2 * (2 + 2)
    assert (steps - 2) % 4 == 0


STATE = lived(drawn(1, 60, 0.5))[0].to_state()


@pytest.mark.parametrize("part", ["versions", "cells", "streams"])
@pytest.mark.parametrize("place", [2, 3, 4, 5, 6])
@pytest.mark.parametrize("value", [float("nan"), [], None])
def test_a_state_with_anything_in_it_that_is_none_is_refused(
    part: str, place: int, value: object
) -> None:
    state = json.loads(json.dumps(STATE))
    row = state[part][0]
    if isinstance(row[place], str):
        row.append("more")
    else:
        row[place] = value
    with pytest.raises(ValueError, match="no state"):
        Table.from_state(state)


def test_a_state_holds_what_each_caller_said_in_a_suspicion() -> None:
    table = Table(weigh=few)
    for _ in range(40):
        table.update(SUMS, A, 1.0)
    table.update(SUMS, A, 0.0, source=ANN)
    state = json.loads(json.dumps(table.to_state()))
    assert state["cells"][0][6] == state["versions"][0][5] == {"ann": 1.0}
    assert Table.from_state(state).to_state() == table.to_state()
