"""How fast outcomes become durable through group commit, and what each takes on disk."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from random import Random

from bench.figures import Figure

from arbiter.clock import SystemClock
from arbiter.cost import Figure as Cost
from arbiter.cost import Method
from arbiter.events import Announcer
from arbiter.inference import Arm, Considered, Decided, Timings, Usage
from arbiter.knowledge.learning import Learning
from arbiter.knowledge.outcome import Outcome, Status
from arbiter.knowledge.outcomes import Outcomes
from arbiter.knowledge.profiles import Profiles
from arbiter.refs import GENERAL, DecisionId, ModelName, VersionId, new_id
from arbiter.selection.bandit import Table
from arbiter.storage.sqlite import open_sqlite

AREA = "storage"
SEED = 20260101
AT_ONCE = 500
VERSION = VersionId("sha256:" + "ab" * 32)
WHY = "bench scores 0.500 on general: 0.5 until 10 samples, has 4; nothing else can serve it"


def _decided(clock: SystemClock, dice: Random) -> Decided:
    return Decided(
        decision=DecisionId(new_id("dec", now=clock.now(), dice=dice)),
        task=GENERAL,
        alias=ModelName("bench"),
        version=VERSION,
        arm=Arm.NONE,
        reason=WHY,
        probability=1.0,
        scores=(
            Considered(
                name=ModelName("bench"),
                version=VERSION,
                score=0.5,
                explanation="0.5 until 10 samples, has 4",
            ),
        ),
    )


def _outcome(decided: Decided) -> Outcome:
    return Outcome(
        decision=decided.decision,
        task=GENERAL,
        version=VERSION,
        status=Status.SUCCESS,
        latency_ms=12.25,
        ttft_ms=3.5,
        usage=Usage(prompt_tokens=20, completion_tokens=8, cached_tokens=0),
        timings=Timings(prefill_ms=1.5, decode_ms=8.5),
        cpu=Cost(value=10.5, method=Method.MEASURED),
    )


async def measure(count: int) -> list[Figure]:
    """Record this many outcomes as the request path does, and wait until all are on disk."""
    clock, dice = SystemClock(), Random(SEED)
    with tempfile.TemporaryDirectory(prefix="arbiter-bench-") as folder:
        path = Path(folder) / "arbiter.db"
        base = await open_sqlite(path)
        profiles = Profiles(base, lambda _: None)
        learning = Learning(
            database=base,
            clock=clock,
            learner=Table(weigh=profiles.weights),
            profiles=profiles,
            announcer=Announcer(),
        )
        outcomes = Outcomes(base, clock, learning)
        empty = path.stat().st_size
        cpu = time.process_time()
        begun = time.perf_counter()
        for number in range(count):
            decided = _decided(clock, dice)
            outcomes.begin(decided, caller="local")
            outcomes.end(decided, _outcome(decided), caller="local")
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
        await base.settle()
        took = time.perf_counter() - begun
        used = time.process_time() - cpu
        dropped = base.dropped
        await base.close()
        size = path.stat().st_size - empty
    if dropped:
        raise RuntimeError(f"{dropped} outcomes were dropped")
    how = f"{count} decisions with their outcomes, enqueued at once, until the last is durable"
    return [
        Figure(area=AREA, name="outcomes a second", value=count / took, unit="/s",
               more_is_better=True, method=f"{how}; wall clock, fsync included"),
        Figure(area=AREA, name="CPU an outcome", value=used / count * 1e3, unit="ms",
               method=f"{how}; process CPU clock: made, queued and written"),
        Figure(area=AREA, name="bytes a request on disk", value=size / count, unit="bytes",
               method=f"{how}; growth of the file after its log was folded in"),
    ]  # fmt: skip
