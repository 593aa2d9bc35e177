"""V15: what metering adds to the latency of a request, at the 95th percentile.

A request is a few lines to a process and back, one after the other: as short as a request can be,
so that what is added stands out from what the machine does besides. Blocks with the meter at work,
with requests in flight at all its processes, and blocks without it take turns in one run, in the
order with, without, without, with; a block is long enough for some samples. Of each four blocks the
difference of the percentiles is taken, and of all these the median, with an interval that holds it
with 95 % whatever the noise is like (order statistics). Where that interval has the limit inside,
this machine is too busy to tell, and nothing is claimed.
"""

from __future__ import annotations

import sys
from asyncio.subprocess import PIPE, Process, create_subprocess_exec
from collections.abc import Sequence
from contextlib import AsyncExitStack
from math import comb
from statistics import median
from typing import Final

from arbiter.clock import Clock
from arbiter.hardware.found import Hardware, find_hardware
from arbiter.metering.crowd import Crowd, Nobody
from arbiter.metering.meter import Meter
from arbiter.metering.process import ProcessReader
from arbiter.studies.checks import Check, judged, not_verified

LIMIT_MS: Final = 0.5
LINES: Final = 8
"""Pieces of an answer: each is waited for."""

_ECHO: Final = (
    "import sys\n"
    "for line in sys.stdin.buffer:\n"
    "    sys.stdout.buffer.write(line)\n"
    "    sys.stdout.buffer.flush()\n"
)
_PATTERN: Final = (True, False, False, True)
_TITLE: Final = f"Latency that metering adds at the 95th percentile, as a part of {LIMIT_MS} ms"


async def check_v15(
    clock: Clock, *, processes: int = 8, rounds: int = 25, block_s: float = 0.25
) -> Check:
    """The latency that a meter of so many processes adds. block_s: how long a block is."""
    hardware = find_hardware()
    with_it: list[list[float]] = []
    without: list[list[float]] = []
    async with AsyncExitStack() as stack:
        echoes = [await _echo(stack) for _ in range(processes)]
        await _block(clock, echoes[0], None, block_s)  # the first ones pay for warming up
        for _ in range(rounds):
            found: dict[bool, list[float]] = {True: [], False: []}
            for is_metered in _PATTERN:
                if is_metered:
                    found[True] += await _metered(clock, hardware, echoes, block_s)
                else:
                    found[False] += await _block(clock, echoes[0], None, block_s)
            with_it.append(found[True])
            without.append(found[False])
    return told(with_it, without, processes=processes)


def told(
    with_it: Sequence[Sequence[float]], without: Sequence[Sequence[float]], *, processes: int
) -> Check:
    """What the milliseconds of requests say, round by round; from values alone."""
    added = _added(with_it, without, 95)
    low, high = interval(added)
    usual = median(percentile(one, 95) for one in without)
    why = (
        f"{median(added):+.3f} ms ({low:+.3f} to {high:+.3f} with 95 %) to {usual:.3f} ms; at the "
        f"99th {median(_added(with_it, without, 99)):+.3f} ms; {sum(map(len, with_it))} requests "
        f"with and {sum(map(len, without))} without, taking turns, {processes} processes"
    )
    if low <= LIMIT_MS < high:
        why = f"this machine is too busy to tell: {why}"
        return not_verified("V15", _TITLE, limit_pct=100.0, why=why)
    pct = 100.0 * max(0.0, high if high <= LIMIT_MS else low) / LIMIT_MS
    return judged("V15", _TITLE, error_pct=pct, limit_pct=100.0, why=why)


def _added(
    with_it: Sequence[Sequence[float]], without: Sequence[Sequence[float]], percent: int
) -> list[float]:
    return [
        percentile(one, percent) - percentile(other, percent)
        for one, other in zip(with_it, without, strict=True)
    ]


def percentile(values: Sequence[float], percent: int) -> float:
    """The smallest value that so many per cent do not pass.

    >>> percentile([float(n) for n in range(1, 101)], 95)
    95.0
    """
    return sorted(values)[-(-len(values) * percent // 100) - 1]


def interval(values: Sequence[float]) -> tuple[float, float]:
    """An interval that holds the median with 95 % or more, of any distribution.

    The number of values below the median is binomial with one half, so the k-th from either end
    encloses it but for twice the chance of fewer than k. Fewer than six values reach 95 % nowhere:
    all of them then.

    >>> interval([float(n) for n in range(1, 12)])
    (2.0, 10.0)
    """
    ordered, count = sorted(values), len(values)
    tail, k = 0.0, 0
    while 2.0 * (tail + comb(count, k) / 2**count) <= 0.05:
        tail += comb(count, k) / 2**count
        k += 1
    return ordered[max(0, k - 1)], ordered[count - max(1, k)]


async def _echo(stack: AsyncExitStack) -> Process:
    process = await create_subprocess_exec(
        sys.executable, "-I", "-S", "-c", _ECHO, stdin=PIPE, stdout=PIPE
    )
    stack.push_async_callback(process.communicate, b"")
    return process


async def _metered(
    clock: Clock, hardware: Hardware, echoes: Sequence[Process], block_s: float
) -> list[float]:
    """A block beside a meter at work, with a request in flight at every other process too."""
    meter = Meter(hardware, clock=clock, reader=ProcessReader())
    crowds = [await meter.attend(echo.pid) for echo in echoes]
    meter.open()
    others = [(crowd, crowd.begin()) for crowd in crowds[1:]]
    try:
        return await _block(clock, echoes[0], crowds[0], block_s)
    finally:
        for crowd, ticket in others:
            crowd.end(ticket)
        await meter.close()


async def _block(
    clock: Clock, echo: Process, crowd: Crowd | Nobody | None, block_s: float
) -> list[float]:
    """Milliseconds of each request in so long a time, one after the other."""
    if echo.stdin is None or echo.stdout is None:
        raise RuntimeError("the echo has no pipes")
    found: list[float] = []
    until = clock.monotonic() + block_s
    while (began := clock.monotonic()) < until:
        ticket = None if crowd is None else crowd.begin()
        for _ in range(LINES):
            echo.stdin.write(b"what is seventeen and twenty-five?\n")
            await echo.stdout.readline()
        if crowd is not None and ticket is not None:
            crowd.end(ticket)
        found.append((clock.monotonic() - began) * 1e3)
    return found
