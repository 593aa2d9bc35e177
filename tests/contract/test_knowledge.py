"""Tasks, rules, outcomes, feedback and profiles, over a real file: what is said is what is kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from arbiter.clock import ManualClock
from arbiter.cost import Figure, Method, unknown
from arbiter.errors import InvalidField, NotFound, StillInUse, UnknownDecision, UnknownTask
from arbiter.events import Announcer
from arbiter.inference import Arm, Considered, Decided, Dropped, Limits, Message, Timings, Usage
from arbiter.knowledge.learning import Learning
from arbiter.knowledge.outcomes import (
    RECENT,
    Attempt,
    Feedback,
    Outcome,
    Outcomes,
    Record,
    Status,
)
from arbiter.knowledge.profiles import NOTHING, Profile, Profiles, total
from arbiter.knowledge.retelling import RETOLD
from arbiter.knowledge.rules import Rule, Rules, knowledge_digest
from arbiter.knowledge.speed import NEVER_TIMED
from arbiter.knowledge.tasks import (
    LEAST_CASES,
    Case,
    Grading,
    Task,
    Tasks,
    Weights,
    parse_cases,
    task_from_spec,
)
from arbiter.refs import GENERAL, DecisionId, ModelName, RolloutId, TaskName, VersionId, new_id
from arbiter.selection.bandit import Table
from arbiter.storage.database import Statement
from arbiter.storage.sqlite import SqliteDatabase, open_sqlite

A = VersionId("sha256:" + "a" * 64)
B = VersionId("sha256:" + "b" * 64)
SUMS = TaskName("sums")
TALES = TaskName("tales")


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Everything that is learned, as one house has it."""

    database: SqliteDatabase
    clock: ManualClock
    tasks: Tasks
    rules: Rules
    profiles: Profiles
    table: Table
    learning: Learning
    outcomes: Outcomes


GRADED = "sha256:graded-as-it-is-now"


@asynccontextmanager
async def opened(path: Path, *, retold: int = RETOLD) -> AsyncIterator[Room]:
    database = await open_sqlite(path)
    clock = ManualClock()
    tasks = Tasks(database, clock)
    profiles = Profiles(database, lambda _: GRADED)
    table = Table(weigh=profiles.weights)
    learning = Learning(
        database=database,
        clock=clock,
        learner=table,
        profiles=profiles,
        announcer=Announcer(),
        retold=retold,
    )
    room = Room(
        database=database,
        clock=clock,
        tasks=tasks,
        rules=Rules(database, clock),
        profiles=profiles,
        table=table,
        learning=learning,
        outcomes=Outcomes(database, clock, learning),
    )
    try:
        for part in (room.tasks, room.rules, profiles, learning):
            await part.load()
        yield room
    finally:
        await database.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "arbiter.db"


@pytest.fixture
async def room(path: Path) -> AsyncIterator[Room]:
    async with opened(path) as found:
        yield found


def cases(count: int) -> tuple[Case, ...]:
    return tuple(
        Case(messages=(Message(role="user", content=f"{n}+1"),), expected=f"{n + 1}")
        for n in range(count)
    )


EXACT = Grading(kind="exact", options={"trim": True, "case": False})
FULL = Task(
    name=SUMS,
    limits=Limits(
        needs=frozenset({"tools", "chat"}), threshold=0.5, max_latency_ms=800, max_memory_mb=2000
    ),
    grading=EXACT,
    cases=cases(10),
    weights=Weights(quality=1, latency=0, memory=0, reliability=1),
)


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


# -- tasks with parents

FINE = Task(name=TaskName("sums.long"), parent=SUMS)


async def test_a_task_takes_after_its_parent_also_after_a_restart(path: Path) -> None:
    async with opened(path) as room:
        await room.tasks.add(FULL)
        await room.tasks.add(FINE)
    async with opened(path) as room:
        found = room.tasks.get(FINE.name)
        assert (found.limits, found.grading, found.weights) == (FULL.limits, EXACT, FULL.weights)
        assert found.cases == ()
        assert room.tasks.decided(FINE.name) == FINE
        assert room.tasks.all() == (FULL, FINE)
        assert room.tasks.grading(FINE.name) == EXACT.digest
        assert room.tasks.in_force() == (FULL, found)


async def test_the_digest_of_knowledge_is_of_what_was_decided_not_of_what_comes_down(
    room: Room,
) -> None:
    await room.tasks.add(FULL)
    await room.tasks.add(FINE)
    before = room.tasks.all()[1].digest
    await room.tasks.add(replace(FULL, limits=Limits()))
    assert room.tasks.all()[1].digest == before == FINE.digest


