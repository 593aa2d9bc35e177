"""What callers said of versions: how it is told, whose counts in full, and when minds change."""

from __future__ import annotations

from itertools import pairwise

import pytest

from arbiter.knowledge.agreement import PRIORS, Compared, Table
from arbiter.knowledge.judgements import NOTICEABLE, Judgements, Weighed
from arbiter.refs import TaskName, VersionId

OLD, NEW = VersionId("old"), VersionId("new")
SUMS, POEMS = TaskName("sums"), TaskName("poems")


def said(
    judgements: Judgements,
    *,
    version: VersionId = OLD,
    task: TaskName = SUMS,
    caller: str = "local",
    source: str = "judge",
    count: int = 1,
    total: float = 1.0,
) -> None:
    judgements.add(version, task, caller=caller, source=source, count=count, total=total)


def wrong(caller: str = "local", source: str = "judge", times: int = 1) -> list[Compared]:
    pairs = [Table(only_source=1), Table(only_reference=1)] * times
    return [Compared(source=source, caller=caller, table=table) for table in pairs]


def test_judgements_of_a_cell_add_up_by_caller_and_source() -> None:
    judgements = Judgements()
    said(judgements, count=2, total=1.5)
    said(judgements, count=1, total=0.5)
    said(judgements, source="person", total=0.0)
    said(judgements, version=NEW, total=1.0)
    # a judge counts half, a person in full
    assert judgements.weigh(OLD, SUMS, house=0) == Weighed(graded=0.5 * 3 + 1, quality=0.5 * 2.0)
    assert judgements.weigh(OLD, POEMS, house=0) == Weighed()


def test_where_somebody_said_something_is_known_until_it_is_taken_back() -> None:
    judgements = Judgements()
    said(judgements)
    said(judgements, task=POEMS)
    assert judgements.tasks_of(OLD) == (SUMS, POEMS)
    assert judgements.tasks_of(NEW) == ()
    assert judgements.touches(OLD, SUMS)
    assert not judgements.touches(NEW, SUMS)
    said(judgements, count=-1, total=-1.0)
    assert judgements.tasks_of(OLD) == (POEMS,)


def test_a_source_is_told_with_its_pairs_and_over_all_cells_the_most_believed_first() -> None:
    judgements = Judgements()
    said(judgements, count=3)
    said(judgements, version=NEW, task=POEMS, count=2)
    said(judgements, source="person", caller="key-2")
    said(judgements, source="person", caller="key-1")
    said(judgements, source="implicit", caller="key-1", count=7)
    pairs = [Table(both_good=1), Table(both_bad=1), Table(only_source=1)]
    judgements.compare([Compared(source="judge", caller="local", table=one) for one in pairs])
    found = judgements.trust()
    assert [(one.source, one.caller) for one in found] == [
        ("person", "key-1"),
        ("person", "key-2"),
        ("judge", "local"),
        ("implicit", "key-1"),
    ]
    judge = found[2]
    assert (judge.judgements, judge.pairs, judge.agreed) == (5, 3, 2)
    assert (judge.prior, found[3].prior) == (PRIORS["judge"], PRIORS["implicit"])
    assert (found[3].judgements, found[3].pairs, found[3].agreed) == (7, 0, 0)
    assert found[3].weight == PRIORS["implicit"]


def test_pairs_may_be_told_many_at_once() -> None:
    one, many = Judgements(), Judgements()
    for judgements in (one, many):
        said(judgements)
    assert one.compare(wrong(times=4))
    assert many.compare(wrong(), times=4)
    assert one.trust() == many.trust()
    assert not one.compare([])


def test_minds_change_once_for_each_noticeable_change() -> None:
    judgements = Judgements()
    assert not judgements.drifted()
    judgements.compare(wrong(times=2))
    assert judgements.drifted()
    assert not judgements.drifted()
    judgements.compare(wrong(times=10))
    assert judgements.drifted()


def test_what_nobody_would_notice_adds_up_until_somebody_does() -> None:
    judgements, told = Judgements(), []
    said(judgements)
    weights = [judgements.trust()[0].weight]
    for _ in range(12):
        judgements.compare([Compared(source="judge", caller="local", table=Table(only_source=0.1))])
        told.append(judgements.drifted())
        weights.append(judgements.trust()[0].weight)
    assert all(abs(one - other) < NOTICEABLE for one, other in pairwise(weights))
    assert weights[0] - weights[-1] > 0.0
    last = weights[0]
    for now, is_told in zip(weights[1:], told, strict=True):
        assert is_told == (abs(now - last) >= NOTICEABLE)
        last = now if is_told else last


@pytest.mark.parametrize(
    ("caller", "graded"), [("local", 50.0), ("python", 50.0), ("house/owner", 50.0), ("key", 5.0)]
)
def test_whoever_runs_a_house_counts_in_full_and_a_key_by_its_allowance(
    caller: str, graded: float
) -> None:
    judgements = Judgements()
    said(judgements, caller=caller, source="person", count=50, total=50.0)
    assert judgements.weigh(OLD, SUMS, house=0).graded == pytest.approx(graded)


def test_an_allowance_is_of_a_caller_and_not_of_each_of_its_sources() -> None:
    weights = Judgements().weights({("key", "person"): 30.0, ("key", "judge"): 40.0}, house=0.0)
    # 30 in full and 40 by halves are 50, of which 5 count
    assert weights == pytest.approx({("key", "person"): 0.1, ("key", "judge"): 0.05})
