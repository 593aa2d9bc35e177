"""A file of knowledge: what is written is read, and what is not whole or not ours is refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from arbiter.errors import KnowledgeFileError
from arbiter.inference import Message
from arbiter.knowledge.file import (
    Contents,
    FallLine,
    FeedbackLine,
    LineageLine,
    OutcomesLine,
    ValidationLine,
    read,
    write,
)
from arbiter.knowledge.merge import Here, Merge, merge
from arbiter.knowledge.rules import Rule
from arbiter.knowledge.tasks import Case, Grading, Task
from arbiter.refs import ModelName, TaskName, canonical

HOME = "hou_" + "0" * 26
AWAY = "hou_" + "1" * 26
A, B = ("sha256:" + letter * 64 for letter in "ab")
DECISIONS = ["dec_" + str(n) * 26 for n in range(4)]

SUMS = Task(
    name=TaskName("sums"),
    grading=Grading(kind="exact", options={"ignore_case": True}),
    cases=tuple(
        Case(messages=(Message(role="user", content=f"{n} + 1\nis ü?"),), expected=str(n + 1))
        for n in range(10)
    ),
)
RULE = Rule(task=SUMS.name, prefer=ModelName("fast"), why="it is quick")
CASE = ValidationLine(
    origin=AWAY, version=A, task="sums", grading="g", case="c", score=0.5, success=True,
    latency_ms=12.5, at="t",
)  # fmt: skip
SUM = OutcomesLine(
    origin=AWAY, version=A, task="sums", samples=4, graded=3, quality=2.5, successes=4, timed=4,
    latency_ms=40.0, latest=DECISIONS[1],
)  # fmt: skip
SAID = FeedbackLine(
    origin=AWAY, decision=DECISIONS[1], source="person", kind="quality", task="sums", version=A,
    score=1.0, grade=None, caller="owner", at="2026-01-01",
)  # fmt: skip
FELL = FallLine(origin=AWAY, version=A, task="sums", since="2026-01-01T10", at="2026-01-01T11")
WHOLE = Contents(
    house=AWAY,
    at="2026-01-01T00:00:00+00:00",
    tasks=(SUMS,),
    rules=(RULE,),
    lineage=(LineageLine(version=B, predecessor=A),),
    validations=(CASE,),
    outcomes=(SUM,),
    feedback=(SAID,),
    falls=(FELL,),
)


T = TypeVar("T", ValidationLine, OutcomesLine, FeedbackLine, FallLine)


def changed(line: T, **changes: object) -> T:
    return msgspec.structs.replace(line, **changes)


# -- the file


def test_what_is_written_is_read() -> None:
    found = read(write(WHOLE))
    assert replace(found, digest="") == WHOLE


def test_the_same_contents_are_the_same_bytes() -> None:
    two = replace(WHOLE, validations=(CASE, changed(CASE, case="d")))
    turned = replace(two, validations=two.validations[::-1])
    assert write(two) == write(turned)


def test_a_house_that_knows_nothing_writes_a_file_that_says_so() -> None:
    nothing = Contents(house=AWAY, at="t")
    assert replace(read(write(nothing)), digest="") == nothing


def test_every_line_is_canonical_json() -> None:
    for line in write(WHOLE).splitlines():
        assert canonical(json.loads(line)) == line


def test_the_digest_of_what_was_decided_knows_no_fall_and_that_of_evidence_does() -> None:
    without = replace(WHOLE, falls=())
    assert without.knowledge == WHOLE.knowledge
    assert without.evidence != WHOLE.evidence


def signed(*lines: bytes, **changes: object) -> bytes:
    """A file of these lines with the right digest, as somebody could make one by hand."""
    body = b"".join(line + b"\n" for line in lines)
    end = {
        **json.loads(write(WHOLE).splitlines()[-1]),
        "digest": "sha256:" + hashlib.sha256(b"arbiter.knowledge-file.v1\0" + body).hexdigest(),
        "lines": len(lines),
        **changes,
    }
    return body + canonical(end) + b"\n"


LINES = write(WHOLE).splitlines()[:-1]


def edited(number: int, **changes: object) -> bytes:
    line = {**json.loads(LINES[number]), **changes}
    return signed(*LINES[:number], canonical(line), *LINES[number + 1 :])


def test_a_file_signed_by_hand_is_one_that_is_read() -> None:
    assert read(signed(*LINES)).tasks == (SUMS,)


def test_a_file_of_the_first_format_is_read_as_what_it_says() -> None:
    first = replace(WHOLE, falls=())
    *lines, end = write(first).splitlines()
    lines[0] = lines[0].replace(b'"arbiter_knowledge":2', b'"arbiter_knowledge":1')
    found = read(signed(*lines, evidence=json.loads(end)["evidence"]))
    assert replace(found, digest="") == first
    assert found.outcomes[0].left == (3, 2.5)


BAD: list[tuple[bytes, str]] = [
    (b"", "is no file of knowledge"),
    (b"\n", "is no file of knowledge"),
    (b"GGUF\x03\0\0\0", "is no file of knowledge"),
    (b'{"prompt": "2+2", "expected": "4"}\n', "is no file of knowledge"),
    (b"[" * 100_000, "is no file of knowledge"),
    (write(WHOLE).replace(b'"arbiter_knowledge":2', b'"arbiter_knowledge":3'), "newer Arbiter"),
    (edited(0, house="dec_1"), "is no file of knowledge"),
    (edited(0, more=1), "is no file of knowledge"),
    (LINES[0] + b"\n", "is cut"),
    (write(WHOLE).rstrip(b"\n"), "is cut"),
    (b"\n".join(LINES) + b"\n", "is cut"),
    (write(WHOLE).replace(b'"score":0.5', b'"score":0.6'), "was changed"),
    (write(WHOLE).replace(LINES[2] + b"\n", b""), "was changed"),
    (signed(*LINES[:-1]), "are not those of its lines"),
    (signed(*LINES, LINES[-1]), "says again"),
    (edited(1, task="two words"), "Line 2"),
    (edited(1, cases=[{"prompt": ""}]), "Task sums of the file: Line 1"),
    (edited(1, cases=[]), "are not those of its lines"),
    (edited(1, spec={"threshold": 7}), "Task sums of the file: threshold"),
    (edited(2, prefer="../fast"), "Line 3"),
    (edited(3, version="sha256:short"), "Line 4"),
    (edited(4, score=1.5), "Line 5"),
    (edited(4, success="yes"), "Line 5"),
    (edited(4, latency_ms=-1), "Line 5"),
    (edited(4, origin="elsewhere"), "Line 5"),
    (edited(4, more=1), "Line 5"),
    (edited(4, **{"is": "opinion"}), "Line 5"),
    (edited(5, graded=9), "Line 6"),
    (edited(5, quality=3.5), "Line 6"),
    (edited(5, timed=5), "Line 6"),
    (edited(5, samples=-1), "Line 6"),
    (edited(5, latest="dec"), "Line 6"),
    (edited(6, caller="owner/owner"), "Line 7"),
    (edited(6, source=""), "Line 7"),
    (edited(6, decision="dec_1"), "Line 7"),
    (edited(6, grade=2), "Line 7"),
    (edited(5, graded_left=2), "Line 6"),
    (edited(5, graded_left=4, quality_left=2), "Line 6"),
    (edited(5, graded_left=2, quality_left=2.25), "Line 6"),
    (edited(7, version="sha256:short"), "Line 8"),
    (edited(7, task="two words"), "Line 8"),
    (edited(7, origin="elsewhere"), "Line 8"),
    (edited(7, since=""), "Line 8"),
    (edited(7, more=1), "Line 8"),
]


@pytest.mark.parametrize(("data", "message"), BAD)
def test_a_file_that_is_not_whole_or_not_ours_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(KnowledgeFileError, match=message):
        read(data)


@pytest.mark.parametrize("length", range(0, len(write(WHOLE)), 97))
def test_a_file_that_is_cut_anywhere_is_refused(length: int) -> None:
    with pytest.raises(KnowledgeFileError):
        read(write(WHOLE)[:length])


@settings(max_examples=200)
@given(data=st.data())
def test_a_file_with_any_byte_changed_is_refused(data: st.DataObject) -> None:
    whole = bytearray(write(WHOLE))
    place = data.draw(st.integers(0, len(whole) - 1))
    value = data.draw(st.integers(0, 255).filter(lambda one: one != whole[place]))
    whole[place] = value
    with pytest.raises(KnowledgeFileError):
        read(bytes(whole))


@given(st.binary(max_size=200))
def test_whatever_is_read_ends_in_an_error_with_a_sentence(data: bytes) -> None:
    with pytest.raises(KnowledgeFileError):
        read(data)


# -- digests


def test_the_digest_of_what_was_decided_knows_no_evidence() -> None:
    bare = replace(WHOLE, lineage=(), validations=(), outcomes=(), feedback=())
    assert bare.knowledge == WHOLE.knowledge
    assert bare.evidence != WHOLE.evidence


def test_the_digest_of_evidence_knows_no_decisions_and_no_order() -> None:
    other = replace(WHOLE, tasks=(), rules=(), house=HOME, at="later", validations=(CASE,))
    assert other.evidence == WHOLE.evidence


# -- what is new

EMPTY = Here(
    house=HOME, tasks={}, rules={}, lineage=frozenset(), validations=frozenset(), outcomes={},
    feedback={}, counted={}, own={},
)  # fmt: skip
FULL = replace(
    EMPTY,
    tasks={SUMS.name: SUMS},
    rules={SUMS.name: RULE},
    lineage=frozenset({B}),
    validations=frozenset({CASE.identity}),
    outcomes={SUM.identity: SUM},
    feedback={SAID.identity: SAID},
    falls=frozenset({FELL.identity}),
)


def test_all_of_a_file_is_new_to_a_house_that_knows_nothing() -> None:
    assert merge(WHOLE, EMPTY) == Merge(
        tasks=(SUMS,),
        rules=(RULE,),
        lineage=WHOLE.lineage,
        validations=(CASE,),
        outcomes=(SUM,),
        feedback=(SAID,),
        falls=(FELL,),
    )


def test_nothing_of_a_file_is_new_the_second_time() -> None:
    assert merge(WHOLE, FULL) == Merge(known=4)
    assert merge(WHOLE, FULL).is_empty


def home() -> Contents:
    """A file that holds what this house measured itself."""
    return replace(
        WHOLE,
        validations=(changed(CASE, origin=HOME),),
        outcomes=(changed(SUM, origin=HOME),),
        feedback=(changed(SAID, origin=HOME),),
        falls=(changed(FELL, origin=HOME),),
    )


OWN = replace(
    FULL,
    outcomes={},
    feedback={},
    counted={(A, "sums"): DECISIONS[0]},
    own={(SAID.decision, "person", "quality"): True},
    falls=frozenset({changed(FELL, origin=HOME).identity}),
)


def test_what_came_from_here_changes_nothing() -> None:
    assert merge(home(), OWN) == Merge(known=4)


def test_what_was_forgotten_here_can_be_had_back() -> None:
    forgotten = replace(
        OWN, validations=frozenset(), counted={}, own={(SAID.decision, "person", "quality"): False},
        falls=frozenset(),
    )  # fmt: skip
    found = merge(home(), forgotten)
    assert (found.validations, found.outcomes) == (home().validations, home().outcomes)
    assert (found.feedback, found.restored) == ((), home().feedback)
    assert found.falls == home().falls


def test_what_was_forgotten_comes_back_beside_what_came_since() -> None:
    since = replace(OWN, counted={(A, "sums"): DECISIONS[2]})
    assert merge(home(), since).outcomes == home().outcomes


def test_sums_of_this_house_that_overlap_with_what_counts_are_not_taken() -> None:
    since = replace(OWN, counted={(A, "sums"): DECISIONS[1]})
    assert merge(home(), since).outcomes == ()


def test_later_sums_of_a_house_take_the_place_of_earlier_ones() -> None:
    later = changed(SUM, samples=9, latest=DECISIONS[2])
    earlier = changed(SUM, samples=1, latest=DECISIONS[0])
    assert merge(replace(WHOLE, outcomes=(later,)), FULL).outcomes == (later,)
    assert merge(replace(WHOLE, outcomes=(earlier,)), FULL).outcomes == ()


def test_sums_of_the_same_requests_of_which_less_is_left_take_the_place_of_those_here() -> None:
    less = changed(SUM, graded_left=1, quality_left=0.5)
    assert merge(replace(WHOLE, outcomes=(less,)), FULL).outcomes == (less,)
    known = replace(FULL, outcomes={SUM.identity: less})
    assert merge(replace(WHOLE, outcomes=(less,)), known).outcomes == ()
    assert merge(WHOLE, known).outcomes == ()


def test_a_judgement_that_was_changed_since_takes_the_place_of_the_first() -> None:
    later = changed(SAID, score=0.0, at="2026-01-02")
    earlier = changed(SAID, score=0.0, at="2025-01-02")
    assert merge(replace(WHOLE, feedback=(later,)), FULL).feedback == (later,)
    assert merge(replace(WHOLE, feedback=(earlier,)), FULL).feedback == ()


STRICTER = replace(SUMS, limits=structs.replace(SUMS.limits, threshold=0.9))
REGRADED = replace(SUMS, grading=Grading(kind="contains"))
OTHER_RULE = replace(RULE, prefer=ModelName("quality"))


def test_what_people_decided_here_stays_and_the_difference_is_told() -> None:
    here = replace(EMPTY, tasks={SUMS.name: STRICTER}, rules={SUMS.name: OTHER_RULE})
    found = merge(WHOLE, here)
    assert found.conflicts == (
        "task sums is another task here",
        "the rule for task sums is another rule here",
    )
    assert (found.tasks, found.rules) == ((), ())
    assert (found.outcomes, found.feedback) == ((SUM,), (SAID,))


def test_theirs_is_taken_when_it_is_preferred() -> None:
    here = replace(EMPTY, tasks={SUMS.name: REGRADED}, rules={SUMS.name: OTHER_RULE})
    found = merge(WHOLE, here, prefer_theirs=True)
    assert (found.tasks, found.rules, found.apart) == ((SUMS,), (RULE,), 0)
    assert len(found.conflicts) == 2


def test_scores_by_another_grader_are_left_out_and_counted() -> None:
    found = merge(WHOLE, replace(EMPTY, tasks={SUMS.name: REGRADED}))
    assert (found.outcomes, found.feedback, found.falls, found.apart) == ((), (), (), 3)
    assert found.validations == (CASE,), "a case is known by its grading"


CHANGE: list[Callable[[Contents], Contents]] = [
    lambda c: replace(c, validations=(changed(CASE, case="d"),)),
    lambda c: replace(c, outcomes=(changed(SUM, task="tales"),)),
    lambda c: replace(c, feedback=(changed(SAID, source="judge"),)),
    lambda c: replace(c, feedback=(changed(SAID, origin="hou_" + "2" * 26),)),
    lambda c: replace(c, falls=(changed(FELL, task=None),)),
    lambda c: replace(c, falls=(changed(FELL, since="2026-01-03"),)),
]


@pytest.mark.parametrize("change", CHANGE)
def test_one_new_piece_is_taken_and_the_others_are_known(
    change: Callable[[Contents], Contents],
) -> None:
    found = merge(change(WHOLE), FULL)
    assert not found.is_empty
    assert found.known == 3


# -- tasks with parents

MATHS = Task(name=TaskName("maths"), grading=SUMS.grading)
FINE = replace(SUMS, parent=MATHS.name, grading=None)
FAMILY = replace(WHOLE, tasks=(MATHS, FINE), rules=())


def test_a_file_holds_whose_finer_kind_a_task_is() -> None:
    assert read(write(FAMILY)).tasks == (MATHS, FINE)


def test_a_file_whose_parents_are_not_in_it_is_refused() -> None:
    with pytest.raises(KnowledgeFileError, match="The parent of task sums is not there: maths"):
        read(write(replace(FAMILY, tasks=(FINE,))))


def test_a_file_whose_tasks_are_above_each_other_is_refused() -> None:
    ring = (replace(MATHS, parent=SUMS.name), FINE)
    with pytest.raises(KnowledgeFileError, match="The tasks of the file: These tasks would be"):
        read(write(replace(FAMILY, tasks=ring)))


def test_scores_are_left_out_when_the_grader_above_is_another_one_here() -> None:
    # the task is the same here and there; what its parent grades by is not
    other = replace(MATHS, grading=Grading(kind="contains"))
    found = merge(FAMILY, replace(EMPTY, tasks={MATHS.name: other, FINE.name: FINE}))
    assert (found.outcomes, found.feedback, found.falls, found.apart) == ((), (), (), 3)


def test_scores_of_a_new_task_are_left_out_when_the_grader_above_it_stays_another_one() -> None:
    other = replace(MATHS, grading=Grading(kind="contains"))
    here = replace(EMPTY, tasks={MATHS.name: other})
    assert merge(FAMILY, here).apart == 3
    assert merge(FAMILY, here, prefer_theirs=True).apart == 0


def test_scores_stay_when_the_same_grader_has_moved_to_the_parent() -> None:
    assert merge(FAMILY, replace(EMPTY, tasks={SUMS.name: SUMS})).apart == 0


# -- rules that do more than prefer

RULES = (
    Rule(task=TaskName("a"), only=ModelName("fast")),
    Rule(task=TaskName("b"), never=(ModelName("big"), ModelName("slow")), why="too sloppy"),
    Rule(task=TaskName("c"), prefer=ModelName("fast"), never=(ModelName("big"),)),
)


def test_rules_of_every_kind_come_back_from_a_file_as_they_were() -> None:
    assert read(write(replace(WHOLE, rules=(*RULES, RULE)))).rules == (*RULES, RULE)


def test_what_a_rule_does_not_say_is_not_in_its_line() -> None:
    line = next(one for one in write(WHOLE).splitlines() if b'"is":"rule"' in one)
    assert json.loads(line) == {
        "is": "rule", "task": "sums", "prefer": "fast", "why": "it is quick"
    }  # fmt: skip


BAD_RULES: list[tuple[dict[str, object], str]] = [
    ({"prefer": None}, "names nobody"),
    ({"only": "fast"}, "not both"),
    ({"never": ["fast"]}, "take fast and never take it"),
    ({"never": ["two words"]}, "is not a name"),
]


@pytest.mark.parametrize(("changes", "why"), BAD_RULES)
def test_a_rule_that_cannot_be_is_refused(changes: dict[str, object], why: str) -> None:
    with pytest.raises(KnowledgeFileError, match=f"Line 3 of the file cannot be read: .*{why}"):
        read(edited(2, **changes))
