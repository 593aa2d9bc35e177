"""Rows in, and what the learner is told of them out, in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from arbiter.knowledge.retelling import STEP, Retelling, asked
from arbiter.knowledge.scores import CARRIED, CASES, GRADES, Fall, Source
from arbiter.refs import TaskName, VersionId
from arbiter.storage.database import Row

Heard = tuple[object, ...]


class Recorder:
    """A learner that remembers what it was told. shows: marks of scores that show a known fall."""

    def __init__(self, *, keep: float = 1.0, shows: frozenset[str] = frozenset()) -> None:
        self.keep = keep
        self.shows = shows
        self.heard: list[Heard] = []

    def put(self, task: TaskName, version: VersionId, source: Source, *, count: float, n: float,
            good: float) -> None:  # fmt: skip
        self.heard.append(("put", task, version, source, count, n, good))

    def recall(self, task: TaskName, version: VersionId, score: float, *, source: Source,
               mark: str, fell: Fall | None = None) -> bool:  # fmt: skip
        self.heard.append(("score", task, version, score, source, mark, fell))
        return fell is not None and mark in self.shows

    def recall_shift(self, task: TaskName, version: VersionId, *, count: float, total: float,
                     source: Source) -> None:  # fmt: skip
        self.heard.append(("shift", task, version, count, total, source))

    def recall_fall(self, fall: Fall) -> None:
        self.heard.append(("fall", fall))

    def settling(self) -> Iterator[None]:
        self.heard.append(("settled",))
        yield


def graded(at: str, score: float, *, task: str = "sums", version: str = "ant") -> Row:
    return (at, version, task, "", "grades", score, None, None, None)


def said(
    at: str, score: float, *, source: str = "person", caller: str = "ann",
    before: float | None = None, by: str | None = None,
) -> Row:  # fmt: skip
    return (at, "ant", "sums", caller, source, score, before, by, None)


def fallen(since: str, at: str, *, task: str | None = "sums", origin: str | None = None) -> Row:
    return ("ant", task, since, origin, at)


def retold(
    *, grades: Sequence[Row] = (), feedback: Sequence[Row] = (), cases: Sequence[Row] = (),
    carried: Sequence[Row] = (), falls: Sequence[Row] = (), scores: Sequence[Row] = (),
    floor: str = "", learner: Recorder | None = None,
) -> list[Heard]:  # fmt: skip
    learner = learner or Recorder()
    rows = [grades, feedback, cases, carried, falls, scores]
    for _ in Retelling(rows, learner, grading=lambda _: "now", floor=floor).tell():
        pass
    assert learner.heard[-1] == ("settled",)
    return learner.heard[:-1]


SUMS, ANT = "sums", "ant"
FELL = Fall(version=VersionId(ANT), task=TaskName(SUMS), since="b")


def test_what_is_asked_for_is_told_the_fading_and_the_moment() -> None:
    found = {one.query: one.parameters for one in asked(0.5, "noon")}
    assert found["faded_grades"] == found["faded_feedback"] == (0.5, 0.5, "noon", "noon")
    assert found["standing_cases"] == ("noon", "noon")
    assert found["scores_since"] == ("noon",) * 4
    assert found["list_falls"] == found["standing_carried"] == ()


def test_sums_are_put_by_their_source() -> None:
    heard = retold(
        grades=[(ANT, SUMS, 9, 4.5, 4.0)],
        feedback=[(ANT, SUMS, "ann", "judge", 3, 2.0, 1.0), (ANT, SUMS, "bob", "odd", 1, 1.0, 1.0)],
        cases=[(ANT, SUMS, "now", 8, 6.0, 5.0), (ANT, SUMS, "before", 8, 8.0, 0.0)],
    )
    assert heard == [
        ("put", SUMS, ANT, GRADES, 9.0, 4.5, 4.0),
        ("put", SUMS, ANT, ("ann", "judge"), 3.0, 2.0, 1.0),
        ("put", SUMS, ANT, ("bob", "other"), 1.0, 1.0, 1.0),
        ("put", SUMS, ANT, CASES, 8.0, 6.0, 5.0),
    ]


def test_sums_of_nothing_are_not_put() -> None:
    assert retold(grades=[(ANT, SUMS, 0, None, None)]) == []


def test_scores_are_told_as_they_came() -> None:
    heard = retold(scores=[graded("a", 1.0), said("b", 0.5), graded("c", 0.0, task="tales")])
    assert heard == [
        ("score", SUMS, ANT, 1.0, GRADES, "a", None),
        ("score", SUMS, ANT, 0.5, ("ann", "person"), "b", None),
        ("score", "tales", ANT, 0.0, GRADES, "c", None),
    ]


def test_cases_are_told_as_they_are_graded_now() -> None:
    rows = [("a", ANT, SUMS, "", "cases", 0.5, None, None, how) for how in ("now", "before")]
    assert retold(scores=rows) == [("shift", SUMS, ANT, 1.0, 0.5, CASES)]


def test_a_changed_judgement_is_the_difference_to_what_it_was() -> None:
    heard = retold(scores=[said("a", 1.0), said("b", 0.25, before=1.0, by="ann")])
    assert heard[1] == ("shift", SUMS, ANT, 0.0, -0.75, ("ann", "person"))


def test_a_judgement_that_somebody_else_changed_is_taken_back_and_is_another_one() -> None:
    heard = retold(scores=[said("b", 0.25, before=1.0, by="bob")])
    assert heard == [
        ("shift", SUMS, ANT, -1.0, -1.0, ("bob", "person")),
        ("score", SUMS, ANT, 0.25, ("ann", "person"), "b", None),
    ]


def test_a_fall_is_handed_to_the_score_that_showed_it_and_told_once() -> None:
    learner = Recorder(shows=frozenset("c"))
    scores = [graded(at, 0.0) for at in "abcd"]
    heard = retold(scores=scores, falls=[fallen("b", "c")], learner=learner)
    assert [one[-1] for one in heard] == [None, None, FELL, None]


def test_a_fall_that_its_score_does_not_show_is_told_before_the_next_one() -> None:
    heard = retold(scores=[graded(at, 0.0) for at in "bcd"], falls=[fallen("b", "c")])
    assert [one[0] for one in heard] == ["score", "score", "fall", "score"]
    assert heard[2] == ("fall", FELL)


def test_a_fall_after_the_last_score_is_told() -> None:
    assert retold(falls=[fallen("b", "c")]) == [("fall", FELL)]


def test_falls_are_told_by_when_they_were_noticed() -> None:
    rows = [fallen("b", "d"), fallen("a", "c", task=None)]
    heard = retold(falls=rows, scores=[graded("e", 1.0)])
    assert [one[-1] for one in heard] == [
        Fall(version=VersionId(ANT), task=None, since="a"),
        FELL,
        None,
    ]


@pytest.mark.parametrize(
    ("row", "may"),
    [
        (graded("c", 0.0), True),
        (graded("c", 0.0, version="bee"), False),
        (graded("c", 0.0, task="tales"), False),
        (graded("d", 0.0), False),
    ],
)
def test_only_a_score_of_the_cell_and_the_moment_may_show_a_fall(row: Row, may: bool) -> None:
    heard = retold(scores=[row], falls=[fallen("b", "c")])
    scores = [one for one in heard if one[0] == "score"]
    assert scores[0][-1] == (FELL if may else None)


def test_a_fall_in_general_may_be_shown_at_any_task() -> None:
    whole = Fall(version=VersionId(ANT), task=None, since="b")
    heard = retold(scores=[graded("c", 0.0, task="tales")], falls=[fallen("b", "c", task=None)])
    assert heard[0][-1] == whole


def test_falls_from_before_the_scores_that_are_told_are_in_the_sums() -> None:
    assert retold(falls=[fallen("b", "c")], floor="d") == []
    assert retold(falls=[fallen("b", "d")], floor="d") == [("fall", FELL)]


def test_what_fell_at_other_houses_is_no_fall_here() -> None:
    row = fallen("b", "c", origin="hou_1")
    told = Retelling([[], [], [], [], [row], []], Recorder(), grading=lambda _: None, floor="")
    assert told.falls == ()
    assert retold(falls=[row]) == []


def test_sums_of_another_house_are_put_when_the_last_of_them_came() -> None:
    row = ("b", ANT, SUMS, 4, 3.0)
    heard = retold(carried=[row], scores=[graded(at, 1.0) for at in "ac"])
    assert [one[0] for one in heard] == ["score", "put", "score"]
    assert heard[1] == ("put", SUMS, ANT, CARRIED, 4.0, 4.0, 3.0)
    assert retold(carried=[row]) == [heard[1]]


def test_sums_of_another_house_count_as_many_as_would_be_left_of_them() -> None:
    heard = retold(carried=[("", ANT, SUMS, 3, 1.5)], learner=Recorder(keep=0.5))
    assert heard == [("put", SUMS, ANT, CARRIED, 3.0, 1.75, 0.875)]


def test_sums_of_another_house_come_before_a_fall_that_was_noticed_later_and_after_one_before() -> (
    None
):
    rows = [("a", ANT, SUMS, 4, 3.0), ("d", ANT, SUMS, 5, 3.0)]
    heard = retold(carried=rows, falls=[fallen("b", "c")])
    assert [one[0] for one in heard] == ["put", "fall", "put"]


@pytest.mark.parametrize(
    ("until", "task", "is_put"),
    [("b", SUMS, False), ("d", SUMS, True), ("b", None, False), ("b", "tales", True)],
)
def test_sums_from_before_a_fall_that_is_long_over_are_left_out(
    until: str, task: str | None, is_put: bool
) -> None:
    heard = retold(
        carried=[(until, ANT, SUMS, 4, 3.0)], falls=[fallen("a", "c", task=task)], floor="e"
    )
    assert bool(heard) is is_put


def test_it_is_told_in_steps() -> None:
    scores = [graded("a", 1.0)] * (3 * STEP)
    sums = [(ANT, SUMS, 1, 1.0, 1.0)] * (2 * STEP)
    telling = Retelling([sums, [], [], [], [], scores], Recorder(), grading=str, floor="").tell()
    assert len(list(telling)) == 2 + 3 + 1
