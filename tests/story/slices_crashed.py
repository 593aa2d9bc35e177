"""Two models that take turns in memory for one, in a process that kills itself at a named place.

python -m tests.story.slices_crashed FOLDER PLACE NTH SEED
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.story.crashed import killer, newest
from tests.story.stage import Stage, name, stage, task

from arbiter.engines.scripted import Scripted
from arbiter.refs import RolloutId
from arbiter.swap.crashing import Crash, Place
from arbiter.swap.rollout import Phase

ONE_MB = 60
"""Memory for one scripted model: each is planned with little over 40 MB."""

TICKS = 4
"""Looks in a window of a second."""

WINDOWS: dict[str, object] = {
    "apart": "slices",
    "slice_s": 1.0,
    "steps": [0.4, 0.5],
    "unproven_first_step": 0.4,
}
MOST = 2_000


@asynccontextmanager
async def narrow(
    folder: Path,
    *,
    seed: int = 7,
    crash: Crash | None = None,
    engine: Scripted | None = None,
    slots: int = 4,
    queue: int = 256,
) -> AsyncIterator[Stage]:
    """A house with memory for one of its models."""
    async with stage(
        folder / "data",
        seed=seed,
        crash=crash,
        engine=engine,
        pool__memory_mb=ONE_MB,
        pool__slots=slots,
        pool__queue=queue,
    ) as play:
        yield play


async def furnish(folder: Path, *, new: float = 0.97) -> None:
    """An alias, and a model that it may be swapped to."""
    async with narrow(folder) as play:
        await play.house.admission.add_task(task("chat", cases=10))
        await play.add("old", {"chat case": 0.9, "chat live": 0.6})
        await play.add("new", {"chat case": 0.9, "chat live": new})
        await play.alias("primary", "old")


async def turns(play: Stage, rollout: RolloutId, *, most: int = MOST) -> None:
    """Traffic at every look, until the rollout is over or there have been so many looks."""
    for _ in range(most):
        await play.ask()
        await play.tick()
        if play.house.controller.active(name("primary")) is None:
            return
    raise AssertionError(f"no end: {await play.house.controller.find(rollout)}")


async def to_the_end(folder: Path, *, seed: int, crash: Crash | None = None) -> RolloutId:
    """Go on from wherever it is until the rollout is over."""
    async with narrow(folder, seed=seed, crash=crash) as play:
        play.asked = 10_000 * seed  # no conversation of an earlier life comes again
        found = await newest(play)
        if found is None:
            rollout = await play.swap("primary", "new", **WINDOWS)
        else:
            rollout = found.rollout.id
        while (await play.house.controller.find(rollout)).rollout.phase is Phase.VALIDATING:
            await play.house.database.settle()
        if play.house.controller.active(name("primary")) is not None:
            await turns(play, rollout)
        return rollout


if __name__ == "__main__":
    asyncio.run(
        to_the_end(
            Path(sys.argv[1]),
            seed=int(sys.argv[4]),
            crash=killer(Place(sys.argv[2]), int(sys.argv[3])),
        )
    )
