"""Who is picked how often: probabilities that add up, and conversations that stay."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from arbiter.refs import TaskName, VersionId
from arbiter.selection.bandit import Table
from arbiter.selection.chances import (
    FLOOR,
    GROWS,
    HORIZON,
    KEPT,
    KEPT_HALF,
    MOST,
    Arm,
    chances,
    drawn,
    hopes,
)

arms = st.lists(
    st.builds(
        Arm,
        st.floats(0, 1),
        st.floats(0.001, 0.4),
        st.floats(0, 1000),
    ),
    min_size=1,
    max_size=30,
)


@given(arms)
def test_the_probabilities_sum_to_one_and_reach_the_floor_or_are_nothing(found: list[Arm]) -> None:
    vector = chances(found)
    within = [p for p in vector if p > 0]
    assert sum(vector) == pytest.approx(1.0)
    assert min(within) >= min(1.0, FLOOR / len(within))


@given(arms.filter(lambda found: len(found) <= 12), st.randoms())
def test_the_order_of_the_arms_does_not_matter(found: list[Arm], dice: Random) -> None:
    # which of equals waits where too many are alike is said by their place
    assume(len(found) <= MOST or len(set(hopes(found))) == len(found))
    order = list(range(len(found)))
    dice.shuffle(order)
    vector, turned = chances(found), chances([found[k] for k in order])
    assert turned == pytest.approx([vector[k] for k in order], abs=1e-9)


def test_an_arm_that_is_surely_worse_gets_nothing() -> None:
    assert chances([Arm(0.9, 0.02), Arm(0.4, 0.02)]) == [1.0, 0.0]


def test_a_newcomer_of_whom_much_is_hoped_leaves_most_traffic_with_the_proved_arm() -> None:
    vector = chances([Arm(0.6, 0.03, 0.0, 180.0), Arm(0.5, 0.2, 180.0, 0.0)])
    assert 0.7 < vector[0] < 0.8


def test_what_the_best_arm_keeps_is_kept_however_little_it_is() -> None:
    arms = [Arm(0.6, 0.05, samples=1.0), Arm(0.5, 0.3)]
    assert hopes(arms)[1] > 0.9
    best, other = chances(arms)
    assert best == pytest.approx(FLOOR / 2 + (1 - FLOOR) * KEPT / (1 + KEPT_HALF))
    assert other == pytest.approx(1.0 - best)


def test_where_nothing_is_proved_the_most_hopeful_arm_is_tried() -> None:
    assert chances([Arm(0.5, 0.05), Arm(0.49, 0.25)])[1] > 0.9


def test_what_could_change_nothing_is_not_tried_and_what_could_is_tried_first() -> None:
    best, sure, unsure = Arm(0.6, 0.03), Arm(0.5, 0.01), Arm(0.5, 0.2)
    vector = chances([best, sure, unsure])
    assert vector[1] == 0.0
    assert vector[2] > 0.9
    assert hopes([best, sure])[1] == pytest.approx(0.5, abs=1e-6)


@given(arms)
def test_nobody_is_taken_at_less_than_its_mean_and_nobody_at_more_than_the_horizon_pays(
    found: list[Arm],
) -> None:
    for arm, hope in zip(found, hopes(found), strict=True):
        assert arm.mean <= hope <= arm.mean + 0.4 * arm.horizon * arm.widened


def test_the_longer_an_arm_is_passed_over_the_more_a_try_may_pay_for() -> None:
    new, old = Arm(0.5, 0.1), Arm(0.5, 0.1, neglect=20.0)
    assert new.horizon == HORIZON
    assert old.horizon == HORIZON + GROWS * 20.0
    best = Arm(0.6, 0.03)
    assert hopes([best, old])[1] > hopes([best, new])[1]


@given(arms.filter(lambda found: len(found) > 1), st.floats(0.0, 0.5))
def test_an_arm_that_is_far_behind_changes_nobody_elses_hope(
    found: list[Arm], behind: float
) -> None:
    means = sorted(arm.mean for arm in found)
    another = Arm(means[-2] - behind, 0.01)
    assert hopes([*found, another])[:-1] == hopes(found)


def test_conversations_get_their_arms_in_proportion() -> None:
    told = Counter(drawn(["a", "b", "c"], [0.7, 0.2, 0.1], f"talk {n}") for n in range(10_000))
    assert told[0] == pytest.approx(7000, abs=200)
    assert told[1] == pytest.approx(2000, abs=180)


def test_a_conversation_stays_with_its_arm_when_another_arm_is_added() -> None:
    talks = [f"talk {n}" for n in range(2000)]
    before = [drawn(["a", "b"], [0.6, 0.4], talk) for talk in talks]
    after = [drawn(["a", "b", "new"], [0.54, 0.36, 0.1], talk) for talk in talks]
    assert {new for old, new in zip(before, after, strict=True) if new != old} == {2}


def _tried_again(*, hopeful: bool, seed: int) -> bool:
    """Whether an arm that is best (.75 against .60) but was unlucky at first is found."""
    table, task, dice = Table(watchful=False), TaskName("sums"), Random(seed)
    lucky, unlucky = VersionId("lucky"), VersionId("unlucky")
    for score in (1.0, 0.0, 1.0, 0.0, 0.0):
        for _ in range(2):
            table.update(task, unlucky, score)
        for _ in range(8):
            table.update(task, lucky, 1.0 - score)
    for turn in range(3000):
        beliefs = [table.get(task, lucky), table.get(task, unlucky)]
        if hopeful:
            vector = chances([Arm(b.mean, b.deviation, b.neglect, b.samples) for b in beliefs])
            pick = drawn(["lucky", "unlucky"], vector, f"talk {turn}")
        else:
            pick = int(beliefs[1].mean > beliefs[0].mean)
        table.update(task, (lucky, unlucky)[pick], float(dice.random() < (0.6, 0.75)[pick]))
        if table.get(task, unlucky).samples >= 60:
            return True
    return False


def test_an_arm_that_was_unlucky_at_first_is_tried_again() -> None:
    assert sum(_tried_again(hopeful=True, seed=seed) for seed in range(12)) >= 11


def test_a_greedy_pick_never_tries_the_unlucky_arm_again() -> None:
    assert sum(_tried_again(hopeful=False, seed=seed) for seed in range(12)) <= 3
