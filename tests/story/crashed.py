"""A swap to its end and back, in a process that kills itself at a named place of it.

python -m tests.story.crashed FOLDER PLACE NTH SEED CANDIDATE
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from tests.story.stage import Stage, name, stage, task

from arbiter.refs import RolloutId
from arbiter.swap.crashing import Crash, Place
from arbiter.swap.driving import SAVE_EVERY
from arbiter.swap.records import Stored
from arbiter.swap.rollout import Phase

ACCURACY = {"old": 0.75, "better": 0.97, "worse": 0.3}
MOST = 4_000


async def furnish(folder: Path) -> None:
    """A house with an alias and two models that it may be swapped to."""
    async with stage(folder / "data") as play:
        await play.house.admission.add_task(task("chat", cases=10))
        for title, accuracy in ACCURACY.items():
            await play.add(title, {"chat case": 0.9, "chat live": accuracy})
        await play.alias("primary", "old")


def killer(place: Place, nth: int) -> Crash:
    """SIGKILL this process when the place is reached for the nth time."""
    left = nth

    def reached(at: Place) -> None:
        nonlocal left
        left -= at is place
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return reached


async def newest(play: Stage) -> Stored | None:
    """The only rollout there is, if there is one yet."""
    return next(iter(await play.house.controller.list()), None)


async def to_the_end(
    folder: Path, candidate: str, *, seed: int, crash: Crash | None = None
) -> RolloutId:
    """Go on from wherever it is until the rollout is over, and take a promotion back."""
    async with stage(folder / "data", seed=seed, crash=crash) as play:
        play.asked = 10_000 * seed  # no conversation of an earlier life comes again
        found = await newest(play)
        if found is None:
            begun = await play.house.swap(
                "primary",
                candidate,
                soak_s=0.0,
                steps=[0.4, 0.5],
                unproven_first_step=0.4,
                shadow=0.3,
            )
            rollout = begun.rollout.id
        else:
            rollout = found.rollout.id
        while await _phase(play, rollout) is Phase.VALIDATING:
            await play.house.database.settle()
        if play.house.controller.active(name("primary")) is not None:
            await play.tick(SAVE_EVERY)  # so that its times are noted, however soon it is over
            await play.live(rollout, most=MOST)
        if await _phase(play, rollout) is Phase.PROMOTED:
            await play.house.undo("primary", why="to see that it can be")
        return rollout


async def _phase(play: Stage, rollout: RolloutId) -> Phase:
    return (await play.house.controller.find(rollout)).rollout.phase


if __name__ == "__main__":
    asyncio.run(
        to_the_end(
            Path(sys.argv[1]),
            sys.argv[5],
            seed=int(sys.argv[4]),
            crash=killer(Place(sys.argv[2]), int(sys.argv[3])),
        )
    )
