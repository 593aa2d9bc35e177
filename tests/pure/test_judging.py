"""The coin that chooses who is judged: fair, the same for both arms, and always the same."""

from __future__ import annotations

from math import sqrt

from hypothesis import given
from hypothesis import strategies as st

from arbiter.inference import Arm
from arbiter.refs import DecisionId, RolloutId
from arbiter.swap.basis import UnitRow
from arbiter.swap.judging import Wait, Waits, is_chosen, judging
from arbiter.swap.rollout import assign

ROW: UnitRow = (3, "u", "chat", "stable", 0.9, None, "answered", 10.0)
ONE, OTHER = DecisionId("dec_1"), DecisionId("dec_2")


@given(st.text(), st.text(), st.floats(0.0, 1.0))
def test_it_falls_the_same_way_every_time(salt: str, unit: str, share: float) -> None:
    assert is_chosen(salt, unit, share) == is_chosen(salt, unit, share)
    assert is_chosen(salt, unit, 1.0)
    assert not is_chosen(salt, unit, 0.0)


def test_it_has_the_chance_that_it_says_in_either_arm() -> None:
    """20,000 units: each share within four standard errors (a chance of 6e-5 to be beyond)."""
    chosen = {Arm.STABLE: [0, 0], Arm.CANDIDATE: [0, 0]}
    for number in range(20_000):
        found = chosen[assign("salt", str(number), 0.4)]
        found[0] += is_chosen("salt", str(number), 0.3)
        found[1] += 1
    for hits, n in chosen.values():
        assert abs(hits / n - 0.3) < 4 * sqrt(0.3 * 0.7 / n)


def test_a_unit_waits_until_it_is_judged_or_its_time_is_over() -> None:
    waits = Waits()
    waits.expect(ONE)
    waits.add(ONE, Wait(row=ROW, left_s=2.0))
    waits.add(OTHER, Wait(row=ROW, left_s=9.0))
    assert (len(waits), waits.expected(), waits.late(1.5)) == (2, (ONE,), ())
    assert waits.late(0.5) == (ONE,)
    assert waits.pop(ONE) is not None
    assert (waits.pop(ONE), waits.get(ONE), list(waits)) == (None, None, [OTHER])


def test_a_judgement_changes_the_score_of_its_row_and_nothing_else() -> None:
    assert Wait(row=ROW, left_s=1.0).judged(0.5) == (*ROW[:5], 0.5, *ROW[6:])


def test_a_unit_that_waits_is_found_by_its_decision() -> None:
    waits = Waits()
    wait = Wait(row=ROW, left_s=2.0)
    waits.add(ONE, wait)
    assert waits.get(ONE) is wait
    assert waits.get(OTHER) is None


def test_only_the_latest_that_were_judged_too_early_are_remembered() -> None:
    waits = Waits()
    for number in range(1_001):
        waits.expect(DecisionId(f"dec_{number}"))
    waits.add(DecisionId("dec_0"), Wait(row=ROW, left_s=1.0))
    waits.add(DecisionId("dec_1"), Wait(row=ROW, left_s=1.0))
    assert waits.expected() == (DecisionId("dec_1"),)


def test_a_judgement_is_asked_of_the_record_by_rollout_and_position() -> None:
    found = judging(RolloutId("rol_1"), 3, at="2026-01-01T00:00:00Z", is_late=True)
    assert found.query == "judge_unit"
    assert found.parameters == ("2026-01-01T00:00:00Z", "rol_1", 3, 1)
