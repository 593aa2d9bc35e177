"""The slots of an instance, and the line for them: bounded, fair, with an end to every wait.

Whoever finds a slot free and nobody waiting has it at once, and that costs next to nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from math import ceil

from arbiter.clock import Clock
from arbiter.errors import Busy
from arbiter.pool.fairness import Line, Who

LONGEST_RETRY_S = 60
"""Nobody is told to come again later than this."""

_USUAL = 0.2
"""Weight of the latest answer in the mean of how long answers take."""


class SentOn(Exception):
    """Whoever waited here has a slot at another instance of the same version: it is to ask there.

    Never leaves the pool.
    """


class Turns:
    """So many slots, and who waits for one.

    slots: how many may be served at once. bound: how many may wait. wait_s: how long they may.
    """

    def __init__(self, clock: Clock, *, slots: int, bound: int, wait_s: float) -> None:
        self.free = slots
        self.served = 0
        """Slots that were ever given: what a scheduler that is not stuck makes grow."""
        self._slots = slots
        self._bound = bound
        self._wait_s = wait_s
        self._clock = clock
        self._line: Line[asyncio.Future[None]] = Line()
        self._held_s: float | None = None

    def __len__(self) -> int:
        """How many wait."""
        return len(self._line)

    def by_caller(self) -> Mapping[str, int]:
        """How many of each caller wait."""
        return self._line.by_caller()

    def resize(self, slots: int) -> None:
        """Have so many slots from now on. Those that are out stay out until they are given back."""
        self.free += slots - self._slots
        self._slots = slots
        self.wake()

    def bind(self, *, bound: int, wait_s: float) -> None:
        """Have other bounds from now on; who waits already keeps the old ones."""
        self._bound = bound
        self._wait_s = wait_s

    def check(self, who: Who) -> None:
        """Raise `Busy` when the line is full and this caller has no better claim than others.

        Where another caller has more places than this one would, that one's latest gives way.
        """
        if self.free > 0 or len(self._line) < self._bound:
            return
        last = self._line.last_of_many(who)
        if last is None:
            raise self._busy(f"{len(self._line)} requests wait for this model already.")
        if not last.done():
            last.set_exception(self._busy("Others wait for this model too, and with less."))

    def take_free(self) -> bool:
        """A slot at once, if one is free and nobody waits for it; `give` it back."""
        if self.free <= 0 or self._line:
            return False
        self.free -= 1
        self.served += 1
        return True

    async def take(self, who: Who, *, bounded: bool) -> None:
        """A slot; `give` it back. bounded: raise `Busy` when it comes too late."""
        if self.take_free():
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.join(who, turn)
        try:
            if bounded:
                await self._within(turn)
            else:
                await turn
        except BaseException:
            if not self._line.leave(who, turn) and _has_slot(turn):
                self.give()  # it came while the client hung up: the next one's turn
            raise

    async def _within(self, turn: asyncio.Future[None]) -> None:
        timer = asyncio.create_task(self._clock.sleep(self._wait_s))
        try:
            await asyncio.wait({turn, timer}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            await asyncio.gather(timer, return_exceptions=True)
        if not turn.done():
            raise self._busy(f"No slot became free in {self._wait_s:.0f} s.")
        turn.result()

    def give(self) -> None:
        """A slot is free again: whoever's turn it is has it."""
        while self.free >= 0 and (turn := self._line.next()) is not None:
            if not turn.done():
                self.served += 1
                turn.set_result(None)
                return
        self.free += 1

    def wake(self) -> None:
        """Give what is free to whoever waits, which `give` does at once: for the watchdog."""
        while self.free > 0 and self._line:
            self.free -= 1
            self.give()

    def send_on(self) -> bool:
        """Have whoever's turn is next ask elsewhere (`SentOn`). False: nobody waits."""
        while (turn := self._line.next()) is not None:
            if not turn.done():
                turn.set_exception(SentOn())
                return True
        return False

    def held(self, seconds: float) -> None:
        """A slot was held for this long: from that, who is sent away is told when to come again."""
        before = seconds if self._held_s is None else self._held_s
        self._held_s = before + _USUAL * (seconds - before)

    @property
    def retry_after_s(self) -> int:
        """Seconds until whoever came now would have its turn, as far as can be said.

        The mean time that a slot is held, times those before, by the number of slots.
        """
        expected = (self._held_s or 0.0) * (len(self._line) + 1) / self._slots
        return max(1, min(LONGEST_RETRY_S, ceil(expected)))

    def _busy(self, message: str) -> Busy:
        return Busy(message, hint="Try again shortly.", retry_after_s=self.retry_after_s)


def _has_slot(turn: asyncio.Future[None]) -> bool:
    return turn.done() and not turn.cancelled() and turn.exception() is None
