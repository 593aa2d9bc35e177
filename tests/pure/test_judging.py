"""The coin that chooses who is judged: fair, the same for both arms, and always the same."""

from __future__ import annotations

from math import sqrt

from hypothesis import given
from hypothesis import strategies as st

from arbiter.inference import Arm
from arbiter.refs import DecisionId, RolloutId
from arbiter.swap.basis import UnitRow
from arbiter.swap.judging import STOPPED, Judged, Wait, Waits, is_chosen, judging
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


def after(number: int, *, arm: Arm, score: float | None) -> UnitRow:
    return (number, f"u{number}", "chat", arm.value, 0.7, score, "answered", 10.0)


def told(*scores: float | None) -> Judged:
    judged = Judged()
    for number, score in enumerate(scores):
        judged.update(after(number, arm=Arm.PROMOTED, score=score))
    return judged


def test_where_nothing_was_to_be_judged_nothing_is_said() -> None:
    assert told().in_words(0) == ()
    assert "0 answers that were to be judged, 0 were in time" in told().in_words(1)[0]


def test_when_judging_stops_that_is_said_and_when_it_goes_on_it_is_not() -> None:
    late: list[None] = [None] * STOPPED
    assert not told(1.0, *late[1:]).has_stopped
    stopped = told(1.0, *late)
    assert (stopped.has_stopped, stopped.judged, stopped.unjudged) == (True, 1, STOPPED)
    assert "Nobody judged the last 10 of them." in " ".join(stopped.in_words(0))
    assert not told(1.0, *late, 0.0).has_stopped


def test_judgements_that_one_side_lacks_are_noticed() -> None:
    judged = Judged()
    for number in range(300):
        back = number % 10 < 3
        is_judged = back or number % 4 == 0
        arm = Arm.HOLDBACK if back else Arm.PROMOTED
        judged.update(after(number, arm=arm, score=1.0 if is_judged else None))
    assert judged.is_lopsided
    assert "a fall may be hidden by that, or made up" in judged.in_words(0)[-1]


def test_judgements_that_both_sides_lack_alike_are_no_matter() -> None:
    judged = Judged()
    for number in range(2_000):
        arm = Arm.HOLDBACK if number % 10 < 3 else Arm.PROMOTED
        score = 1.0 if number % 7 == 0 else None
        judged.update(after(number, arm=arm, score=score))
    assert not judged.is_lopsided


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
