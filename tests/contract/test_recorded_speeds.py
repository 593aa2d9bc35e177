"""How fast versions are, by the record."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from msgspec import structs
from tests.contract.knowledge_room import GRADED, SUMS, TALES, A, B, Room, ended, opened, plain

from arbiter.inference import Timings, Usage
from arbiter.knowledge.outcome import Status
from arbiter.knowledge.speed import NEVER_TIMED
from arbiter.refs import GENERAL, DecisionId, TaskName, VersionId, new_id
from arbiter.storage.database import Statement


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
