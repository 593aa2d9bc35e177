"""What was asked of a name, added up."""

from __future__ import annotations

from arbiter.knowledge.asked import NOTHING_ASKED, asked_of


def test_nothing_asked_is_nothing_known() -> None:
    assert asked_of([]) == NOTHING_ASKED
    assert NOTHING_ASKED.usual_tokens is None


def test_the_room_for_an_answer_is_what_was_asked_for_or_what_was_written() -> None:
    assert asked_of([(100, 20, None, "")]).most_tokens == 120
    assert asked_of([(100, 20, 64, "")]).most_tokens == 164
    assert asked_of([(100, 80, 64, "")]).most_tokens == 180
    assert asked_of([(100, None, None, "")]).most_tokens == 100


def test_one_in_a_thousand_may_be_longer_than_the_usual_ones() -> None:
    rows = [(100, 0, None, "chat")] * 999
    assert asked_of([*rows, (5000, 0, None, "chat")]).usual_tokens == 100
    assert asked_of([*rows[1:], (5000, 0, None, "chat")]).usual_tokens == 5000
    assert asked_of([*rows, (5000, 0, None, "chat")]).most_tokens == 5000


def test_what_an_engine_did_not_count_is_a_request_all_the_same() -> None:
    found = asked_of([(None, None, 64, "chat json"), (10, 1, None, "chat"), (9, 1, None, None)])
    assert (found.requests, found.told, found.usual_tokens) == (3, 2, 11)
    assert found.needs == {"chat": 2, "json": 1}
