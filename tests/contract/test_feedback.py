"""Feedback over a real file: it counts once, and by the latest word."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs
from tests.contract.knowledge_room import SUMS, A, B, Room, decision, ended, opened, plain

from arbiter.errors import InvalidField, UnknownDecision
from arbiter.knowledge.outcome import Feedback
from arbiter.knowledge.profiles import NOTHING, Profile
from arbiter.refs import DecisionId
from arbiter.storage.sqlite import SqliteDatabase


async def test_feedback_counts_as_one_grade_of_the_version_that_served(room: Room) -> None:
    of = plain()
    ended(room, of, version=B, grade=None, attempts=())
    assert await room.outcomes.give(Feedback(decision=of.decision, score=0.25))
    assert room.profiles.get(B, SUMS) == Profile(
        samples=1, graded=1, quality=0.25, successes=1, timed=1, latency_ms=123.456
    )
    assert room.profiles.get(A, SUMS) == NOTHING


async def test_the_same_feedback_again_changes_nothing(path: Path) -> None:
    given = Feedback(decision=decision(), score=0.25, comment="meh")
    async with opened(path) as room:
        ended(room, plain())
        assert await room.outcomes.give(given)
        before = room.profiles.get(A, SUMS)
        assert not await room.outcomes.give(given)
        assert room.profiles.get(A, SUMS) == before
    async with opened(path) as room:
        assert not await room.outcomes.give(given)


async def test_a_changed_score_changes_the_sums_by_exactly_one_sample(room: Room) -> None:
    ended(room, plain(), grade=None)
    await room.outcomes.give(Feedback(decision=decision(), score=0.25))
    before = room.profiles.get(A, SUMS)
    assert await room.outcomes.give(Feedback(decision=decision(), score=1.0))
    assert room.profiles.get(A, SUMS) == structs.replace(before, quality=1.0)
    assert (await room.outcomes.find(decision())).feedback == (
        Feedback(decision=decision(), score=1.0),
    )


async def test_a_new_comment_on_the_same_score_is_kept_and_counts_nothing(room: Room) -> None:
    # It was taken for the same feedback and dropped.
    ended(room, plain(), grade=None)
    await room.outcomes.give(Feedback(decision=decision(), score=0.25))
    before = room.profiles.get(A, SUMS)
    assert await room.outcomes.give(Feedback(decision=decision(), score=0.25, comment="why"))
    assert room.profiles.get(A, SUMS) == before
    assert (await room.outcomes.find(decision())).feedback[0].comment == "why"


async def test_feedback_of_another_source_or_kind_is_another(room: Room) -> None:
    ended(room, plain(), grade=None)
    for source, kind in (("person", "quality"), ("grader", "quality"), ("person", "tone")):
        await room.outcomes.give(Feedback(decision=decision(), score=0.5, source=source, kind=kind))
    assert room.profiles.get(A, SUMS).graded == 3


async def test_a_hundred_equal_feedbacks_at_once_count_once_and_are_logged_once(
    path: Path,
) -> None:
    given = Feedback(decision=decision(), score=0.25)
    async with opened(path) as room:
        ended(room, plain(), grade=None)
        answers = await asyncio.gather(*(room.outcomes.give(given) for _ in range(100)))
        assert sum(answers) == 1
        assert (room.profiles.get(A, SUMS).graded, room.profiles.get(A, SUMS).quality) == (1, 0.25)
        assert await logged(room) == [0.25]


async def logged(room: Room) -> list[object]:
    queries = {"read_log": "SELECT score FROM feedback_log ORDER BY seq"}
    other = SqliteDatabase(room.database.path, queries)
    rows = await other.read("read_log")
    await other.close()
    return [score for (score,) in rows]


async def test_every_feedback_that_changed_something_stays_in_the_log(room: Room) -> None:
    ended(room, plain())
    for score in (0.25, 0.25, 1.0, 0.25):
        await room.outcomes.give(Feedback(decision=decision(), score=score))
    assert await logged(room) == [0.25, 1.0, 0.25]


UNKNOWN_IDS = [
    decision(999),
    DecisionId("rol_" + "0" * 26),
    DecisionId("dec_short"),
    DecisionId("dec_' OR 1=1 --"),
    DecisionId("\ud800"),
    DecisionId(""),
]


@pytest.mark.security("S-33")
@pytest.mark.parametrize("unknown_id", UNKNOWN_IDS)
async def test_unknown_and_malformed_ids_give_the_same_answer(
    room: Room, unknown_id: DecisionId
) -> None:
    ended(room, plain())
    said = "No decision has this id."
    with pytest.raises(UnknownDecision) as judged:
        await room.outcomes.give(Feedback(decision=unknown_id, score=1.0))
    with pytest.raises(UnknownDecision) as asked:
        await room.outcomes.find(unknown_id)
    assert (str(judged.value), judged.value.param) == (said, "decision")
    assert (str(asked.value), asked.value.param) == (said, "decision")
    assert await logged(room) == []


BAD_SCORES = [float("nan"), float("inf"), -float("inf"), -0.01, 1.01]


@pytest.mark.parametrize("score", BAD_SCORES)
def test_a_score_outside_0_to_1_is_no_judgement(score: float) -> None:
    with pytest.raises(InvalidField, match="score is a number from 0") as caught:
        Feedback(decision=decision(), score=score)
    assert caught.value.param == "score"


BAD_WORDS = [
    ({"source": ""}, "source"),
    ({"source": "x" * 65}, "source"),
    ({"source": "a\nb"}, "source"),
    ({"kind": ""}, "kind"),
    ({"kind": "a\0"}, "kind"),
    ({"kind": "\ud800"}, "kind"),
    ({"comment": "a\0"}, "comment"),
    ({"comment": "x" * 10_001}, "comment"),
]


@pytest.mark.parametrize(("words", "field"), BAD_WORDS)
def test_a_judgement_in_words_that_cannot_be_kept_is_refused(
    words: Mapping[str, str], field: str
) -> None:
    with pytest.raises(InvalidField) as caught:
        replace(Feedback(decision=decision(), score=1.0), **words)  # type: ignore[arg-type]  # the tests' own words
    assert caught.value.param == field