async def test_parents_and_the_line_above_a_task_are_told(room: Room) -> None:
    await room.tasks.add(FULL)
    await room.tasks.add(FINE)
    assert room.tasks.parents() == {FINE.name: SUMS}
    assert room.tasks.parents() is room.tasks.parents()
    assert room.tasks.line(FINE.name) == (FINE.name, SUMS, GENERAL)
    assert room.tasks.line(GENERAL) == (GENERAL,)
    assert [task.name for task in room.tasks.family(SUMS)] == [SUMS, FINE.name]


async def test_every_change_of_a_task_or_a_parent_is_another_revision(room: Room) -> None:
    seen = [room.tasks.revision]
    for task in (FULL, FINE, replace(FINE, parent=None)):
        await room.tasks.add(task)
        seen.append(room.tasks.revision)
    await room.tasks.remove(SUMS)
    seen.append(room.tasks.revision)
    assert len(set(seen)) == len(seen)


async def test_a_task_that_counts_as_before_is_still_the_same_value(room: Room) -> None:
    # what was derived from it is kept for as long as it is
    await room.tasks.add(FULL)
    await room.tasks.add(FINE)
    before, general = room.tasks.get(FINE.name), room.tasks.get(GENERAL)
    await room.tasks.add(Task(name=TALES))
    assert room.tasks.get(FINE.name) is before
    assert room.tasks.get(GENERAL) is general


async def test_a_parent_that_is_not_there_is_refused_and_nothing_kept(room: Room) -> None:
    with pytest.raises(InvalidField, match=r"The parent of task sums\.long is not there: sums"):
        await room.tasks.add(FINE)
    assert room.tasks.all() == ()


async def test_a_ring_is_refused_and_nothing_changed(room: Room) -> None:
    await room.tasks.add(FULL)
    await room.tasks.add(FINE)
    with pytest.raises(InvalidField, match="above each other"):
        await room.tasks.add(replace(FULL, parent=FINE.name))
    assert room.tasks.all() == (FULL, FINE)


async def test_what_stands_below_may_not_come_to_stand_too_deep(room: Room) -> None:
    above: TaskName | None = None
    for name in map(TaskName, "abcd"):
        await room.tasks.add(Task(name=name, parent=above))
        above = name
    await room.tasks.add(Task(name=TALES))
    with pytest.raises(InvalidField, match="Task d would stand 5 levels deep"):
        await room.tasks.add(Task(name=TaskName("a"), parent=TALES))


async def test_a_parent_cannot_be_removed_before_its_children(room: Room) -> None:
    await room.tasks.add(FULL)
    await room.tasks.add(FINE)
    await room.tasks.add(Task(name=TaskName("sums.odd"), parent=SUMS))
    with pytest.raises(StillInUse, match=r"sums is the parent of sums\.long, sums\.odd\. Remove"):
        await room.tasks.remove(SUMS)
    assert room.tasks.get(SUMS) == FULL
    for name in (FINE.name, TaskName("sums.odd"), SUMS):
        await room.tasks.remove(name)
    assert room.tasks.all() == ()


async def test_cases_may_be_graded_as_the_parents_are(room: Room) -> None:
    await room.tasks.add(FULL)
    await room.tasks.add(replace(FINE, cases=cases(10)))
    assert room.tasks.get(FINE.name).grading == EXACT


async def test_a_parent_cannot_lose_the_grader_that_its_childrens_cases_need(room: Room) -> None:
    await room.tasks.add(FULL)
    await room.tasks.add(replace(FINE, cases=cases(10)))
    with pytest.raises(InvalidField, match=r"Task sums\.long is below it .* cases but no grader"):
        await room.tasks.add(replace(FULL, grading=None, cases=()))
    assert room.tasks.get(SUMS) == FULL


async def test_of_two_changes_at_once_that_do_not_fit_each_other_one_is_made(room: Room) -> None:
    await room.tasks.add(Task(name=SUMS))
    found = await asyncio.gather(
        room.tasks.add(FINE), room.tasks.remove(SUMS), return_exceptions=True
    )
    assert [type(one) for one in found].count(StillInUse) == 1
    assert room.tasks.parents() == {FINE.name: SUMS}


# -- digests: golden, because a change of them looks like a change of what people decided


def test_the_digest_of_a_case_is_this() -> None:
    assert cases(1)[0].digest == (
        "sha256:6215010366d098b96906e7969659d1f38361d7b13a882eaa0ed217dd7a95906d"
    )


def test_the_digest_of_a_task_is_this() -> None:
    assert FULL.digest == (
        "sha256:12cd0a63b2e1f26cf77acd7bc647a14ad051fc61f52a91e5109b60557431c52e"
    )


