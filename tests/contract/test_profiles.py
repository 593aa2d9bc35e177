"""Profiles: what cases, outcomes and feedback add up to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.contract.knowledge_room import (
    FULL,
    GRADED,
    SUMS,
    TALES,
    A,
    B,
    Room,
    ended,
    opened,
    plain,
)

from arbiter.knowledge.outcome import Status
from arbiter.knowledge.profiles import NOTHING, Profile, Profiles, total
from arbiter.knowledge.tasks import (
    Grading,
    Task,
)
from arbiter.refs import GENERAL
from arbiter.storage.database import Statement


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
