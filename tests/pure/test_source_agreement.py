"""How far sources of feedback are believed, and how little one caller can move: counts in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbiter.knowledge.agreement import (
    FREE,
    PRIORS,
    SHARE,
    Said,
    Table,
    allowance,
    believed,
    class_of,
    compared,
    excess,
    shares,
)
from arbiter.knowledge.judgements import Judgements, Weighed
from arbiter.refs import TaskName, VersionId

CELL = (VersionId("sha256:" + "a" * 64), TaskName("sums"))
NOBODY: frozenset[str] = frozenset()

COUNTS = st.integers(0, 500)
TABLES = st.builds(
    Table, both_good=COUNTS, only_source=COUNTS, only_reference=COUNTS, both_bad=COUNTS
)


# -- agreement beyond chance

KNOWN = [
    # Cohen's own form of the example in Fleiss, Levin and Paik: 20 + 15 agree of 50.
    (Table(both_good=20, only_source=5, only_reference=10, both_bad=15), 0.4),
    (Table(both_good=45, only_source=15, only_reference=25, both_bad=15), 0.1304),
    (Table(both_good=25, only_source=35, only_reference=5, both_bad=35), 0.2593),
    (Table(both_good=50, both_bad=50), 1.0),
    (Table(only_source=50, only_reference=50), -1.0),
    (Table(both_good=25, only_source=25, only_reference=25, both_bad=25), 0.0),
]


@pytest.mark.parametrize(("table", "expected"), KNOWN)
def test_agreement_beyond_chance_is_cohens(table: Table, expected: float) -> None:
    beyond, possible = excess(table)
    assert beyond / possible == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize("source", sorted(PRIORS))
def test_a_source_that_nobody_compared_weighs_as_its_prior_says(source: str) -> None:
    assert believed(source, Table()) == PRIORS[source]


def test_implicit_feedback_starts_far_below_a_person() -> None:
    assert PRIORS["implicit"] <= 0.1 * PRIORS["person"]


def test_a_few_pairs_move_a_weight_a_little_and_many_move_it_all_the_way() -> None:
    found = [
        round(believed("judge", Table(both_good=n / 2, both_bad=n / 2)), 2) for n in (2, 20, 2000)
    ]
    assert found == [0.55, 0.75, 1.0]


def test_a_source_that_always_says_good_is_worth_next_to_nothing() -> None:
    # "Great" after every answer agrees with a good model most of the time, by chance.
    assert believed("implicit", Table(both_good=900, only_source=100)) < 0.02


def test_pairs_of_which_all_are_good_tell_nothing() -> None:
    assert believed("implicit", Table(both_good=1000)) == PRIORS["implicit"]


def test_a_source_that_contradicts_the_reference_weighs_nothing() -> None:
    assert believed("judge", Table(only_source=50, only_reference=50)) == 0.0


@given(source=st.sampled_from(sorted(PRIORS)), table=TABLES)
def test_a_weight_is_never_below_0_or_above_1(source: str, table: Table) -> None:
    assert 0.0 <= believed(source, table) <= 1.0


@given(table=TABLES)
def test_what_a_reference_says_counts_in_full_whatever_others_say(table: Table) -> None:
    assert (believed("person", table), believed("grader", table)) == (1.0, 1.0)


@given(table=TABLES, more=st.integers(1, 50))
def test_more_agreement_never_lowers_a_weight(table: Table, more: int) -> None:
    both = table.plus(Table(both_good=more / 2, both_bad=more / 2))
    assert believed("judge", both) >= believed("judge", table) - 1e-9


# -- which judgements are compared


def said(source: str, score: float, *, kind: str = "quality", caller: str = "ada") -> Said:
    return Said(source=source, kind=kind, score=score, caller=caller)


def sources(*all_said: Said, grade: float | None = None) -> dict[str, Table]:
    return {one.source: one.table for one in compared(all_said, grade)}


def test_a_rules_grade_is_compared_with_everybody() -> None:
    assert sources(said("person", 0.9), said("judge", 0.1), grade=1.0) == {
        "person": Table(both_good=1),
        "judge": Table(only_reference=1),
    }


def test_without_a_rule_others_are_compared_with_the_grader_and_then_the_person() -> None:
    assert sources(said("person", 0.0), said("judge", 1.0)) == {"judge": Table(only_source=1)}
    assert sources(said("person", 0.0), said("judge", 1.0), said("grader", 1.0)) == {
        "person": Table(only_reference=1),
        "judge": Table(both_good=1),
    }


def test_without_a_reference_nothing_is_compared() -> None:
    assert sources(said("judge", 1.0), said("implicit", 1.0)) == {}


def test_a_judgement_of_something_else_than_quality_is_not_compared() -> None:
    assert sources(said("judge", 1.0, kind="tone"), grade=1.0) == {}


def test_sources_that_nobody_knows_are_believed_alike() -> None:
    assert (class_of("thumbs"), class_of("stars"), class_of("judge")) == ("other", "other", "judge")


# -- what one caller may say


@given(others=st.floats(0, 1e6), amount=st.floats(0.01, 1e6))
def test_nobody_adds_more_than_its_allowance(others: float, amount: float) -> None:
    parts = shares({"a": amount}, house=others, owners=NOBODY)
    assert parts["a"] * amount <= allowance(others) + 1e-6


@given(others=st.floats(FREE, 1e6))
def test_where_others_say_something_one_caller_adds_a_tenth_of_it(others: float) -> None:
    assert allowance(others) == SHARE * others


def test_who_says_little_is_counted_in_full() -> None:
    assert shares({"a": 3}, house=30, owners=NOBODY) == {"a": 1.0}


def test_whoever_runs_the_house_is_counted_in_full() -> None:
    assert shares({"local": 500, "a": 500}, house=0, owners=frozenset({"local"}))["local"] == 1.0


@given(
    house=st.integers(8, 500),
    good=st.floats(0, 1),
    hostile=st.integers(1, 100_000),
    score=st.sampled_from([0.0, 1.0]),
)
def test_however_much_one_key_says_it_moves_a_mean_by_less_than_a_tenth(
    house: int, good: float, hostile: int, score: float
) -> None:
    judgements = Judgements()
    judgements.add(*CELL, caller="key-1", source="person", count=hostile, total=hostile * score)
    added = judgements.weigh(*CELL, house=house)
    mean = (house * good + added.quality) / (house + added.graded)
    assert abs(mean - good) < 0.1


def test_names_of_sources_give_a_caller_no_more_room() -> None:
    judgements = Judgements()
    for source in ("person", "grader", "judge", *(f"bot {n}" for n in range(500))):
        judgements.add(*CELL, caller="key-1", source=source, count=100, total=0.0)
    assert judgements.weigh(*CELL, house=40).graded == pytest.approx(4.0)


def test_a_source_that_turns_out_worse_weighs_less_in_all_it_ever_said() -> None:
    judgements = Judgements()
    judgements.add(*CELL, caller="local", source="judge", count=10, total=10.0)
    before = judgements.weigh(*CELL, house=0).graded
    wrong = compared([said("judge", 1.0, caller="local")], 0.0)
    for _ in range(50):
        judgements.compare(wrong)
    assert before == 5.0
    assert judgements.weigh(*CELL, house=0).graded < 1.0


def test_a_caller_spoils_its_own_judge_and_nobody_elses() -> None:
    judgements = Judgements()
    for caller in ("key-1", "key-2"):
        judgements.add(*CELL, caller=caller, source="judge", count=1, total=1.0)
    for _ in range(500):
        judgements.compare(compared([said("judge", 1.0, caller="key-1")], 0.0))
        judgements.compare(compared([said("judge", 0.0, caller="key-1")], 1.0))
    weights = {one.caller: one.weight for one in judgements.trust()}
    assert weights == {"key-1": 0.0, "key-2": 0.5}


@given(data=st.data())
def test_what_is_taken_away_again_leaves_nothing(data: st.DataObject) -> None:
    judgements = Judgements()
    given_ = data.draw(
        st.lists(
            st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(sorted(PRIORS)), st.booleans()),
            max_size=20,
        )
    )
    for times in (1, -1):
        for caller, source, good in given_:
            judgements.add(*CELL, caller=caller, source=source, count=times, total=times * good)
    assert judgements.weigh(*CELL, house=3) == Weighed()
    assert not judgements.touches(*CELL)