def test_the_digest_of_a_rule_is_this() -> None:
    assert PREFER_FAST.digest == (
        "sha256:b4ff40c571f527253df148ef7ec614bad8d22addaf4b891248c870a15bc6d660"
    )


def test_the_digest_of_everything_people_decided_is_this() -> None:
    assert knowledge_digest([FULL], [PREFER_FAST]) == (
        "sha256:71e7dba3f0e582fc14412129a8ac367e9c766c5a5a4d3a54bb3ed7b9cdcd6a12"
    )


def test_the_digest_of_a_task_does_not_depend_on_the_order_of_options_and_needs() -> None:
    turned = replace(
        FULL,
        grading=Grading(kind="exact", options={"case": False, "trim": True}),
        limits=replace(FULL.limits, needs=frozenset(["chat", "tools"])),
    )
    assert turned.digest == FULL.digest


CHANGES: list[Task] = [
    replace(FULL, name=TALES),
    replace(FULL, limits=Limits()),
    replace(FULL, grading=Grading(kind="exact")),
    replace(FULL, cases=tuple(reversed(FULL.cases))),
    replace(FULL, cases=cases(11)),
    replace(FULL, weights=None),
]


@pytest.mark.parametrize("changed", CHANGES)
def test_whatever_people_change_changes_the_digest_of_a_task(changed: Task) -> None:
    assert changed.digest != FULL.digest


async def test_the_digest_of_everything_does_not_depend_on_the_order_of_adding(
    tmp_path: Path,
) -> None:
    found = []
    for order in ((FULL, Task(name=TALES)), (Task(name=TALES), FULL)):
        async with opened(tmp_path / f"{order[0].name}.db") as room:
            for task in order:
                await room.tasks.add(task)
                await room.rules.add(Rule(task=task.name, prefer=ModelName("fast")))
            found.append(knowledge_digest(room.tasks.all(), room.rules.all()))
    assert found[0] == found[1]


# -- rules

PREFER_FAST = Rule(task=SUMS, prefer=ModelName("fast"), why="it is quick")


async def test_rules_are_the_same_after_a_restart(path: Path) -> None:
    other = Rule(task=GENERAL, prefer=ModelName("primary"))
    async with opened(path) as room:
        await room.rules.add(PREFER_FAST)
        await room.rules.add(other)
    async with opened(path) as room:
        assert room.rules.all() == (other, PREFER_FAST)
        assert room.rules.get(SUMS) == PREFER_FAST


EVERY_RULE = (
    Rule(task=TaskName("a"), only=ModelName("fast"), why="it is quick"),
    Rule(task=TaskName("b"), never=(ModelName("slow"), ModelName("big"))),
    Rule(task=TaskName("c"), prefer=ModelName("fast"), never=(ModelName("big"),)),
    Rule(task=TaskName("d"), only=ModelName("fast"), never=(ModelName("big"),)),
)


async def test_rules_of_every_kind_are_the_same_after_a_restart(path: Path) -> None:
    async with opened(path) as room:
        for rule in EVERY_RULE:
            await room.rules.add(rule)
    async with opened(path) as room:
        assert room.rules.all() == EVERY_RULE


async def test_every_change_of_a_rule_is_another_revision(room: Room) -> None:
    seen = [room.rules.revision]
    for rule in EVERY_RULE:
        await room.rules.add(rule)
        seen.append(room.rules.revision)
    await room.rules.remove(TaskName("a"))
    assert len({*seen, room.rules.revision}) == len(seen) + 1


async def test_a_rule_replaces_the_one_for_the_same_task(path: Path) -> None:
    second = replace(PREFER_FAST, prefer=ModelName("quality"))
    async with opened(path) as room:
        await room.rules.add(PREFER_FAST)
        await room.rules.add(second)
        assert room.rules.all() == (second,)
    async with opened(path) as room:
        assert room.rules.all() == (second,)


async def test_a_removed_rule_is_gone(path: Path) -> None:
    async with opened(path) as room:
        await room.rules.add(PREFER_FAST)
        await room.rules.remove(SUMS)
        assert room.rules.get(SUMS) is None
    async with opened(path) as room:
        assert room.rules.get(SUMS) is None


async def test_a_rule_that_is_not_there_cannot_be_removed(room: Room) -> None:
    with pytest.raises(NotFound, match="No rule stands for task 'sums'"):
        await room.rules.remove(SUMS)


# -- outcomes


def decision(number: int = 1) -> DecisionId:
    return DecisionId(new_id("dec", now=ManualClock().now(), dice=Random(number)))


