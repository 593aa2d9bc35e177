"""Rows are taken up in the order of assignment, whatever order they end in, and none twice."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from arbiter.refs import DecisionId
from arbiter.swap.basis import UnitRow
from arbiter.swap.in_order import InOrder


def row(position: int, score: float | None = 1.0) -> UnitRow:
    return (position, f"u{position}", "sum", "stable", 0.9, score, "answered", 10.0)


@given(st.permutations(list(range(12))), st.sets(st.integers(0, 11)), st.sets(st.integers(0, 11)))
def test_whatever_order_they_end_in_they_are_folded_in_that_of_assignment(
    ends: list[int], lost: set[int], judged: set[int]
) -> None:
    found: list[UnitRow] = []
    order = InOrder(found.append, within_s=60.0)
    storing = []
    for number in range(12):
        assert order.give() == number
        decision = DecisionId(str(number))
        storing.append(order.storing(row(number), decision, waits=number in judged))
    for position in ends:
        storing[position](position not in lost)
        assert found == sorted(found)
        assert all(one[0] < order.until for one in found)
    for decision in [*order.waits]:
        order.judged(decision, 0.0)
    assert [one[0] for one in found] == [number for number in range(12) if number not in lost]
    assert {one[0] for one in found if one[5] == 0.0} == judged - lost
    assert order.until == 12


def test_after_a_restart_what_has_no_row_holds_nobody_back() -> None:
    found: list[UnitRow] = []
    order = InOrder(found.append, within_s=60.0)
    order.know(row(1), None)
    order.know(row(3, None), DecisionId("dec"))
    order.know(row(4), None)
    order.gave(9)
    order.resume()
    assert ([one[0] for one in found], order.until, len(order.waits)) == ([1], 3, 1)
    order.judged(DecisionId("dec"), None)
    assert ([one[0] for one in found], order.until) == ([1, 3, 4], 9)
    assert order.judged(DecisionId("dec"), 1.0) is None
    assert order.give() == 9
