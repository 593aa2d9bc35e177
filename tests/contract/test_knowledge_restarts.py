"""Whatever happens, a restart forgets nothing of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from tests.contract.knowledge_room import SUMS, TALES, A, B, Room, decision, opened, outcome, plain

from arbiter.knowledge.outcome import Attempt, Feedback, Status
from arbiter.knowledge.profiles import Profile
from arbiter.refs import GENERAL, TaskName, VersionId

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
    return structs.replace(cell, graded=round(cell.graded, 9), quality=round(cell.quality, 9))


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
