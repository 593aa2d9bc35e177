"""A room of knowledge over a real file, and what its tests put into it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

from msgspec import structs

from arbiter.clock import ManualClock
from arbiter.cost import Figure, Method
from arbiter.events import Announcer
from arbiter.inference import Arm, Considered, Decided, Dropped, Limits, Message, Timings, Usage
from arbiter.knowledge.learning import Learning
from arbiter.knowledge.outcome import Attempt, Outcome, Status
from arbiter.knowledge.outcomes import Outcomes
from arbiter.knowledge.profiles import Profiles
from arbiter.knowledge.retelling import RETOLD
from arbiter.knowledge.rules import Rule, Rules
from arbiter.knowledge.tasks import (
    Case,
    Grading,
    Task,
    Tasks,
    Weights,
)
from arbiter.refs import DecisionId, ModelName, RolloutId, TaskName, VersionId, new_id
from arbiter.selection.bandit import Table
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


PREFER_FAST = Rule(task=SUMS, prefer=ModelName("fast"), why="it is quick")


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


def ended(room: Room, of: Decided, **changes: object) -> None:
    room.outcomes.begin(of, caller="local")
    room.clock.jump(1.5)
    room.outcomes.end(of, outcome(of, **changes), caller="local")


def graded_answers(room: Room, numbers: Sequence[int], grade: float) -> None:
    for number in numbers:
        room.clock.jump(1.0)
        of = plain(number, task=SUMS, version=A)
        room.outcomes.begin(of, caller="local")
        room.outcomes.end(of, outcome(of, version=A, grade=grade), caller="local")
