"""Tasks, with their cases, parents and weights: what is said is what is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.contract.knowledge_room import FULL, SUMS, TALES, Room, cases, opened

from arbiter.errors import InvalidField, UnknownTask
from arbiter.inference import Limits, Message
from arbiter.knowledge.tasks import (
    LEAST_CASES,
    Case,
    Task,
    Weights,
    parse_cases,
    task_from_spec,
)
from arbiter.refs import GENERAL, TaskName

# -- parsing cases


def test_a_prompt_is_a_users_message() -> None:
    assert parse_cases('{"prompt": "2+2", "expected": "4"}') == (
        Case(messages=(Message(role="user", content="2+2"),), expected="4"),
    )


def test_messages_are_taken_in_their_order() -> None:
    line = '{"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]}'
    assert parse_cases(line) == (
        Case(
            messages=(Message(role="system", content="s"), Message(role="user", content="u")),
            expected=None,
        ),
    )


EXPECTED = [
    ('"4"', "4"),
    ("4", "4"),
    ("null", None),
    ('{"b": 1, "a": ["ä"]}', '{"b":1,"a":["ä"]}'),
    ("true", "true"),
]


@pytest.mark.parametrize(("written", "kept"), EXPECTED)
def test_a_right_answer_that_is_no_text_is_kept_as_json(written: str, kept: str | None) -> None:
    assert parse_cases(f'{{"prompt": "p", "expected": {written}}}')[0].expected == kept


def test_blank_lines_are_skipped_and_repeated_cases_kept_once() -> None:
    text = '\r\n{"prompt": "a"}\r\n\n  \n{"prompt": "b"}\n{"prompt": "a", "expected": null}\n'
    assert [case.messages[0].content for case in parse_cases(text)] == ["a", "b"]


BAD_LINES = [
    ("{", "Line 2 is not JSON"),
    ("9" * 5000, "Line 2 is not JSON"),
    ("[" * 100_000, "Line 2 is not JSON"),
    ('{"prompt": "\\ud800"}', "Line 2 is not JSON"),  # UnicodeEncodeError came out
    ('{"prompt": "p", "expected": "\\ud800"}', "Line 2 is not JSON"),
    ("[]", "Line 2 is not a JSON object"),
    ('"p"', "Line 2 is not a JSON object"),
    ("{}", 'Line 2 has neither a "prompt" nor "messages"'),
    ('{"prompt": ""}', 'Line 2 has neither a "prompt" nor "messages"'),
    ('{"prompt": 3}', 'Line 2 has neither a "prompt" nor "messages"'),
    ('{"messages": []}', 'Line 2 has neither a "prompt" nor "messages"'),
    ('{"messages": "hi"}', 'Line 2 has neither a "prompt" nor "messages"'),
    ('{"messages": ["hi"]}', "Line 2: a message needs a role"),
    ('{"messages": [{"role": "tool", "content": "x"}]}', "Line 2: a message needs a role"),
    ('{"messages": [{"role": "user"}]}', "Line 2: a message needs a role"),
    ('{"messages": [{"role": "user", "content": null}]}', "Line 2: a message needs a role"),
]


@pytest.mark.parametrize(("line", "message"), BAD_LINES)
def test_a_line_that_is_no_case_is_named(line: str, message: str) -> None:
    with pytest.raises(InvalidField, match=message) as caught:
        parse_cases('{"prompt": "good"}\n' + line)
    assert caught.value.param == "cases"


def test_more_than_16_mb_of_cases_are_refused_unread() -> None:
    with pytest.raises(InvalidField, match="larger than 16 MB"):
        parse_cases("{" * (16 * 1024 * 1024 + 1))


# -- tasks from plain values


BAD_SPECS: list[tuple[dict[str, object], str]] = [
    ({"needs": "tools"}, "needs"),
    ({"needs": ["tools", 3]}, "needs"),
    ({"threshold": 1.1}, "threshold"),
    ({"threshold": -0.1}, "threshold"),
    ({"threshold": True}, "threshold"),
    ({"threshold": "0.5"}, "threshold"),
    ({"threshold": float("nan")}, "threshold"),
    ({"max_latency_ms": float("inf")}, "max_latency_ms"),
    ({"max_memory_mb": -1}, "max_memory_mb"),
    ({"grader": "exact"}, "grader"),
    ({"grader": {"options": {}}}, "grader"),
    ({"grader": {"kind": "exact", "options": []}}, "grader"),
    ({"weights": {"speed": 1}}, "weights"),
    ({"weights": {"quality": None}}, "weights"),
    ({"weights": {"quality": "much"}}, "quality"),
    ({"weights": [1, 2]}, "weights"),
    ({"weights": {"quality": 0, "latency": 0, "memory": 0, "reliability": 0}}, "weights"),
]


@pytest.mark.parametrize(("spec", "field"), BAD_SPECS)
def test_a_wrong_field_of_a_task_is_named(spec: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidField) as caught:
        task_from_spec(SUMS, spec, ())
    assert caught.value.param == field


def test_a_task_of_nothing_demands_nothing() -> None:
    assert task_from_spec(SUMS, {}, ()) == Task(name=SUMS)


def test_a_task_is_what_its_own_spec_says() -> None:
    assert task_from_spec(SUMS, FULL.spec(), FULL.cases) == FULL


@pytest.mark.parametrize(
    ("quality", "latency"), [(-0.1, 0.5), (float("inf"), 0.5), (float("nan"), 0.5)]
)
def test_weights_that_are_no_proportion_are_refused(quality: float, latency: float) -> None:
    with pytest.raises(InvalidField, match="Weights must be numbers"):
        Weights(quality=quality, latency=latency)


# -- tasks that are kept


async def test_tasks_are_the_same_after_a_restart(path: Path) -> None:
    plain = Task(name=TALES)
    async with opened(path) as room:
        await room.tasks.add(FULL)
        await room.tasks.add(plain)
    async with opened(path) as room:
        assert room.tasks.all() == (FULL, plain)


async def test_a_task_keeps_its_digest_over_a_restart(path: Path) -> None:
    # A limit of 800 was written as 800 and read back as 800.0: another digest.
    async with opened(path) as room:
        before = (await room.tasks.add(FULL)).digest
    async with opened(path) as room:
        assert room.tasks.get(SUMS).digest == before


async def test_a_task_that_is_added_again_replaces_the_first_with_its_cases(path: Path) -> None:
    second = replace(FULL, limits=Limits(), cases=cases(12)[1:])
    async with opened(path) as room:
        await room.tasks.add(FULL)
        await room.tasks.add(second)
        assert room.tasks.all() == (second,)
    async with opened(path) as room:
        assert room.tasks.all() == (second,)


async def test_a_removed_task_is_gone_with_its_cases(path: Path) -> None:
    async with opened(path) as room:
        await room.tasks.add(FULL)
        await room.tasks.remove(SUMS)
        assert room.tasks.all() == ()
    async with opened(path) as room:
        assert room.tasks.all() == ()
        assert list(await room.database.read("list_cases")) == []


async def test_a_task_that_is_not_there_cannot_be_removed(room: Room) -> None:
    with pytest.raises(UnknownTask, match="No task is called 'sums'"):
        await room.tasks.remove(SUMS)


@pytest.mark.parametrize("count", [1, LEAST_CASES - 1])
async def test_fewer_than_ten_cases_are_refused_and_nothing_kept(room: Room, count: int) -> None:
    with pytest.raises(InvalidField, match=f"has {count} different cases; fewer than 10"):
        await room.tasks.add(replace(FULL, cases=cases(count)))
    assert room.tasks.all() == ()


async def test_cases_without_a_grader_are_refused(room: Room) -> None:
    with pytest.raises(InvalidField, match=r"has cases but no grader\. Add --grader"):
        await room.tasks.add(replace(FULL, grading=None))


async def test_a_task_with_a_name_that_is_none_is_refused(room: Room) -> None:
    with pytest.raises(InvalidField, match="is not a task"):
        await room.tasks.add(Task(name=TaskName("two words")))


def test_the_general_task_is_always_there(room: Room) -> None:
    assert room.tasks.get(GENERAL) == Task(name=GENERAL)


async def test_the_general_task_can_be_given_limits(room: Room) -> None:
    mine = Task(name=GENERAL, limits=Limits(threshold=0.5))
    await room.tasks.add(mine)
    assert room.tasks.get(GENERAL) == mine


async def test_an_unknown_task_lists_the_known_ones(room: Room) -> None:
    with pytest.raises(UnknownTask, match="Known tasks: none yet"):
        room.tasks.get(SUMS)
    await room.tasks.add(Task(name=TALES))
    with pytest.raises(UnknownTask, match="Known tasks: tales"):
        room.tasks.get(SUMS)
