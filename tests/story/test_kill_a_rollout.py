"""SIGKILL at every named place of a rollout; after a restart it ends as it would have."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest
from tests.story.crashed import furnish, newest, to_the_end
from tests.story.stage import name, stage

from arbiter.swap.audit import audit, read_record
from arbiter.swap.crashing import Place
from arbiter.swap.rollout import Phase

TIMES = int(os.environ.get("ARBITER_TEST_KILLS", "2"))
"""How often the house is killed at each place; each time with other draws."""

ONCE = {Place.STARTED, Place.VALIDATING, Place.BEGINNING, Place.MOVED, Place.UNDOING, Place.UNDONE}
ONLY_BETTER = {Place.MOVED, Place.NOTED, Place.UNDOING, Place.UNDONE}


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("furnished")
    asyncio.run(furnish(folder))
    return folder


def case(place: Place, number: int) -> tuple[str, int]:
    """The candidate, and which visit to the place is the last.

    A better one comes to two steps and a promotion, a worse one to a rollback.
    """
    candidate = "better" if number % 2 == 0 or place in ONLY_BETTER else "worse"
    if place in ONCE:
        return candidate, 1
    if place is Place.NOTED or candidate == "worse":
        return candidate, 1 + (place in {Place.WRITTEN, Place.ANNOUNCED} and number % 4 == 1)
    return candidate, 1 + number // 2 % 3


AFTER = {Place.ALARMED, Place.COUNTED, Place.RETIRED}
"""Places that a rollout comes to only once it was promoted: see test_kill_a_watch.py."""

CASES = [(place, number) for place in Place if place not in AFTER for number in range(TIMES)]


@pytest.mark.parametrize(("place", "number"), CASES)
async def test_a_house_that_is_killed_there_ends_as_it_would_have(
    furnished: Path, tmp_path: Path, place: Place, number: int
) -> None:
    candidate, nth = case(place, number)
    await asyncio.to_thread(shutil.copytree, furnished / "data", tmp_path / "data")
    seed = 2 + 2 * number
    words = [str(tmp_path), place.value, str(nth), str(seed), candidate]
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.story.crashed", *words
    )
    assert await child.wait() == -signal.SIGKILL

    rollout = await to_the_end(tmp_path, candidate, seed=seed + 1)

    async with stage(tmp_path / "data", seed=1_000) as play:
        found = await newest(play)
        assert found is not None
        assert found.rollout.id == rollout
        record = await read_record(rollout, play.house.database, play.house.ledger)
        assert audit(record).differs is None
        assert (await play.house.ledger.verify()).bad is None
        expected = Phase.UNDONE if candidate == "better" else Phase.ROLLED_BACK
        phases = [entry.phase for entry in record.log]
        assert (found.rollout.phase, phases[-1]) == (expected, expected)
        assert phases.count(Phase.PROMOTED) == (candidate == "better")
        moves = await play.house.registry.moves(name("primary"))
        assert len(moves) == (3 if candidate == "better" else 1)
        resolve = play.house.registry.resolve
        assert resolve(name("primary")) == resolve(name("old"))
        assert await play.house.database.read("get_lease", (rollout,)) == []
