"""Who drives a rollout: one holder of a row in the database, and nobody else.

No clock of one machine is compared with that of another. The row has a beat, which the holder
raises; whoever sees the same beat for `LEASE_S` by its own clock may take the lease over, and the
database lets exactly one do so. That a holder has lost it is not left to its clock either: each
write about a rollout raises the beat first, in the same transaction, so that what a former holder
still decides is refused as a whole. Clocks decide when somebody else goes on, never whether two do.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from arbiter.clock import Clock
from arbiter.errors import Conflict, StorageError
from arbiter.refs import RolloutId
from arbiter.storage.database import Database, Statement

LEASE_S = 15.0
"""A beat that stands still this long has expired."""

RENEW_S = 3.0
"""How often the holder raises it."""


def elsewhere() -> Conflict:
    """What to say when somebody else holds the lease."""
    return Conflict(
        "Another house drives this rollout.",
        hint=f"Say it there, or wait {LEASE_S:.0f} s if that house is gone.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Leases:
    """What every lease of one house has in common.

    holder: this house, unlike any other and unlike itself before a restart.
    is_sole: nobody else can have the database open, so whoever held a lease when it was opened is
        gone.
    """

    holder: str
    is_sole: bool
    database: Database
    clock: Clock

    def of(self, rollout: RolloutId) -> Lease:
        """The lease of a rollout, which is not held yet."""
        return Lease(rollout, self)


class Lease:
    """One rollout's lease as one house sees it."""

    def __init__(self, rollout: RolloutId, house: Leases) -> None:
        self.is_mine = False
        """Whether it is held, as far as this house knows; the database knows better."""
        self._rollout = rollout
        self._holder = house.holder
        self._is_sole = house.is_sole
        self._database = house.database
        self._clock = house.clock
        self._renewed = 0.0
        self._seen: tuple[int, float] | None = None

    def taking(self, beat: int = 0) -> Statement:
        """The row of this holder, unless the beat is another one by now. 0: there is no row."""
        return Statement(
            query="take_lease", parameters=(self._rollout, self._holder, beat), must_change=True
        )

    def fence(self) -> Statement:
        """To stand first in every write about the rollout: refused when the lease is lost."""
        return Statement(
            query="hold_lease", parameters=(self._rollout, self._holder), must_change=True
        )

    def dropping(self) -> Statement:
        """To stand in the write that ends the rollout."""
        return Statement(query="drop_lease", parameters=(self._rollout, self._holder))

    def taken(self) -> None:
        """Its row was written."""
        self.is_mine, self._renewed = True, self._clock.monotonic()
        self._is_sole = False

    def doubt(self) -> None:
        """A write was refused: look before the next one."""
        self.is_mine, self._seen = False, None

    async def ensure(self) -> bool:
        """Whether this house may act: renewed when it is time, taken over when it has expired.

        Raises `StorageError`.
        """
        if self.is_mine:
            if self._clock.monotonic() - self._renewed >= RENEW_S:
                await self._write(self.fence())
            return self.is_mine
        rows = await self._database.read("get_lease", (self._rollout,))
        if not rows:
            await self._write(self.taking())
            return self.is_mine
        holder, beat = str(rows[0][0]), int(rows[0][1] or 0)
        now = self._clock.monotonic()
        if self._seen is None or self._seen[0] != beat:
            self._seen = beat, now
        # true of who was there before; whoever takes it later is there after all
        is_left, self._is_sole = self._is_sole, False
        if holder == self._holder or is_left or now - self._seen[1] >= LEASE_S:
            await self._write(self.taking(beat))
        return self.is_mine

    async def _write(self, statement: Statement) -> None:
        written = await self._database.write(statement)
        if written.applied:
            self.taken()
        else:
            self.doubt()

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Renew it meanwhile, for work that takes longer than a lease."""
        renewing = asyncio.create_task(self._renew(), name=f"lease of {self._rollout}")
        try:
            yield
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)

    async def _renew(self) -> None:
        while self.is_mine:
            await self._clock.sleep(RENEW_S)
            try:
                await self._write(self.fence())
            except StorageError:
                continue  # not renewed, so perhaps lost: the next write will tell
