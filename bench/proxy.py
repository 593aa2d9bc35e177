"""What a chat request costs at the door: CPU in the house's process, and added latency.

The house runs in a process of its own with everything on (selection, record, receipts, its writer
thread), in front of a worker in a child process; a bare proxy does the same in the same minutes.
CPU is the process's own clock, all threads, over the requests of a round; rounds alternate, and
the medians are told. The ratio to the bare proxy is what holds on a busy machine.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.client import Client, Where, chat, load, numbered, request
from bench.figures import Figure, median, quantile
from bench.programs import ECHO, LLAMA, Program, bare, house, worker

from arbiter.metering.process import kernel_cpu_ns

AREA = "request"
WORDS = "two three four five six seven eight"
TOKENS = 8
MANY = 32
TARGETS = {1: 0.5, MANY: 0.24}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trio:
    """A worker, a bare proxy in front of it, and a house with a worker of the same kind."""

    kind: str
    direct: Program
    bare: Program
    house: Program


@asynccontextmanager
async def _trio(module: str) -> AsyncIterator[Trio]:
    echo = module == ECHO
    slots = MANY if echo else 4
    with tempfile.TemporaryDirectory(prefix="arbiter-bench-") as folder:
        async with (
            worker(module, Path(folder) / "w", slots=slots) as direct,
            bare(direct.where) as between,
            house(Path(folder) / "data", echo_slots=slots if echo else None) as full,
        ):
            yield Trio(kind="echo" if echo else "sparrow", direct=direct, bare=between, house=full)


def _message(where: Where, *, stream: bool) -> bytes:
    return request(where, chat("auto", WORDS, stream=stream, tokens=TOKENS))


async def _round(program: Program, clients: Sequence[Client], count: int, *, stream: bool) -> float:
    """Milliseconds of the program's CPU for a request."""
    before = kernel_cpu_ns(program.pid)
    await load(clients, _message(program.where, stream=stream), count)
    return (kernel_cpu_ns(program.pid) - before) / count / 1e6


async def _cpu(trio: Trio, *, many: int, stream: bool, rounds: int, count: int) -> list[Figure]:
    programs = {"house": trio.house, "bare": trio.bare}
    clients = {
        name: [Client(program.where) for _ in range(many)] for name, program in programs.items()
    }
    found: dict[str, list[float]] = {name: [] for name in programs}
    for name, program in programs.items():
        await _round(program, clients[name], max(many, count // 4), stream=stream)
    for _ in range(rounds):
        for name, program in programs.items():
            found[name].append(await _round(program, clients[name], count, stream=stream))
    for client in (one for group in clients.values() for one in group):
        client.close()
    what = f"{'streamed' if stream else 'whole'}, {many} client{'s' if many > 1 else ''}"
    how = (
        f"process CPU clock over {count} requests, median of {rounds} rounds that alternate with "
        f"the bare proxy's; worker: {trio.kind}; {TOKENS} tokens"
    )
    ratios = [ours / theirs for ours, theirs in zip(found["house"], found["bare"], strict=True)]
    return [
        Figure(
            area=AREA,
            name=f"CPU a request, {trio.kind}, {what}",
            value=median(found["house"]),
            unit="ms",
            target=TARGETS[many],
            method=how,
        ),
        Figure(
            area=AREA,
            name=f"  bare proxy, {what}",
            value=median(found["bare"]),
            unit="ms",
            method=how,
        ),
        Figure(
            area=AREA,
            name=f"  ratio, {what}",
            value=median(ratios),
            unit="x",
            method="median of the rounds' ratios",
        ),
    ]


async def _latency(trio: Trio, *, stream: bool, count: int) -> list[Figure]:
    """Added to a direct call, calls alternating one by one."""
    places = {"direct": trio.direct.where, "house": trio.house.where}
    clients = {name: Client(where) for name, where in places.items()}
    messages = {name: _message(where, stream=stream) for name, where in places.items()}
    first: dict[str, list[float]] = {name: [] for name in places}
    whole: dict[str, list[float]] = {name: [] for name in places}
    for turn in range(count + 20):
        for name, client in clients.items():
            took = await client.ask(numbered(messages[name], turn))
            if stream and name == "direct":
                client.close()  # a worker closes after a stream and does not say so
            if turn >= 20:
                first[name].append(took.first * 1e3)
                whole[name].append(took.whole * 1e3)
    for client in clients.values():
        client.close()
    parts = {"whole answer": whole, "first word": first} if stream else {"whole answer": whole}
    how = (
        f"{count} calls of each, alternating, one client; the difference of the quantiles of the "
        f"call through the house and of the direct one; worker: {trio.kind}"
    )
    form = "streamed" if stream else "whole"
    return [
        Figure(
            area=AREA,
            name=f"added latency {label}, {trio.kind}, {form}, {part}",
            value=quantile(times["house"], share) - quantile(times["direct"], share),
            unit="ms",
            target=target,
            method=how,
        )
        for part, times in parts.items()
        for label, share, target in (("p50", 0.5, 0.4), ("p99", 0.99, 2.0))
    ]


async def measure(*, rounds: int, count: int, real: bool) -> list[Figure]:
    """The figures of a request: against the stand-in, and against the shipped sparrow if `real`."""
    figures: list[Figure] = []
    async with _trio(ECHO) as trio:
        for stream in (False, True):
            figures += await _cpu(trio, many=1, stream=stream, rounds=rounds, count=count)
            figures += await _cpu(trio, many=MANY, stream=stream, rounds=rounds, count=3 * count)
        for stream in (False, True):
            figures += await _latency(trio, stream=stream, count=2 * count)
    if real:
        async with _trio(LLAMA) as trio:
            for stream in (False, True):
                for many in (1, MANY):
                    part = max(MANY, count // 4)
                    figures += await _cpu(trio, many=many, stream=stream, rounds=3, count=part)
                figures += await _latency(trio, stream=stream, count=count // 2)
    return figures
