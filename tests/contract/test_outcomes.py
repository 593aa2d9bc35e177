"""Decisions and outcomes over a real file: what is said is what is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.contract.knowledge_room import Room, decided, decision, ended, opened, outcome, plain

from arbiter.cost import unknown
from arbiter.errors import UnknownDecision
from arbiter.inference import Decided, Timings, Usage
from arbiter.knowledge.outcome import Feedback, Record, Status
from arbiter.knowledge.outcomes import OPEN, RECENT
from arbiter.refs import GENERAL
from arbiter.storage.database import Statement

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
    for number in range(RECENT + 1):
        ended(room, plain(number))
    assert len(room.outcomes._recent) == RECENT
    # though the disk may not have the first one yet
    assert (await room.outcomes.find(decision(0))).outcome == outcome(plain(0))


async def test_a_request_is_known_for_as_long_as_it_runs_whatever_ends_meanwhile(
    room: Room,
) -> None:
    room.outcomes.begin(plain(0), caller="local")
    for number in range(1, RECENT + 2):
        ended(room, plain(number))
    assert (await room.outcomes.find(decision(0))).decided == plain(0)


async def test_requests_that_never_end_do_not_grow_memory(room: Room) -> None:
    for number in range(OPEN + 1):
        room.outcomes.begin(plain(number), caller="local")
    with pytest.raises(UnknownDecision):
        await room.outcomes.find(decision(0))
    assert (await room.outcomes.find(decision(1))).decided == plain(1)


async def test_requests_that_outlast_thousands_of_others_do_not_grow_memory(room: Room) -> None:
    # Each of them left one more decision in memory, for ever.
    for number in range(OPEN + 20):
        room.outcomes.begin(plain(number), caller="local")
    for number in range(20):
        room.outcomes.end(plain(number), outcome(plain(number)), caller="local")
    assert (len(room.outcomes._open), len(room.outcomes._recent)) == (OPEN, 20)
