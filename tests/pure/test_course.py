"""How the evidence went, point by point: means of the right side, and a gap of the right sign."""

from __future__ import annotations

from tests.pure.records_of_rollouts import PLAN, TASKS

from arbiter.inference import Arm
from arbiter.swap.analysis import Unit
from arbiter.swap.course import POINTS, Gap, course


def units(n: int, *, stable: float, candidate: float) -> list[Unit]:
    return [
        Unit(
            task=TASKS[number % 2],
            arm=Arm.CANDIDATE if number % 4 < 2 else Arm.STABLE,
            probability=0.5,
            score=candidate if number % 4 < 2 else stable,
        )
        for number in range(n)
    ]


def gap_of(given: list[Unit]) -> tuple[float, float]:
    gap = Gap()
    for unit in given:
        gap.update(unit)
    ends = gap.get()
    assert ends is not None
    return ends


def test_the_gap_is_candidate_less_stable() -> None:
    better = gap_of(units(600, stable=0.2, candidate=0.9))
    worse = gap_of(units(600, stable=0.9, candidate=0.2))
    assert better[0] > 0.0
    assert worse[1] < 0.0
    assert better[0] < 0.7 < better[1]
    assert worse[0] < -0.7 < worse[1]


def test_who_looks_twice_sees_the_same_and_who_looks_between_changes_nothing() -> None:
    given = units(60, stable=0.2, candidate=0.9)
    gap = Gap()
    for unit in given[:20]:
        gap.update(unit)
    assert gap.get() == gap.get() == gap_of(given[:20])
    for unit in given[20:]:
        gap.update(unit)
    assert gap.get() == gap.get() == gap_of(given)


def test_a_point_has_the_means_of_either_side() -> None:
    (last,) = course(units(40, stable=0.25, candidate=0.75), PLAN)[-1:]
    assert (last.mean_stable, last.mean_candidate) == (0.25, 0.75)
    assert (last.units, last.n_candidate, last.weight) == (40, 20, 0.5)


def test_the_points_are_evenly_spaced_and_the_last_unit_is_one() -> None:
    given = units(2 * POINTS + 2, stable=0.5, candidate=0.5)
    told = [point.units for point in course(given, PLAN)]
    assert told[:-1] == list(range(3, len(given), 3))
    assert told[-1] == len(given)
