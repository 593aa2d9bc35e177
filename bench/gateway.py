"""The house beside other gateways, in one run: `make bench-gateway`.

    python -m bench.gateway [--json] [--quick] [--no-peers]

One upstream, one client program, rounds that alternate between the gateways; CPU is the kernel's
clock of each gateway's processes, so the ratios hold on a busy machine, and the wall-clock figures
only on a quiet one. The peers store nothing; the house picks, records, learns and measures. Beside
each figure stands its limit, if it has one (`limits.py`), and whether it is met.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import uvloop
from bench.client import Client, Where, chat, load, numbered
from bench.figures import machine, median, quantile
from bench.limits import OURS, judged, table
from bench.peers import Gateway, arbiter, install, litellm, tensorzero, upstream

WORDS = "two three four five six seven eight"
MANY = 32
TOKENS = 8
FEW_WORDS, MORE_WORDS = 8, 408
"""What a word adds is the difference of two streams, divided by that of their words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much is asked. LiteLLM gets a tenth of it: it takes as long."""

    rounds: int
    one: int
    many: int
    soak: int


THOROUGH = Effort(rounds=9, one=400, many=4_000, soak=100_000)
QUICK = Effort(rounds=3, one=60, many=640, soak=2_000)


@dataclass(slots=True)
class Seen:
    """What was measured of one gateway: by round, and the latencies of one client in ms."""

    cpu_one: list[float] = field(default_factory=list)
    cpu_many: list[float] = field(default_factory=list)
    rate: list[float] = field(default_factory=list)
    took: list[float] = field(default_factory=list)
    stream_cpu: list[float] = field(default_factory=list)
    burst_us: list[float] = field(default_factory=list)
    paced_us: list[float] = field(default_factory=list)
    idle_mb: float = 0.0
    after_mb: float | None = None


def message(gateway: Gateway, words: str = WORDS, *, stream: bool = False) -> bytes:
    """The request as bytes."""
    body = chat(gateway.model, words, stream=stream, tokens=TOKENS)
    key = "" if gateway.key is None else f"Authorization: Bearer {gateway.key}\r\n"
    head = (
        f"POST {gateway.path} HTTP/1.1\r\nHost: 127.0.0.1:{gateway.port}\r\n{key}"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _cpu(gateway: Gateway, clients: Sequence[Client], count: int, *, stream: bool) -> float:
    """Milliseconds of CPU for a request."""
    before = gateway.cpu_ns()
    await load(clients, message(gateway, stream=stream), count)
    return (gateway.cpu_ns() - before) / count / 1e6


async def _a_word(gateway: Gateway, clients: Sequence[Client], how: str, count: int) -> float:
    """Microseconds of CPU that one more word of a stream costs."""
    took = []
    for words in (FEW_WORDS, MORE_WORDS):
        sent = message(gateway, f"a {how} of {words} words", stream=True)
        before = gateway.cpu_ns()
        await load(clients, sent, count)
        took.append(gateway.cpu_ns() - before)
    return (took[1] - took[0]) / count / (MORE_WORDS - FEW_WORDS) / 1e3


async def _round(gateway: Gateway, seen: Seen, effort: Effort) -> None:
    share = 10 if gateway.name == "litellm" else 1
    one = [Client(Where(port=gateway.port))]
    many = [Client(Where(port=gateway.port)) for _ in range(MANY)]
    sent = message(gateway)
    for number in range(10):
        await one[0].ask(numbered(sent, number))
    before = gateway.cpu_ns()
    for number in range(effort.one // share):
        seen.took.append((await one[0].ask(numbered(sent, number))).whole * 1e3)
    seen.cpu_one.append((gateway.cpu_ns() - before) / (effort.one // share) / 1e6)
    seen.stream_cpu.append(await _cpu(gateway, one, effort.one // share, stream=True))
    few = max(2, effort.one // share // 20)
    seen.burst_us.append(await _a_word(gateway, one, "burst", few))
    seen.paced_us.append(await _a_word(gateway, many[:8], "paced", 2 * few))
    await load(many, sent, MANY)
    count = effort.many // share
    before = gateway.cpu_ns()
    seconds = await load(many, sent, count)
    seen.cpu_many.append((gateway.cpu_ns() - before) / count / 1e6)
    seen.rate.append(count / seconds)
    for client in (*one, *many):
        client.close()


async def measure(effort: Effort, *, peers: bool) -> dict[str, tuple[Gateway, Seen]]:
    """Every gateway, measured in turns."""
    with tempfile.TemporaryDirectory(prefix="arbiter-gateways-") as name:
        folder = Path(name)
        async with AsyncExitStack() as stack:
            behind = await stack.enter_async_context(upstream())
            makers = (arbiter, litellm, tensorzero) if peers else (arbiter,)
            found: dict[str, tuple[Gateway, Seen]] = {}
            for make in makers:
                gateway = await stack.enter_async_context(make(behind, folder))
                found[gateway.name] = (gateway, Seen())
            for gateway, seen in found.values():
                await load([Client(Where(port=gateway.port))], message(gateway), 5)
                seen.idle_mb = gateway.memory_mb()
            for number in range(effort.rounds):
                print(f"round {number + 1} of {effort.rounds}", file=sys.stderr)
                for gateway, seen in found.values():
                    await _round(gateway, seen, effort)
            ours, seen = found["arbiter"]
            clients = [Client(Where(port=ours.port)) for _ in range(MANY)]
            await load(clients, message(ours), effort.soak)
            seen.after_mb = ours.memory_mb()
    return found


def figures_of(found: dict[str, tuple[Gateway, Seen]]) -> dict[str, dict[str, float | None]]:
    """What was measured, by gateway."""
    return {
        name: {
            "cpu_ms_one_client": median(seen.cpu_one),
            "cpu_ms_32_clients": median(seen.cpu_many),
            "cpu_ms_streamed_one_client": median(seen.stream_cpu),
            "cpu_us_a_word_in_a_burst": median(seen.burst_us),
            "cpu_us_a_word_one_by_one": median(seen.paced_us),
            "p50_ms_one_client": quantile(seen.took, 0.5),
            "p99_ms_one_client": quantile(seen.took, 0.99),
            "requests_a_second_32_clients": max(seen.rate),
            "start_s": gateway.start_s,
            "memory_idle_mb": seen.idle_mb,
            "memory_after_mb": seen.after_mb,
        }
        for name, (gateway, seen) in found.items()
    }


def plain(figures: dict[str, dict[str, float | None]]) -> dict[str, object]:
    """As JSON: figures by gateway, the house's as ratios to each peer, and every limit."""
    ours = figures[OURS]
    ratios = {
        name: {
            figure: mine / value
            for figure, value in theirs.items()
            if value and (mine := ours[figure]) is not None
        }
        for name, theirs in figures.items()
        if name != OURS
    }
    return {
        "machine": machine(),
        "figures": figures,
        "ours_to_theirs": ratios,
        "limits": judged(figures),
    }


async def _main(effort: Effort, *, peers: bool) -> dict[str, dict[str, float | None]]:
    if peers:
        await install()
    return figures_of(await measure(effort, peers=peers))


def main() -> None:
    """Measure and tell."""
    parser = argparse.ArgumentParser(prog="make bench-gateway", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--quick", action="store_true", help="a look, no proof")
    parser.add_argument("--no-peers", action="store_true", help="the house alone")
    chosen = parser.parse_args()
    effort = QUICK if chosen.quick else THOROUGH
    seen = uvloop.run(_main(effort, peers=not chosen.no_peers))
    print(json.dumps(plain(seen), indent=2) if chosen.json else table(seen))


if __name__ == "__main__":
    main()