def decided(number: int = 1, *, task: TaskName = SUMS, version: VersionId = A) -> Decided:
    return Decided(
        decision=decision(number),
        task=task,
        alias=ModelName("primary"),
        version=version,
        arm=Arm.CANDIDATE,
        reason='because "it" scores 0.1',
        probability=0.30000000000000004,
        rollout=RolloutId("rol_" + "0" * 26),
        fallback=ModelName("fast"),
        scores=(
            Considered(
                name=ModelName("primary"),
                version=A,
                score=0.75,
                explanation="quality 1.00",
                chance=0.9,
                samples=12,
                quality=(0.5, 0.875),
            ),
            Considered(name=ModelName("fast"), version=B, score=0.5, explanation="0.5", chance=0.1),
        ),
        dropped=(Dropped(name=ModelName("big"), version=B, reason="needs 9 GB, ä"),),
        would_change="2 wrong answers of primary at sums would",
        is_held=True,
    )


def plain(number: int = 1, *, task: TaskName = SUMS, version: VersionId = A) -> Decided:
    return structs.replace(
        decided(number, task=task, version=version),
        arm=Arm.NONE,
        rollout=None,
        fallback=None,
        scores=(),
        dropped=(),
        would_change=None,
        is_held=False,
    )


def outcome(of: Decided, **changes: object) -> Outcome:
    whole = Outcome(
        decision=of.decision,
        task=of.task,
        version=of.version,
        status=Status.SUCCESS,
        latency_ms=123.456,
        ttft_ms=0.1,
        usage=Usage(prompt_tokens=7, completion_tokens=2, cached_tokens=0),
        timings=Timings(prefill_ms=1.5, decode_ms=2.5),
        cpu=Figure(value=12.5, method=Method.SHARED, note="shared by 3"),
        grade=0.75,
        attempts=(
            Attempt(version=B, error="instance_lost"),
            Attempt(version=B, error="load_failed"),
        ),
    )
    return structs.replace(whole, **changes)


BARE: Mapping[str, object] = {
    "status": Status.FAILURE,
    "error": "engine_timeout",
    "detail": "The engine did not answer in time.",
    "latency_ms": None,
    "ttft_ms": None,
    "usage": Usage(),
    "timings": Timings(),
    "cpu": unknown("no process of its own"),
    "grade": None,
    "attempts": (),
}


def ended(room: Room, of: Decided, **changes: object) -> None:
    room.outcomes.begin(of, caller="local")
    room.clock.jump(1.5)
    room.outcomes.end(of, outcome(of, **changes), caller="local")


RECORDS: list[tuple[Decided, Mapping[str, object]]] = [
    (decided(), {}),
    (decided(), BARE),
    (plain(), {}),
    (plain(), BARE),
    (plain(task=GENERAL), {"status": Status.CANCELLED, "grade": None}),
]


@pytest.mark.parametrize(("of", "changes"), RECORDS)
async def test_a_record_is_the_same_from_memory_and_from_the_file(
    path: Path, of: Decided, changes: Mapping[str, object]
) -> None:
    async with opened(path) as room:
        ended(room, of, **changes)
        await room.outcomes.give(Feedback(decision=of.decision, score=0.5, comment="fine\nthanks"))
        await room.outcomes.give(Feedback(decision=of.decision, score=1.0, source="checker"))
        remembered = await room.outcomes.find(of.decision)
    async with opened(path) as room:
        read = await room.outcomes.find(of.decision)
    assert read == remembered
    assert read.outcome == outcome(of, **changes)
    assert read.decided == of


async def test_a_decision_is_known_from_the_moment_it_was_made(room: Room) -> None:
    room.outcomes.begin(plain(), caller="local")
    assert await room.outcomes.find(decision()) == Record(
        decided=plain(), caller="local", at="2026-01-01T00:00:00+00:00", outcome=None
    )


async def test_a_decision_that_was_only_judged_is_found_again_without_an_outcome(
    path: Path,
) -> None:
    async with opened(path) as room:
        room.outcomes.begin(plain(), caller="local")
        await room.outcomes.give(Feedback(decision=decision(), score=1.0))
    async with opened(path) as room:
        record = await room.outcomes.find(decision())
    assert record.outcome is None
    assert record.feedback == (Feedback(decision=decision(), score=1.0),)


async def test_an_outcome_counts_from_when_its_request_began(room: Room) -> None:
    ended(room, plain())
    assert (await room.outcomes.find(decision())).at == "2026-01-01T00:00:00+00:00"


async def test_an_outcome_without_a_beginning_is_kept_too(room: Room) -> None:
    room.outcomes.end(plain(), outcome(plain()), caller="local")
    assert (await room.outcomes.find(decision())).outcome == outcome(plain())


