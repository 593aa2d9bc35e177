"""SIGKILL at every named place of a watched promotion; after a restart it ends as it would have."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest
from tests.story.crashed import newest
from tests.story.stage import name, stage
from tests.story.test_kill_a_rollout import AFTER
from tests.story.test_kill_a_rollout import CASES as OF_ROLLOUTS
from tests.story.watch_crashed import furnish, to_the_end

from arbiter.swap.audit import audit, read_record
from arbiter.swap.crashing import Place
from arbiter.swap.rollout import Phase
from arbiter.swap.watching import TIME_OVER

TIMES = int(os.environ.get("ARBITER_TEST_KILLS", "2"))
"""How often the house is killed at each place; each time with other draws."""

ALARM: dict[str, object] = {}
OVER: dict[str, object] = {"keep_s": 20.0, "holdback": 0.0}
COUNTED: dict[str, object] = {"keep_s": 80.0, "on_drift": "ask"}
"""It goes on for more than a minute, at the end of which it is noted how long is left."""

PLANS = {
    Place.ALARMED: ALARM,
    Place.UNDOING: ALARM,
    Place.UNDONE: ALARM,
    Place.COUNTED: COUNTED,
    Place.RETIRED: OVER,
}

CASES = [(place, number) for place in PLANS for number in range(TIMES)]


def test_a_house_is_killed_equally_often_at_every_place_that_has_a_name() -> None:
    """A new place has to be told when it comes, or this fails."""
    killed = Counter(place for place, _ in (*OF_ROLLOUTS, *CASES))
    assert set(killed) == set(Place)
    assert {place for place, times in killed.items() if times < TIMES} == set()
    assert set(PLANS) >= AFTER


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {}
    for title, plan in (("alarm", ALARM), ("over", OVER), ("counted", COUNTED)):
        made[title] = tmp_path_factory.mktemp(title)
        asyncio.run(furnish(made[title], **plan))
    return made


@pytest.mark.parametrize(("place", "number"), CASES)
async def test_a_house_that_is_killed_there_ends_as_it_would_have(
    furnished: dict[str, Path], tmp_path: Path, place: Place, number: int
) -> None:
    title = {Place.COUNTED: "counted", Place.RETIRED: "over"}.get(place, "alarm")
    await asyncio.to_thread(shutil.copytree, furnished[title] / "data", tmp_path / "data")
    seed = 2 + 2 * number
    words = [str(tmp_path), place.value, "1", str(seed)]
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.story.watch_crashed", *words
    )
    assert await child.wait() == -signal.SIGKILL

    await to_the_end(tmp_path, seed=seed + 1)

    async with stage(tmp_path / "data", seed=1_000) as play:
        found = await newest(play)
        assert found is not None
        record = await read_record(found.rollout.id, play.house.database, play.house.ledger)
        assert audit(record).differs is None
        assert (await play.house.ledger.verify()).bad is None
        following = record.following
        assert following is not None
        is_alarm = PLANS[place] is ALARM
        phases = [entry.phase for entry in record.log]
        assert phases.count(Phase.UNDONE) == is_alarm
        assert found.rollout.phase is (Phase.UNDONE if is_alarm else Phase.PROMOTED)
        assert following.watch.why == (found.rollout.reason if is_alarm else TIME_OVER)
        told = [str(note["kind"]) for note in following.notes]
        drifted = ["rollout.drifted"] if PLANS[place] is not OVER else []
        assert told == drifted + ([] if is_alarm else ["rollout.retired"])
        moves = await play.house.registry.moves(name("primary"))
        assert len(moves) == (3 if is_alarm else 2)
        resolve = play.house.registry.resolve
        assert resolve(name("primary")) == resolve(name("old" if is_alarm else "new"))
        assert play.house.controller.watching.aliases() == frozenset()
