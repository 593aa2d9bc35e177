"""V15: what metering adds to the latency of a request, at the 95th percentile.

A request is a line to a process and some lines back, as short as a request can be, so that what is
added stands out. Blocks with the meter at work and blocks without it take turns in one run, in the
order with, without, without, with: what else the machine does falls on both alike. Of each four
blocks the difference of the 95th percentiles is taken, and of all these the median.
"""

from __future__ import annotations

import sys
from asyncio.subprocess import PIPE, Process, create_subprocess_exec
from collections.abc import Sequence
from contextlib import AsyncExitStack
from statistics import median, quantiles
from typing import Final

from arbiter.clock import Clock
from arbiter.hardware.found import Hardware, find_hardware
from arbiter.metering.crowd import Crowd, Nobody
from arbiter.metering.meter import Meter
from arbiter.metering.process import ProcessReader
from arbiter.studies.checks import Check, judged

LIMIT_MS: Final = 0.5
LINES: Final = 8
"""Pieces of an answer."""

_ECHO: Final = (
    "import sys\n"
    "for line in sys.stdin.buffer:\n"
    f"    sys.stdout.buffer.write(line * {LINES})\n"
    "    sys.stdout.buffer.flush()\n"
)
_PATTERN: Final = (True, False, False, True)


async def check_v15(
    clock: Clock, *, processes: int = 8, rounds: int = 15, requests: int = 120
) -> Check:
    """The latency that a meter of so many processes adds. requests: of each block."""
    hardware = find_hardware()
    differences, plain_ms = [], []
    async with AsyncExitStack() as stack:
        echoes = [await _echo(stack) for _ in range(processes)]
        await _block(clock, echoes[0], None, requests)  # the first ones pay for warming up
        for _ in range(rounds):
            found: dict[bool, list[float]] = {True: [], False: []}
            for is_metered in _PATTERN:
                if is_metered:
                    found[True] += await _metered(clock, hardware, echoes, requests)
                else:
                    found[False] += await _block(clock, echoes[0], None, requests)
            differences.append(p95(found[True]) - p95(found[False]))
            plain_ms.append(p95(found[False]))
    added = median(differences)
    low, _, high = quantiles(differences, n=4)
    return judged(
        "V15",
        f"Latency that metering adds at the 95th percentile, as a part of {LIMIT_MS} ms",
        error_pct=100.0 * max(0.0, added) / LIMIT_MS,
        limit_pct=100.0,
        why=f"{added:+.3f} ms (half of {rounds} rounds between {low:+.3f} and {high:+.3f}) to "
        f"{median(plain_ms):.3f} ms; {rounds * 2 * requests} requests with and as many without, "
        f"taking turns, {processes} processes",
    )


def p95(values: Sequence[float]) -> float:
    """The smallest value that 95 % do not pass.

    >>> p95([float(n) for n in range(1, 101)])
    95.0
    """
    return sorted(values)[-(-len(values) * 95 // 100) - 1]


async def _echo(stack: AsyncExitStack) -> Process:
    process = await create_subprocess_exec(
        sys.executable, "-I", "-S", "-c", _ECHO, stdin=PIPE, stdout=PIPE
    )
    stack.push_async_callback(process.communicate)
    return process


async def _metered(
    clock: Clock, hardware: Hardware, echoes: Sequence[Process], requests: int
) -> list[float]:
    """A block beside a meter at work, with a request in flight at every other process too."""
    meter = Meter(hardware, clock=clock, reader=ProcessReader())
    crowds = [await meter.attend(echo.pid) for echo in echoes]
    meter.open()
    others = [(crowd, crowd.begin()) for crowd in crowds[1:]]
    try:
        return await _block(clock, echoes[0], crowds[0], requests)
    finally:
        for crowd, ticket in others:
            crowd.end(ticket)
        await meter.close()


async def _block(
    clock: Clock, echo: Process, crowd: Crowd | Nobody | None, requests: int
) -> list[float]:
    """Milliseconds of each of so many requests, one after the other."""
    if echo.stdin is None or echo.stdout is None:
        raise RuntimeError("the echo has no pipes")
    found = []
    for _ in range(requests):
        began = clock.monotonic()
        ticket = None if crowd is None else crowd.begin()
        echo.stdin.write(b"what is seventeen and twenty-five?\n")
        for _ in range(LINES):
            await echo.stdout.readline()
        if crowd is not None and ticket is not None:
            crowd.end(ticket)
        found.append((clock.monotonic() - began) * 1e3)
    return found
