"""Hears judgements: a unit that waits for one gets its score, or nothing once it is too late."""

from __future__ import annotations

import asyncio
from typing import Protocol

from arbiter.clock import Clock
from arbiter.refs import DecisionId
from arbiter.storage.database import Database, Statement
from arbiter.swap.judging import Waits


class Waiting(Protocol):
    """What has units that wait to be judged: a rollout, or a watched promotion."""

    @property
    def waits(self) -> Waits:
        """Those units."""
        ...

    def judging(self, position: int, *, at: str, is_late: bool) -> Statement:
        """Writes what became of one of them, once and for all."""
        ...

    def judged(self, decision: DecisionId, score: float | None) -> None:
        """It is written; None: nobody judged it, and that counts for nothing."""
        ...


class Hearing:
    """Writes judgements down, and tells whoever waits for them."""

    def __init__(self, *, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def look(self, waiting: Waiting, elapsed_s: float) -> None:
        """Those that were judged before they waited have their score, and the late ones theirs.

        elapsed_s: seconds of monotonic time since the last look.
        """
        for decision in waiting.waits.expected():
            await self.judge(waiting, decision)
        for decision in waiting.waits.late(elapsed_s):
            await self.judge(waiting, decision, is_late=True)

    async def judge(self, waiting: Waiting, decision: DecisionId, *, is_late: bool = False) -> None:
        """Give a unit that waits its score, if there is one by now. is_late: it waits no longer."""
        wait = waiting.waits.get(decision)
        if wait is None:
            return
        at = self._clock.now().isoformat()
        statement = waiting.judging(wait.row[0], at=at, is_late=is_late)
        # what is written is told, also where whoever judged has gone meanwhile: written twice it
        # tells nothing, and the unit would wait, and all behind it, until the next start
        await asyncio.shield(self._judge(waiting, decision, statement))

    async def _judge(self, waiting: Waiting, decision: DecisionId, statement: Statement) -> None:
        written = await self._database.write(statement)
        for (score,) in written.rows[0]:
            waiting.judged(decision, None if score is None else float(score))
