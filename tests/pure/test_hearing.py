"""A judgement that is being written, and whoever gave it."""

from __future__ import annotations

import asyncio
from typing import cast

from arbiter.clock import ManualClock
from arbiter.refs import DecisionId, RolloutId
from arbiter.storage.database import Database, Statement, Written
from arbiter.swap.basis import UnitRow
from arbiter.swap.hearing import Hearing
from arbiter.swap.judging import Wait, Waits, judging

ROW: UnitRow = (3, "u", "chat", "stable", 0.9, None, "answered", 10.0)
ONE = DecisionId("dec_1")


class SlowDatabase:
    """Writes when it is let."""

    def __init__(self) -> None:
        self.has_begun, self.may_end = asyncio.Event(), asyncio.Event()

    async def write(self, *_: Statement) -> Written:
        self.has_begun.set()
        await self.may_end.wait()
        return Written(applied=True, rows=(((1.0,),),))


class Unit:
    """One that waits to be judged."""

    def __init__(self) -> None:
        self.waits = Waits()
        self.waits.add(ONE, Wait(row=ROW, left_s=9.0))
        self.told: asyncio.Future[tuple[DecisionId, float | None]] = asyncio.Future()

    def judging(self, position: int, *, at: str, is_late: bool) -> Statement:
        return judging(RolloutId("rol_1"), position, at=at, is_late=is_late)

    def judged(self, decision: DecisionId, score: float | None) -> None:
        self.told.set_result((decision, score))


async def test_what_is_written_is_told_though_whoever_judged_has_gone() -> None:
    slow, unit = SlowDatabase(), Unit()
    hearing = Hearing(database=cast("Database", slow), clock=ManualClock())
    asked = asyncio.create_task(hearing.judge(unit, ONE))
    await slow.has_begun.wait()
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    slow.may_end.set()
    assert await asyncio.wait_for(unit.told, 5) == (ONE, 1.0)
