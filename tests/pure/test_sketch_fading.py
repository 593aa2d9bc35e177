"""A fading sketch against the weights of all its numbers, before and after it is written anew."""

from __future__ import annotations

from math import inf, nan

import pytest

from arbiter.stats.quantiles import RELATIVE_ERROR, Sketch

VALUES = [float(1 + (7 * number) % 13) for number in range(40)]


def sketched(values: list[float], half_life: float | None = 4.0) -> Sketch:
    sketch = Sketch(half_life=half_life)
    for value in values:
        sketch.add(value)
    return sketch


def weights(n: int, half_life: float) -> list[float]:
    """What each of n numbers weighs now, the oldest first."""
    return [0.5 ** ((n - 1 - at) / half_life) for at in range(n)]


def effective(weighed: list[float]) -> float:
    return sum(weighed) ** 2 / sum(weight**2 for weight in weighed)


def exact(values: list[float], weighed: list[float], share: float) -> float:
    upto, whole = 0.0, sum(weighed)
    for value, weight in sorted(zip(values, weighed, strict=True)):
        upto += weight
        if upto >= share * whole:
            return value
    return max(values)


# with a half-life of 4 the weights are written anew after 41 numbers, and after 82
@pytest.mark.parametrize("n", [1, 39, 41, 42, 60, 83, 120])
def test_whenever_one_looks_old_numbers_weigh_by_their_age(n: int) -> None:
    values = (VALUES * 3)[:n]
    sketch, weighed = sketched(values), weights(n, 4.0)
    assert sketch.effective == pytest.approx(effective(weighed), rel=1e-3)
    for share in (0.1, 0.5, 0.9):
        found = sketch.quantile(share)
        assert found == pytest.approx(exact(values, weighed, share), rel=RELATIVE_ERROR + 1e-9)


@pytest.mark.parametrize(("n", "m"), [(30, 5), (5, 30), (45, 30), (60, 100)])
def test_merged_numbers_weigh_by_their_age_in_the_sketch_that_they_came_in(n: int, m: int) -> None:
    ours, theirs = (VALUES * 3)[:n], [value * 10 for value in (VALUES * 3)[:m]]
    sketch = sketched(ours)
    sketch.merge(sketched(theirs))
    weighed = weights(n, 4.0) + weights(m, 4.0)
    assert sketch.count == n + m
    assert sketch.effective == pytest.approx(effective(weighed), rel=1e-3)
    for share in (0.25, 0.5, 0.75):
        found = sketch.quantile(share)
        assert found == pytest.approx(exact(ours + theirs, weighed, share), rel=0.021)
    sketch.add(1000.0)
    later = [weight * 0.5**0.25 for weight in weighed] + [1.0]
    assert sketch.effective == pytest.approx(effective(later), rel=1e-3)


def test_a_sketch_may_be_merged_with_one_that_holds_nothing() -> None:
    full, empty = sketched(VALUES), Sketch(half_life=4.0)
    before = full.to_state()
    full.merge(empty)
    assert full.to_state() == before
    empty.merge(full)
    assert empty.quantile(0.5) == full.quantile(0.5)
    assert empty.effective == pytest.approx(full.effective)


def test_what_has_faded_away_takes_no_room() -> None:
    sketch = sketched([1.0] + [1000.0] * 200, half_life=1.0)
    buckets = sketch.to_state()["buckets"]
    assert isinstance(buckets, list)
    assert len(buckets) == 1
    assert sketch.quantile(0.0) == pytest.approx(1000.0, rel=RELATIVE_ERROR)


@pytest.mark.parametrize(
    "wrong",
    [
        {"squares": nan},
        {"squares": inf},
        {"squares": -1.0},
        {"buckets": [inf]},
        {"buckets": [nan]},
        {"buckets": [-1.0]},
        {"first": 10**6},
        {"first": -(10**6)},
    ],
)
def test_a_state_with_a_number_that_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    state = {**sketched(VALUES).to_state(), **wrong}
    with pytest.raises(ValueError, match="this is no state of a sketch"):
        Sketch.from_state(state)


def test_the_largest_and_the_least_number_survive_being_written_down() -> None:
    for value in (0.0, 1e9):
        told = sketched([value]).to_state()
        assert Sketch.from_state(told).to_state() == told


def test_a_sketch_that_holds_nothing_survives_being_written_down() -> None:
    told = Sketch().to_state()
    assert Sketch.from_state(told).quantile(0.5) is None
