"""Every figure that the docs quote, measured here and now: `make bench`.

    python -m bench.run [--json] [--out FILE] [--only AREA ...] [--quick]

Prints a table, or with ``--json`` one document with the machine, every figure, its target and its
method. Writes nothing unless ``--out`` names a file. Takes about five minutes; a figure beyond its
target is marked, and the exit status stays 0: a busy machine is no fault of the program's.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import uvloop
from bench import (
    acquiring,
    decision,
    discovery,
    evidence,
    guessing,
    ledger,
    loading,
    proxy,
    soak,
    start,
    storage,
)
from bench.figures import Figure, Missing, machine

NO_LLAMA = 'llama.cpp is not installed: pip install "arbiter-house[llama]"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much is measured. `THOROUGH` takes about five minutes, `QUICK` a tenth of that."""

    starts: int
    rounds: int
    requests: int
    picks: int
    guesses: int
    units: int
    outcomes: int
    loads: int
    soak: int
    takes: int


THOROUGH = Effort(
    starts=5,
    rounds=11,
    requests=400,
    picks=3000,
    guesses=200,
    units=1000,
    outcomes=20_000,
    loads=3,
    soak=200_000,
    takes=20_000,
)
QUICK = Effort(
    starts=1,
    rounds=3,
    requests=60,
    picks=300,
    guesses=40,
    units=200,
    outcomes=2_000,
    loads=1,
    soak=4_000,
    takes=2_000,
)

Found = list[Figure | Missing]


def _has_llama() -> bool:
    return importlib.util.find_spec("xllamacpp") is not None


async def _start(effort: Effort) -> Found:
    return [*await start.measure(effort.starts)]


async def _discovery(effort: Effort) -> Found:
    if not _has_llama():
        return [Missing(area=discovery.AREA, why=NO_LLAMA)]
    return [*await discovery.measure(effort.starts)]


async def _request(effort: Effort) -> Found:
    real = _has_llama()
    figures = await proxy.measure(rounds=effort.rounds, count=effort.requests, real=real)
    return [*figures] if real else [*figures, Missing(area=proxy.AREA, why=NO_LLAMA)]


async def _decision(effort: Effort) -> Found:
    return [*decision.measure(effort.picks)]


async def _guessing(effort: Effort) -> Found:
    return [*guessing.measure(effort.guesses)]


async def _statistics(effort: Effort) -> Found:
    return [*evidence.measure(effort.units, effort.rounds)]


async def _storage(effort: Effort) -> Found:
    return [*await storage.measure(effort.outcomes)]


async def _ledger(effort: Effort) -> Found:
    return [*await ledger.measure(effort.rounds)]


async def _worker(effort: Effort) -> Found:
    if not _has_llama():
        return [Missing(area=loading.AREA, why=NO_LLAMA)]
    return [*await loading.measure(effort.loads)]


async def _soak(effort: Effort) -> Found:
    return [*await soak.measure(effort.soak)]


async def _pool(effort: Effort) -> Found:
    real = _has_llama()
    figures = await acquiring.measure(takes=effort.takes, loads=7 * effort.loads, real=real)
    return [*figures] if real else [*figures, Missing(area=acquiring.AREA, why=NO_LLAMA)]


AREAS: dict[str, Callable[[Effort], Awaitable[Found]]] = {
    start.AREA: _start,
    discovery.AREA: _discovery,
    proxy.AREA: _request,
    decision.AREA: _decision,
    guessing.AREA: _guessing,
    evidence.AREA: _statistics,
    storage.AREA: _storage,
    ledger.AREA: _ledger,
    loading.AREA: _worker,
    soak.AREA: _soak,
    acquiring.AREA: _pool,
}


def _row(figure: Figure) -> str:
    bound = "at least" if figure.more_is_better else "at most"
    goal = "" if figure.target is None else f"{bound} {figure.target:g}"
    mark = {None: "", True: "ok", False: "BEYOND"}[figure.is_met]
    return f"  {figure.name:58} {figure.value:>10.4g} {figure.unit:6} {goal:14} {mark}".rstrip()


def table(found: Sequence[Figure | Missing], place: dict[str, object]) -> str:
    """The figures for people."""
    lines = [
        (
            f"{place['processor']}, {place['cores']} cores, load {place['load_1min']}; "
            f"{place['system']}; Python {place['python']}; SQLite {place['sqlite']}"
        )
    ]
    area = ""
    for one in found:
        if one.area != area:
            area = one.area
            lines += ["", area]
        lines.append(_row(one) if isinstance(one, Figure) else f"  not measured: {one.why}")
    return "\n".join(lines)


def document(found: Sequence[Figure | Missing], place: dict[str, object]) -> str:
    """The figures for programs."""
    return json.dumps(
        {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": place,
            "figures": [one.to_plain() for one in found if isinstance(one, Figure)],
            "not_measured": [asdict(one) for one in found if isinstance(one, Missing)],
        },
        indent=2,
    )


async def _measure(areas: Sequence[str], effort: Effort) -> Found:
    found: Found = []
    for area in areas:
        print(f"measuring: {area} ...", file=sys.stderr)
        found += await AREAS[area](effort)
    return found


def main() -> None:
    """Measure and tell."""
    parser = argparse.ArgumentParser(prog="make bench", description="Measure Arbiter.")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--out", type=Path, help="also write the JSON document to this file")
    parser.add_argument("--only", nargs="+", choices=tuple(AREAS), default=tuple(AREAS))
    parser.add_argument("--quick", action="store_true", help="a look in half a minute, no proof")
    chosen = parser.parse_args()
    place = machine()
    found = uvloop.run(_measure(chosen.only, QUICK if chosen.quick else THOROUGH))
    print(document(found, place) if chosen.json else table(found, place))
    if chosen.out is not None:
        chosen.out.write_text(document(found, place) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
