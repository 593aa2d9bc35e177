"""Which pairs are open, and how often the two of a pair agreed."""

from __future__ import annotations

from arbiter.inference import Arm
from arbiter.refs import TaskName
from arbiter.swap.basis import PAIRS, Chain
from arbiter.swap.pairing import Pairing
from arbiter.swap.shadow import RIGHT, Agreeing, Pair, PairRow, is_drawn


def row(position: int) -> PairRow:
    return PairRow(position, f"u{position}", "sum", Arm.STABLE.value, 1.0, 1.0, 0.0)


def opened(*positions: int, folded: list[PairRow] | None = None) -> Pairing:
    taken: list[PairRow] = [] if folded is None else folded
    pairing = Pairing(taken.append)
    for position in positions:
        assert pairing.draw(position, f"u{position}", salt="s", share=1.0, may=lambda: True)
    return pairing


def test_a_pair_is_waited_for_by_its_unit_until_it_is_settled() -> None:
    pairing = opened(1, 2)
    assert pairing.is_open(2, "u2")
    assert not pairing.is_open(2, "u1")
    assert not pairing.is_open(3, "u3")
    pairing.settle(2, row(2))
    assert not pairing.is_open(2, "u2")
    assert pairing.open == 2  # it is taken up behind the one before it


def test_the_rows_that_are_taken_up_are_chained_in_the_order_of_assignment() -> None:
    folded: list[PairRow] = []
    pairing = opened(1, 2, 3, folded=folded)
    for position in (3, 1, 2):
        pairing.settle(position, None if position == 2 else row(position))
    chain = Chain(PAIRS)
    for one in (row(1), row(3)):
        chain.update(one)
    assert folded == [row(1), row(3)]
    assert (pairing.rows, pairing.until, pairing.open) == (chain.get(), 4, 0)


def test_each_rollout_draws_for_itself_and_each_unit_for_itself() -> None:
    units = [f"u{number}" for number in range(400)]

    def drawn(salt: str) -> list[bool]:
        return [opened().draw(0, unit, salt=salt, share=0.5, may=lambda: True) for unit in units]

    assert drawn("s") == [is_drawn("s", unit, 0.5) for unit in units]
    assert drawn("s") != drawn("other")
    assert 150 < sum(drawn("s")) < 250


def test_who_was_right_is_counted_by_side() -> None:
    agreeing = Agreeing()
    kinds = {(1.0, RIGHT): 1, (1.0, 0.0): 2, (0.0, 1.0): 3, (0.0, 0.0): 4}
    for (old, new), often in kinds.items():
        for _ in range(often):
            agreeing.update(Pair(task=TaskName("sum"), served=Arm.STABLE, old=old, new=new))
    found = agreeing.get()
    assert (found.both, found.only_stable, found.only_candidate, found.neither) == (1, 2, 3, 4)
