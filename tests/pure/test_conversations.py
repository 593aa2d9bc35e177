"""Which version a conversation is held with, and for how long."""

from __future__ import annotations

from arbiter.refs import TaskName, VersionId
from arbiter.selection.chances import drawn
from arbiter.selection.conversations import HELD_S, MOST, Conversations

SUMS, POEMS = TaskName("sums"), TaskName("poems")
OLD, NEW = VersionId("old"), VersionId("new")


def test_a_conversation_stays_where_it_was_given_and_with_what_chance() -> None:
    held = Conversations()
    held.hold("talk", SUMS, OLD, probability=0.25, now=100.0)
    found = held.get("talk", SUMS, now=100.0 + HELD_S - 1.0)
    assert found is not None
    assert (found.version, found.probability, found.until) == (OLD, 0.25, 100.0 + HELD_S)


def test_a_conversation_is_drawn_again_when_its_hour_is_over() -> None:
    held = Conversations()
    held.hold("talk", SUMS, OLD, probability=0.25, now=100.0)
    assert held.get("talk", SUMS, now=100.0 + HELD_S) is None


def test_whoever_is_held_again_has_a_whole_hour_and_the_new_version() -> None:
    held = Conversations()
    held.hold("talk", SUMS, OLD, probability=0.25, now=0.0)
    held.hold("talk", SUMS, NEW, probability=0.75, now=HELD_S)
    found = held.get("talk", SUMS, now=2 * HELD_S - 1.0)
    assert found is not None
    assert (found.version, found.probability) == (NEW, 0.75)


def test_a_talk_that_goes_on_is_drawn_by_its_own_word_and_one_that_was_silent_by_another() -> None:
    held, words = Conversations(), []
    for now in (0.0, HELD_S, 3 * HELD_S - 1.0, 6 * HELD_S, 9 * HELD_S):
        words.append(held.drawn_by("talk", SUMS, now=now))
        held.hold("talk", SUMS, OLD, probability=0.5, now=now)
    assert words == ["talk", "talk", "talk", "talk\0001", "talk\0002"]
    assert held.drawn_by("talk", POEMS, now=0.0) == "talk"


def test_what_is_asked_in_the_same_words_every_day_is_given_to_everybody_in_proportion() -> None:
    held, found, days = Conversations(), [], 400
    for day in range(days):
        now = day * 24 * HELD_S
        place = drawn(["old", "new"], [0.7, 0.3], held.drawn_by("news", SUMS, now=now))
        held.hold("news", SUMS, (OLD, NEW)[place], probability=0.3, now=now)
        found.append(place)
    assert 0.25 * days < sum(found) < 0.35 * days


def test_the_same_conversation_at_another_task_is_another_one() -> None:
    held = Conversations()
    held.hold("talk", SUMS, OLD, probability=1.0, now=0.0)
    assert held.get("talk", POEMS, now=0.0) is None
    assert held.get("other", SUMS, now=0.0) is None


def test_when_too_many_are_held_the_one_that_was_held_longest_ago_is_let_go() -> None:
    held = Conversations()
    for number in range(MOST):
        held.hold(f"talk {number}", SUMS, OLD, probability=1.0, now=0.0)
    assert held.get("talk 0", SUMS, now=0.0) is not None
    held.hold("talk 0", SUMS, OLD, probability=1.0, now=1.0)
    held.hold("one more", SUMS, NEW, probability=1.0, now=1.0)
    assert held.get("talk 1", SUMS, now=1.0) is None
    kept = ("talk 0", "talk 2", f"talk {MOST - 1}", "one more")
    assert all(held.get(talk, SUMS, now=1.0) is not None for talk in kept)