async def test_what_belongs_to_an_outcome_is_written_with_it(room: Room) -> None:
    told: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    row = Statement(query="add_rule", parameters=("sums", "fast", None, "[]", "", "t"))
    room.outcomes.end(plain(), outcome(plain()), caller="local", also=(row,), then=told.set_result)
    assert await told
    assert len(await room.database.read("list_rules")) == 1


async def test_the_oldest_decisions_are_forgotten_by_memory_and_found_in_the_file(
    room: Room,
) -> None:
    ended(room, plain(0))
    for number in range(1, RECENT + 1):
        room.outcomes.begin(plain(number), caller="local")
    await room.database.settle()
    assert (await room.outcomes.find(decision(0))).outcome == outcome(plain(0))
    room.outcomes.begin(plain(RECENT + 1), caller="local")
    with pytest.raises(UnknownDecision):
        await room.outcomes.find(decision(1))


async def test_requests_that_outlast_thousands_of_others_do_not_grow_memory(room: Room) -> None:
    # Each of them left one more decision in memory, for ever.
    for number in range(RECENT + 20):
        room.outcomes.begin(plain(number), caller="local")
    for number in range(20):
        room.outcomes.end(plain(number), outcome(plain(number)), caller="local")
    assert len(room.outcomes._recent) == RECENT


# -- feedback


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
    assert room.profiles.get(A, SUMS) == replace(before, quality=1.0)
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


# -- profiles


async def test_a_success_is_a_sample_with_its_grade_and_time(room: Room) -> None:
    ended(room, plain(), attempts=())
    assert room.profiles.tasks_of(A) == {
        SUMS: Profile(samples=1, graded=1, quality=0.75, successes=1, timed=1, latency_ms=123.456)
    }


async def test_a_failure_is_a_sample_without_a_time(room: Room) -> None:
    ended(room, plain(), status=Status.FAILURE, grade=0.0, attempts=())
    assert room.profiles.get(A, SUMS) == Profile(samples=1, graded=1)


async def test_a_client_that_hung_up_leaves_no_trace_in_a_profile(path: Path) -> None:
    # An empty profile was shown until the next restart.
    async with opened(path) as room:
        ended(room, plain(), status=Status.CANCELLED, grade=None, attempts=())
        assert room.profiles.tasks_of(A) == {}
    async with opened(path) as room:
        assert room.profiles.tasks_of(A) == {}


async def test_an_attempt_that_failed_is_a_failed_sample_of_its_version(room: Room) -> None:
    ended(room, plain())
    assert room.profiles.get(B, SUMS) == Profile(samples=2)
    assert room.profiles.get(B, SUMS).success_rate == 0.0


async def test_the_profile_at_general_is_the_sum_over_all_tasks(room: Room) -> None:
    ended(room, plain(1, task=SUMS), attempts=())
    ended(room, plain(2, task=TALES), attempts=(), grade=None)
    ended(room, plain(3, task=GENERAL), attempts=(), status=Status.FAILURE)
    assert room.profiles.get(A, GENERAL) == total(room.profiles.tasks_of(A).values())
    assert room.profiles.get(A, GENERAL).samples == 3


def test_a_mean_of_nothing_is_none() -> None:
    assert (NOTHING.mean_quality, NOTHING.success_rate, NOTHING.mean_latency_ms) == (
        None,
        None,
        None,
    )


def test_means_are_over_what_they_are_means_of() -> None:
    profile = Profile(samples=4, graded=2, quality=1.5, successes=3, timed=2, latency_ms=100.0)
    assert (profile.mean_quality, profile.success_rate, profile.mean_latency_ms) == (
        0.75,
        0.75,
        50.0,
    )


async def test_cases_graded_as_they_are_now_are_samples_after_a_restart(path: Path) -> None:
    async with opened(path) as room:
        version = (A, "gguf", "/m", "{}", None, "t")
        await room.database.write(
            Statement(query="add_version", parameters=version),
            Statement(
                query="add_validation", parameters=(A, SUMS, GRADED, "c1", 1.0, 1, 50.0, "t")
            ),
            Statement(
                query="add_validation", parameters=(A, SUMS, GRADED, "c2", 0.5, 1, None, "t")
            ),
            Statement(
                query="add_validation", parameters=(A, SUMS, "other", "c3", 0.0, 0, 9.0, "t")
            ),
        )
    async with opened(path) as room:
        assert room.profiles.get(A, SUMS) == Profile(
            samples=2, graded=2, quality=1.5, successes=2, timed=1, latency_ms=50.0
        )


