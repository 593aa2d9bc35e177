"""A promotion that is watched, in a process that kills itself at a named place of it.

python -m tests.story.watch_crashed FOLDER PLACE NTH SEED
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.story.crashed import killer
from tests.story.stage import Stage, stage, task

from arbiter.refs import RolloutId
from arbiter.swap.crashing import Crash, Place
from arbiter.swap.driving import TICK_S
from arbiter.swap.watching import LOOK_S

MOST = 600


async def furnish(folder: Path, **plan: object) -> RolloutId:
    """A house in which `new` was just promoted, and is bad at whatever is called `late`."""
    async with stage(folder / "data") as play:
        for title in ("chat", "late"):
            await play.house.admission.add_task(task(title, cases=0))
        await play.add("old", {"chat": 0.75, "late": 0.9})
        await play.add("new", {"chat": 0.97, "late": 0.1})
        await play.alias("primary", "old")
        shares = {"steps": [0.4, 0.5], "unproven_first_step": 0.4}
        rollout = await play.swap(
            "primary", "new", **{"holdback": 0.5, "alpha_drift": 0.01, **shares, **plan}
        )
        await play.live(rollout)
        return rollout


async def to_the_end(folder: Path, *, seed: int, crash: Crash | None = None) -> None:
    """Go on from wherever it is until the promotion is watched no longer."""
    async with stage(folder / "data", seed=seed, crash=crash) as play:
        play.asked = 10_000 * seed  # no conversation of an earlier life comes again
        # both have to be in memory again before anybody is held back
        for title in ("old", "new"):
            await play.ask("late", model=title)
        for number in range(MOST):
            if not play.house.controller.watching.aliases():
                return
            await play.ask("late")
            if number % 5 == 4:
                await _look(play)


async def _look(play: Stage) -> None:
    play.clock.jump(LOOK_S - TICK_S)
    await play.tick()


if __name__ == "__main__":
    asyncio.run(
        to_the_end(
            Path(sys.argv[1]),
            seed=int(sys.argv[4]),
            crash=killer(Place(sys.argv[2]), int(sys.argv[3])),
        )
    )
