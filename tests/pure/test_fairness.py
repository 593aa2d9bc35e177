"""Who gives way when a line is full, and what is left of whoever went."""

from __future__ import annotations

from arbiter.pool.fairness import HOUSE, Line, Who


def lined(*places: tuple[Who, str]) -> Line[str]:
    line = Line[str]()
    for who, item in places:
        line.join(who, item)
    return line


def order(line: Line[str]) -> list[str | None]:
    return [line.next() for _ in range(len(line) + 1)]


X, Y = Who("a", "x"), Who("a", "y")


def test_of_whoever_has_most_the_longest_conversation_gives_way() -> None:
    line = lined((X, "x1"), (Y, "y1"), (Y, "y2"), (Who("b"), "b1"))
    assert line.last_of_many(Who("c")) == "y2"
    assert line.by_caller() == {"a": 2, "b": 1}
    assert order(line) == ["x1", "b1", "y1", None]
    assert lined((X, "x1"), (X, "x2"), (Y, "y1")).last_of_many(Who("c")) == "x2"


def test_a_conversation_of_one_place_that_gave_way_is_gone() -> None:
    line = lined((X, "x1"), (Y, "y1"))
    assert line.last_of_many(Who("b")) == "x1"
    assert (line.by_caller(), order(line)) == ({"a": 1}, ["y1", None])


def test_whoever_has_nothing_yet_is_let_in_by_one_that_has_two() -> None:
    assert lined((X, "x1"), (X, "x2")).last_of_many(Who("b")) == "x2"
    assert lined((X, "x1")).last_of_many(Who("b")) is None


def test_nobody_gives_way_to_one_that_would_have_as_many_then() -> None:
    three_and_two = lined((X, "x1"), (X, "x2"), (X, "x3"), (Who("b"), "b1"), (Who("b"), "b2"))
    assert three_and_two.last_of_many(Who("b")) is None
    assert three_and_two.last_of_many(Who("c")) == "x3"
    assert len(three_and_two) == 4


def test_whoever_has_most_gives_way_to_none_of_its_own() -> None:
    line = lined((X, "x1"), (X, "x2"), (Who("b"), "b1"))
    assert line.last_of_many(Y) is None
    assert len(line) == 3


def test_a_conversation_that_has_left_has_no_turn() -> None:
    line = lined((X, "x1"), (Y, "y1"), (Who("b"), "b1"))
    assert not line.leave(X, "y1")
    assert not line.leave(Who("a", "z"), "x1")
    assert line.leave(X, "x1")
    assert line.by_caller() == {"a": 1, "b": 1}
    assert order(line) == ["y1", "b1", None]


def test_who_comes_again_has_a_turn_after_all_others() -> None:
    line = lined((X, "x1"), (Who("b"), "b1"))
    assert line.next() == "x1"
    line.join(X, "x2")
    line.join(Who("b"), "b2")
    assert order(line) == ["b1", "x2", "b2", None]


def test_within_a_conversation_who_came_first_is_first() -> None:
    assert order(lined((X, "x1"), (X, "x2"), (X, "x3"))) == ["x1", "x2", "x3", None]


def test_what_the_house_asks_for_itself_is_a_caller_like_others() -> None:
    line = lined((HOUSE, "h1"), (HOUSE, "h2"), (X, "x1"))
    assert line.by_caller() == {"house": 2, "a": 1}
    assert order(line) == ["h1", "x1", "h2", None]