REGRADED = replace(FULL, grading=Grading(kind="exact", options={"case": True}))


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (FULL, Profile(samples=1, graded=1, quality=1.0, successes=1, timed=1, latency_ms=8.0)),
        (REGRADED, Profile(samples=1, graded=1, quality=0.25, successes=1)),
        (Task(name=SUMS), NOTHING),
    ],
)
async def test_a_task_that_is_graded_anew_counts_what_the_new_grading_found(
    path: Path, now: Task, expected: Profile
) -> None:
    async with opened(path) as room:
        await room.tasks.add(FULL)
        first, second = room.tasks.grading(SUMS), grading_of(REGRADED)
        await room.database.write(
            Statement(query="add_version", parameters=(A, "gguf", "/m", "{}", None, "t")),
            Statement(query="add_validation", parameters=(A, SUMS, first, "c", 1.0, 1, 8.0, "t")),
            Statement(
                query="add_validation", parameters=(A, SUMS, second, "c", 0.25, 1, None, "t")
            ),
            Statement(query="add_validation", parameters=(A, TALES, second, "c", 0, 0, None, "t")),
        )
        learned = Profiles(room.database, room.tasks.grading)
        await learned.load()
        await room.tasks.add(now)
        await learned.regrade(SUMS, before=first, after=room.tasks.grading(SUMS))
        reloaded = Profiles(room.database, room.tasks.grading)
        await reloaded.load()
    assert learned.get(A, SUMS) == reloaded.get(A, SUMS) == expected


def grading_of(task: Task) -> str:
    assert task.grading is not None
    return task.grading.digest


async def test_a_task_without_a_grader_and_one_that_is_not_there_have_no_grading(
    room: Room,
) -> None:
    await room.tasks.add(Task(name=TALES))
    assert (room.tasks.grading(TALES), room.tasks.grading(SUMS)) == (None, None)


# -- what is learned of it


def graded_answers(room: Room, numbers: Sequence[int], grade: float) -> None:
    for number in numbers:
        room.clock.jump(1.0)
        of = plain(number, task=SUMS, version=A)
        room.outcomes.begin(of, caller="local")
        room.outcomes.end(of, outcome(of, version=A, grade=grade), caller="local")


async def test_grades_and_feedback_are_learned_from_as_they_come(room: Room) -> None:
    before = room.table.get(SUMS, A).mean
    graded_answers(room, range(8), 1.0)
    graded = room.table.get(SUMS, A)
    await room.outcomes.give(Feedback(decision=decision(3), score=0.0))
    judged = room.table.get(SUMS, A)
    assert before < judged.mean < graded.mean
    assert (graded.samples, judged.samples) == (8.0, 9.0)


async def test_a_judgement_that_is_changed_counts_once(room: Room) -> None:
    graded_answers(room, range(8), 1.0)
    await room.outcomes.give(Feedback(decision=decision(3), score=0.0))
    await room.outcomes.give(Feedback(decision=decision(3), score=1.0))
    assert room.table.get(SUMS, A).samples == 9.0
    assert room.table.get(SUMS, A).mean > 0.8


async def test_a_judgement_that_is_changed_over_and_over_moves_nobody(room: Room) -> None:
    answered_by = Feedback(decision=decision(3), score=0.0, caller="key-9")
    graded_answers(room, range(40), 1.0)
    await room.outcomes.give(answered_by)
    before, other = room.table.get(SUMS, A), room.table.get(SUMS, B)
    for number in range(300):
        await room.outcomes.give(replace(answered_by, score=float(number % 2)))
    assert room.table.get(SUMS, A).samples == before.samples
    assert room.table.get(SUMS, B).neglect == pytest.approx(other.neglect, rel=0.01)
    assert not room.learning.falls_of(A)
    assert await room.database.read("list_falls") == []


async def test_a_judgement_counts_once_though_the_record_is_read_again_meanwhile(
    room: Room,
) -> None:
    graded_answers(room, range(8), 1.0)
    async with asyncio.TaskGroup() as group:
        for number in range(8):
            group.create_task(room.outcomes.give(Feedback(decision=decision(number), score=1.0)))
            if number in {2, 5}:
                group.create_task(room.learning.load())
        graded_answers(room, range(8, 12), 1.0)
    assert room.table.get(SUMS, A).samples == 20.0


async def test_a_version_that_fell_is_believed_to_have_fallen_after_a_restart(path: Path) -> None:
    async with opened(path) as room:
        graded_answers(room, range(100), 1.0)
        graded_answers(room, range(100, 125), 0.0)
        await room.database.settle()
        fallen = room.table.get(SUMS, A).mean
        falls = await room.database.read("list_falls")
        since = (await room.outcomes.find(decision(100))).outcome
    assert since is not None
    assert fallen < 0.3
    assert [row[:2] for row in falls] == [(A, SUMS)] or [row[:2] for row in falls] == [(A, None)]
    async with opened(path) as room:
        assert room.table.get(SUMS, A).mean == pytest.approx(fallen, abs=0.05)


