"""How long checking a ledger of 10,000 entries takes, and what writing one entry costs."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from bench.figures import Figure, median

from arbiter.clock import SystemClock
from arbiter.ledger import Kind, Ledger, Note
from arbiter.registry.agreement import BESIDE_LEDGER
from arbiter.storage.sqlite import open_sqlite

AREA = "ledger"
ENTRIES = 10_000
AT_ONCE = 500
WHY = "0.94 of the old version's quality at the worst, after 240 conversations: not worse"


def _note(number: int) -> Note:
    """A step of a rollout, of ordinary length; every second time a name that was forgotten."""
    if number % 2:
        body = {"name": f"bird-{number}", "from": f"sha256:{number:064x}", "to": None, "why": WHY}
        return Note(kind=Kind.NAME_REMOVED, who="operator", body=body)
    return Note(
        kind=Kind.ROLLOUT_STEPPED,
        who="arbiter",
        body={
            "rollout": f"rol_{number:026}",
            "alias": "primary",
            "stable": f"sha256:{number:064x}",
            "candidate": f"sha256:{number + 1:064x}",
            "plan": f"sha256:{number + 2:064x}",
            "step": 2,
            "weight": 0.2,
            "reason": WHY,
            "evidence": {"n_stable": 120, "n_candidate": 30, "ratio": 0.987, "e_worse": 0.4},
        },
    )


async def measure(rounds: int) -> list[Figure]:
    """Write the entries to a file, and check them from it this many times."""
    took: list[float] = []
    with tempfile.TemporaryDirectory(prefix="arbiter-bench-") as folder:
        base = await open_sqlite(Path(folder) / "arbiter.db")
        ledger = Ledger(base, SystemClock(), beside=BESIDE_LEDGER)
        begun = time.perf_counter()
        for first in range(0, ENTRIES, AT_ONCE):
            await ledger.write(notes=[_note(first + number) for number in range(AT_ONCE)])
        writing = time.perf_counter() - begun
        alone: list[float] = []
        for _ in range(rounds):
            begun = time.perf_counter()
            verdict = await ledger.verify()
            took.append(time.perf_counter() - begun)
            if verdict.bad is not None or verdict.good != ENTRIES:
                raise RuntimeError(f"the ledger is not good: {verdict}")
        for number in range(20 * rounds):
            begun = time.perf_counter()
            await ledger.write(notes=[_note(number)])
            alone.append(time.perf_counter() - begun)
        await base.close()
    how = f"{ENTRIES} entries of rollouts' steps and of names in a file"
    return [
        Figure(area=AREA, name=f"verify {ENTRIES} entries", value=median(took), unit="s",
               target=0.5, method=f"{how}; median of {rounds}, wall clock, reading included"),
        Figure(area=AREA, name="write one entry", value=median(alone) * 1e3, unit="ms",
               method=f"median of {len(alone)}, wall clock, fsync included"),
        Figure(area=AREA, name="CPU and disk an entry, written together",
               value=writing / ENTRIES * 1e3, unit="ms",
               method=f"{how}, {AT_ONCE} a commit; wall clock"),
    ]  # fmt: skip
