"""How often cases are run again for nothing, how often that accuses an innocent, and what it finds.

The pool is that of `tests/pure/test_replay.py`. Draws are new ones each time: a model that gives
the same answers to the same cases is never accused by them.
"""

from __future__ import annotations

import pytest
from tests.calibration.bounds import at_most
from tests.pure.test_replay import S5

from arbiter.studies.pools import parse_pool
from arbiter.studies.replay import Break, Plan, replay, replay_break

pytestmark = pytest.mark.calibration

SEEDS, REQUESTS, JUDGED = 20, 3000, 0.5
MOST_TIMES = 0.01
"""How often cases are run again for nothing, for each judged answer, at most."""


def told(found: object, what: str) -> float:
    assert isinstance(found, dict)
    return float(found[what]["mean"])


def test_a_house_in_which_nothing_falls_seldom_runs_cases_again_and_seldom_accuses() -> None:
    plan = Plan(requests=REQUESTS, feedback=JUDGED, seeds=SEEDS, first=5000)
    found = replay(parse_pool(S5, source="s5.csv"), plan)["run_again"]
    times = round(told(found, "times") * SEEDS)
    assert 0 < times < MOST_TIMES * SEEDS * REQUESTS * JUDGED
    assert round(told(found, "falls") * SEEDS) <= at_most(times, 0.2)


@pytest.mark.parametrize(
    "version", ["llama-3.1-8b-instruct", "gemma-2-9b-it", "qwen2.5-7b-instruct"]
)
def test_a_version_that_breaks_has_lost_nine_tenths_of_its_traffic_after_a_thousand_requests(
    version: str,
) -> None:
    plan = Plan(feedback=0.5, seeds=SEEDS, first=5000)
    broken = Break(version=version, to=0.45, at=2500)
    found = replay_break(parse_pool(S5, source="s5.csv"), plan, broken)["share"]
    assert isinstance(found, dict)
    assert found["1000"]["mean"] - 2 * found["1000"]["se"] <= 0.10