async def test_what_is_said_of_a_source_changes_all_that_it_ever_said(room: Room) -> None:
    for number in range(40):
        room.clock.jump(1.0)
        of = plain(number, task=TALES, version=B)
        room.outcomes.begin(of, caller="local")
        room.outcomes.end(of, outcome(of, version=B, task=TALES, grade=None), caller="local")
        await room.outcomes.give(Feedback(decision=decision(number), score=1.0, source="judge"))
    liked = room.table.get(TALES, B).mean
    graded_answers(room, range(40, 80), 0.0)
    for number in range(40, 80):
        await room.outcomes.give(Feedback(decision=decision(number), score=1.0, source="judge"))
    assert room.table.get(TALES, B).mean < liked - 0.05


# -- whatever happens, a restart forgets nothing of it

TASKS = st.sampled_from([SUMS, TALES, GENERAL])
VERSIONS = st.sampled_from([A, B])
EIGHTHS = st.integers(0, 8).map(lambda n: n / 8)  # so that sums do not depend on their order
ENDINGS = st.fixed_dictionaries(
    {
        "version": VERSIONS,
        "status": st.sampled_from(Status),
        "grade": st.none() | EIGHTHS,
        "latency_ms": st.none() | st.integers(0, 8000).map(lambda n: n / 8),
        "attempts": st.lists(st.builds(Attempt, version=VERSIONS, error=st.just("x"))).map(tuple),
    }
)
GIVEN = st.tuples(
    st.integers(0, 5),
    EIGHTHS,
    st.sampled_from(["person", "grader", "judge", "implicit", "checker"]),
    st.sampled_from(["local", "key-1", "key-2"]),
    st.booleans(),
)


def cells(room: Room) -> dict[VersionId, dict[TaskName, Profile]]:
    return {
        version: {task: rounded(cell) for task, cell in room.profiles.tasks_of(version).items()}
        for version in (A, B)
    }


def rounded(cell: Profile) -> Profile:
    """Weights are fractions, and sums of fractions are rounded in another order."""
    return replace(cell, graded=round(cell.graded, 9), quality=round(cell.quality, 9))


def beliefs(room: Room) -> list[float]:
    """What was learned, once it rests: how far a fit has come depends on what came when."""
    room.table.settle()
    found = [room.table.get(task, version) for task in (SUMS, TALES) for version in (A, B)]
    return [number for one in found for number in (one.mean, one.samples / 10)]


async def lived(
    path: Path,
    endings: Sequence[tuple[TaskName, Mapping[str, object]]],
    judged: Sequence[tuple[int, float, str, str, bool]],
) -> None:
    def said(early: bool) -> list[Feedback]:
        return [
            Feedback(decision=decision(number), score=score, source=source, caller=caller)
            for number, score, source, caller, is_early in judged
            if number < len(endings) and is_early is early
        ]

    async with opened(path) as room:
        for number, (task, changes) in enumerate(endings):
            served = changes["version"]
            assert isinstance(served, str)
            room.outcomes.begin(plain(number, task=task, version=VersionId(served)), caller="local")
        for given in said(early=True):
            await room.outcomes.give(given)
        for number, (task, changes) in enumerate(endings):
            served = changes["version"]
            assert isinstance(served, str)
            of = plain(number, task=task, version=VersionId(served))
            room.outcomes.end(of, outcome(of, **changes), caller="local")
        for given in said(early=False):
            await room.outcomes.give(given)
        before, trusted = cells(room), room.profiles.trust()
        believed = beliefs(room)
        records = [await room.outcomes.find(decision(n)) for n in range(len(endings))]
    async with opened(path) as room:
        assert cells(room) == before
        assert room.profiles.trust() == trusted
        assert beliefs(room) == pytest.approx(believed, abs=0.02)
        assert [await room.outcomes.find(decision(n)) for n in range(len(endings))] == records


@settings(max_examples=25, deadline=None)
@given(
    endings=st.lists(st.tuples(TASKS, ENDINGS), max_size=6),
    judged=st.lists(GIVEN, max_size=12),
)
def test_profiles_and_records_are_the_same_after_a_restart(
    endings: Sequence[tuple[TaskName, Mapping[str, object]]],
    judged: Sequence[tuple[int, float, str, str, bool]],
) -> None:
    with TemporaryDirectory() as folder:
        asyncio.run(lived(Path(folder) / "arbiter.db", endings, judged))


