"""What is run again comes first, and why each case is run or not is told."""

from __future__ import annotations

import pytest

from arbiter.refs import TaskName, VersionId
from arbiter.swap.calibration_plan import Stage, Standing, Wish, plan, with_again

SUMS, POEMS = TaskName("sums"), TaskName("poems")


def at(
    version: str,
    task: TaskName = SUMS,
    *,
    done: int,
    mean: float = 0.5,
    cases: int = 32,
    is_choice: bool = True,
    is_loaded: bool = False,
) -> Standing:
    return Standing(
        version=VersionId(version),
        task=task,
        cases=cases,
        done=done,
        graded=done,
        quality=mean * done,
        is_choice=is_choice,
        is_loaded=is_loaded,
    )


def again(standing: Standing) -> Wish:
    return Wish(standing=standing, stage=Stage.AGAIN, upto=32, why="it may have got worse")


def test_what_is_run_again_comes_first_and_only_once() -> None:
    planned = plan([at("a", done=12), at("b", done=12), at("a", POEMS, done=0)], first=12)
    fallen = again(at("b", done=0))
    found = with_again([fallen], planned)
    assert found[0] is fallen
    places = [(one.standing.version, one.standing.task) for one in found]
    assert sorted(places) == [("a", POEMS), ("a", SUMS), ("b", SUMS)]
    assert [one for one in found if one.stage is not Stage.AGAIN] == [
        one for one in planned if (one.standing.version, one.standing.task) != ("b", SUMS)
    ]


def test_where_nothing_is_run_again_the_plan_is_as_it_was() -> None:
    planned = plan([at("a", done=12)], first=12)
    assert with_again([], planned) == planned


@pytest.mark.parametrize(
    ("standings", "stage", "why"),
    [
        ([at("a", done=3)], Stage.FIRST, "its first 12 samples"),
        ([at("a", done=3, cases=5)], Stage.FIRST, "its first 5 samples"),
        ([at("a", done=32)], Stage.COMPLETE, "all its cases are run"),
        (
            [at("a", done=12), at("b", done=12, is_choice=False)],
            Stage.CLEAR,
            "another version leads clearly, or none is left to compare it with",
        ),
        (
            [at("a", done=12, is_choice=False), at("b", done=12)],
            Stage.CLEAR,
            "auto does not pick it for this task",
        ),
        (
            [at("a", done=12, mean=0.75), at("b", done=16, mean=0.5)],
            Stage.CLOSE,
            "the best two are close: 0.75 of 12 and 0.50 of 16",
        ),
    ],
)
def test_why_a_case_is_run_or_not_is_told(
    standings: list[Standing], stage: Stage, why: str
) -> None:
    (found,) = (
        one for one in plan(standings, first=12) if one.standing.version == standings[0].version
    )
    assert (found.stage, found.why) == (stage, why)


def test_of_two_close_calls_those_that_are_loaded_come_first() -> None:
    standings = [
        at("a", done=12, mean=0.5),
        at("b", done=12, mean=0.5, is_loaded=True),
        at("c", POEMS, done=16, mean=0.6, is_loaded=True),
        at("d", POEMS, done=16, mean=0.5),
    ]
    found = [one.standing.version for one in plan(standings, first=12) if one.left]
    assert set(found[:2]) == {"b", "c"}
