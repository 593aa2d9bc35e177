"""How sure a guess is, learned step by step: AdaGrad by hand, and nothing that cannot be."""

from __future__ import annotations

from math import exp, inf, log, nan, sqrt

import pytest

from arbiter.knowledge.trust import Trust

CLEAR = (1.0, 2.0, 0.5)
UNCLEAR = (1.0, 0.1, 0.0)


def by_hand(lessons: list[tuple[tuple[float, float, float], bool, float]]) -> list[float]:
    """The weights after these lessons."""
    weights, squares = [-2.5, 1.0, 6.0], [20.0, 20.0, 20.0]
    for evidence, right, weight in lessons:
        z = sum(one * value for one, value in zip(weights, evidence, strict=True))
        error = weight * (right - 1.0 / (1.0 + exp(-z)))
        for part, value in enumerate(evidence):
            squares[part] += (error * value) ** 2
            weights[part] += 0.3 * error * value / sqrt(squares[part])
        weights[1:] = [max(0.05, one) for one in weights[1:]]
    return [*weights, *squares]


def test_at_first_it_is_sure_of_what_is_clear_and_familiar_and_of_nothing_else() -> None:
    trust = Trust()
    assert trust.confidence(CLEAR) == pytest.approx(1 / (1 + exp(2.5 - 2.0 - 3.0)))
    assert trust.confidence(UNCLEAR) == pytest.approx(1 / (1 + exp(2.4)))
    assert trust.t == pytest.approx(0.3)


def test_every_lesson_takes_a_step_that_gets_shorter() -> None:
    lessons = [(CLEAR, False, 1.0), (UNCLEAR, True, 1.0), (CLEAR, True, 0.5)] * 8
    trust = Trust()
    for evidence, right, weight in lessons:
        trust.learn(evidence, right=right, weight=weight)
    assert trust.to_state()[2:] == pytest.approx(by_hand(lessons))


def test_a_lesson_counts_once_unless_it_is_said_otherwise() -> None:
    one, other = Trust(), Trust()
    one.learn(CLEAR, right=False)
    other.learn(CLEAR, right=False, weight=1.0)
    assert one.to_state() == other.to_state()


def test_no_run_of_errors_turns_evidence_against_a_guess() -> None:
    trust = Trust()
    for _ in range(20_000):
        trust.learn((0.0, 3.0, 3.0), right=False)
    assert trust.to_state()[3:5] == [0.05, 0.05]


def test_no_evidence_makes_it_certain() -> None:
    trust = Trust()
    assert trust.confidence((1.0, 1e9, 1.0)) == pytest.approx(1.0 / (1.0 + exp(-30.0)), abs=1e-16)
    assert trust.confidence((1.0, -1e9, 0.0)) == pytest.approx(1.0 / (1.0 + exp(30.0)))


def test_the_temperature_takes_half_a_step_at_once_and_shorter_ones_then() -> None:
    trust = Trust()
    trust.temper(0.2)
    assert log(trust.t / 0.3) == pytest.approx(0.5, rel=1e-3)
    trust.temper(-0.2)
    assert log(trust.t / 0.3) == pytest.approx(0.5 - 0.5 / sqrt(2.0), rel=1e-3)


def test_a_steep_slope_counts_as_three() -> None:
    steep, three = Trust(), Trust()
    for trust, slope in ((steep, 99.0), (three, 3.0)):
        trust.temper(1.0)
        trust.temper(slope)
        trust.temper(-slope)
    assert steep.to_state() == three.to_state()


def test_the_temperature_stays_within_its_bounds() -> None:
    hot, cold = Trust(), Trust()
    for _ in range(200):
        hot.temper(1.0)
        cold.temper(-1.0)
    assert (log(hot.t), log(cold.t)) == pytest.approx((3.0, -6.0))


def test_what_was_learned_survives_being_written_down() -> None:
    trust = Trust()
    trust.learn(CLEAR, right=False)
    trust.temper(0.7)
    again = Trust.from_state(trust.to_state())
    assert again.to_state() == trust.to_state()
    assert again.confidence(UNCLEAR) == trust.confidence(UNCLEAR)


@pytest.mark.parametrize("place", range(8))
@pytest.mark.parametrize("wrong", [nan, inf])
def test_a_state_with_what_is_no_number_is_refused(place: int, wrong: float) -> None:
    state = Trust().to_state()
    state[place] = wrong
    with pytest.raises(ValueError, match="not the state of a trust"):
        Trust.from_state(state)


@pytest.mark.parametrize("place", [1, 5, 6, 7])
@pytest.mark.parametrize("wrong", [0.0, -1.0])
def test_sums_of_squares_are_above_nothing(place: int, wrong: float) -> None:
    state = Trust().to_state()
    state[place] = wrong
    with pytest.raises(ValueError, match="not the state of a trust"):
        Trust.from_state(state)


@pytest.mark.parametrize("many", [7, 9])
def test_a_state_of_another_length_is_refused(many: int) -> None:
    with pytest.raises(ValueError, match="not the state of a trust"):
        Trust.from_state([1.0] * many)