# -- speeds


async def answered(
    room: Room, count: int, *, task: TaskName = SUMS, version: VersionId = A, **changes: object
) -> None:
    """So many answers, each a little slower than the one before; durable when it returns."""
    for number in range(count):
        room.clock.jump(1.0)
        id_ = DecisionId(new_id("dec", now=room.clock.now(), dice=Random(number)))
        of = structs.replace(plain(task=task, version=version), decision=id_)
        told: dict[str, object] = {
            "latency_ms": 1200.0 + number,
            "wait_ms": 200.0,
            "ttft_ms": 300.0,
            "prompt_chars": 800,
            "usage": Usage(prompt_tokens=200, completion_tokens=46, cached_tokens=0),
            "timings": Timings(prefill_ms=100.0),
            "attempts": (),
        }
        ended(room, of, **{**told, **changes})
    await room.database.settle()


async def case_ran(
    room: Room, number: int, latency_ms: float, *, origin: str | None = None
) -> None:
    await room.database.write(
        Statement(
            query="carry_validation",
            parameters=(A, SUMS, GRADED, f"case {number}", 1.0, 1, latency_ms, origin, f"{number}"),
        )
    )


async def test_only_answers_that_came_to_their_end_are_timed(room: Room) -> None:
    await answered(room, 1, status=Status.FAILURE, error="engine_error")
    await answered(room, 1, status=Status.CANCELLED)
    assert room.profiles.speeds.get(A, SUMS) == NEVER_TIMED
    await answered(room, 1)
    measured = room.profiles.speeds.measured(A, SUMS)
    assert measured.latency_ms is not None
    assert measured.latency_ms.median == pytest.approx(1000.0, rel=0.02)
    assert measured.first_ms is not None
    assert measured.first_ms.median == pytest.approx(100.0, rel=0.02)
    assert measured.tokens_per_s is not None
    assert measured.tokens_per_s.median == pytest.approx(50.0, rel=0.021)
    assert measured.prompt_tokens_per_s is not None
    assert measured.prompt_tokens_per_s.median == pytest.approx(2000.0, rel=0.02)


async def test_speeds_are_read_again_at_a_start(path: Path) -> None:
    async with opened(path) as room:
        await answered(room, 30)
        await answered(room, 4, task=TALES)
        await answered(room, 2, version=B)
        speeds = room.profiles.speeds
        before = [speeds.get(v, t) for v in (A, B) for t in (SUMS, TALES, GENERAL)]
        people = [speeds.measured(v, t) for v in (A, B) for t in (SUMS, TALES)]
    assert before[0].chars_per_token == pytest.approx((4.0, 4.0), rel=0.02)
    async with opened(path) as room:
        speeds = room.profiles.speeds
        assert [speeds.get(v, t) for v in (A, B) for t in (SUMS, TALES, GENERAL)] == before
        assert [speeds.measured(v, t) for v in (A, B) for t in (SUMS, TALES)] == people


async def test_a_start_reads_the_latest_answers_of_each_cell_and_no_more(room: Room) -> None:
    await answered(room, 5)
    await answered(room, 3, task=TALES)
    rows = await room.database.read("latest_timed", (100, 2))
    assert [(row[1], row[2]) for row in rows] == [
        (SUMS, 1203.0), (SUMS, 1204.0), (TALES, 1201.0), (TALES, 1202.0),
    ]  # fmt: skip
    rows = await room.database.read("latest_timed", (4, 2))
    assert [(row[1], row[2]) for row in rows] == [
        (SUMS, 1204.0), (TALES, 1201.0), (TALES, 1202.0),
    ]  # fmt: skip


async def test_cases_that_were_run_here_are_timed_and_those_run_elsewhere_are_not(
    path: Path,
) -> None:
    async with opened(path) as room:
        for number in range(5):
            await case_ran(room, number, 500.0 + number)
        await case_ran(room, 9, 9_000.0, origin="hou_elsewhere")
        rows = await room.database.read("latest_timed_cases", (100, 3))
        assert [row[2] for row in rows] == [502.0, 503.0, 504.0]
    async with opened(path) as room:
        speed = room.profiles.speeds.get(A, SUMS)
    assert speed.timed == 5
    assert speed.slow_ms == pytest.approx(504.0, rel=0.02)


async def test_what_is_forgotten_is_not_timed_after_a_start_either(path: Path) -> None:
    async with opened(path) as room:
        await answered(room, 3)
        await room.database.write(
            Statement(query="forget_outcomes", parameters=(SUMS, SUMS, "", ""))
        )
    async with opened(path) as room:
        assert room.profiles.speeds.get(A, SUMS) == NEVER_TIMED
