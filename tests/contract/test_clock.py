"""What a clock promises: the machine's and the manual one pass the same suite."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from arbiter.clock import Clock, ManualClock, SystemClock


@pytest.fixture(params=["machine", "manual"])
def any_clock(request: pytest.FixtureRequest) -> Clock:
    return SystemClock() if request.param == "machine" else ManualClock()


async def noted(clock: Clock, seconds: float, log: list[str], word: str) -> None:
    await clock.sleep(seconds)
    log.append(word)


def test_the_hour_is_told_in_utc(any_clock: Clock) -> None:
    assert any_clock.now().utcoffset() == timedelta(0)


def test_the_stopwatch_never_goes_back(any_clock: Clock) -> None:
    readings = [any_clock.monotonic() for _ in range(100)]
    assert readings == sorted(readings)


@pytest.mark.parametrize("seconds", [0.0, -1.0])
async def test_a_sleep_of_nothing_lets_others_run(any_clock: Clock, seconds: float) -> None:
    # The manual clock went on at once, so a loop that sleeps for nothing held up everybody.
    log: list[str] = []
    other = asyncio.create_task(noted(any_clock, 0.0, log, "other"))
    await any_clock.sleep(seconds)
    await any_clock.sleep(seconds)
    assert log == ["other"]
    await other


async def test_a_sleeper_can_be_cancelled(any_clock: Clock) -> None:
    sleeper = asyncio.create_task(any_clock.sleep(3600.0))
    await asyncio.wait({sleeper}, timeout=0)
    sleeper.cancel()
    assert (await asyncio.wait({sleeper}))[1] == set()
    assert sleeper.cancelled()


async def test_the_machines_sleep_takes_its_time() -> None:
    clock = SystemClock()
    before = clock.monotonic()
    await clock.sleep(0.01)
    assert clock.monotonic() - before >= 0.009


# -- the manual clock alone


def test_the_manual_clock_starts_where_it_is_told() -> None:
    start = datetime(2030, 5, 6, tzinfo=UTC)
    assert ManualClock(start).now() == start


def test_a_jump_moves_both_hands(clock: ManualClock) -> None:
    clock.jump(90.0)
    assert (clock.now() - clock.start, clock.monotonic()) == (timedelta(seconds=90), 90.0)


async def started(*tasks: asyncio.Task[None]) -> None:
    await asyncio.wait(tasks, timeout=0)


async def test_a_jump_wakes_whoever_is_due_in_the_order_of_their_time(clock: ManualClock) -> None:
    log: list[str] = []
    late = asyncio.create_task(noted(clock, 2.0, log, "late"))
    soon = asyncio.create_task(noted(clock, 1.0, log, "soon"))
    also_late = asyncio.create_task(noted(clock, 2.0, log, "also late"))
    await started(late, soon, also_late)
    clock.jump(2.0)
    await asyncio.gather(late, soon, also_late)
    assert log == ["soon", "late", "also late"]


async def test_a_jump_leaves_whoever_is_not_due(clock: ManualClock) -> None:
    sleeper = asyncio.create_task(clock.sleep(2.0))
    await started(sleeper)
    clock.jump(1.9)
    await started(sleeper)
    assert (sleeper.done(), clock.sleepers) == (False, 1)
    clock.jump(0.1)
    await sleeper
    assert clock.sleepers == 0


async def test_a_cancelled_sleeper_is_not_counted_and_not_woken(clock: ManualClock) -> None:
    sleeper = asyncio.create_task(clock.sleep(1.0))
    await started(sleeper)
    sleeper.cancel()
    await asyncio.wait({sleeper})
    assert clock.sleepers == 0
    clock.jump(1.0)
    assert sleeper.cancelled()
