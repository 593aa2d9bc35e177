"""V13: the energy counters of this machine against another meter of the same device, for a minute.

RAPL's against what ``perf stat`` makes of the processor's own registers, while every core is busy.
An accelerator's against its power, read twenty times a second and added up, under whatever load it
has. Where nothing else measures a device it is not verified, and says so. Both meters may be wrong
in the same way: neither is one at the wall.

This was written against the documentation of ``perf`` and NVML, and stand-ins. It has not run on a
machine with such a counter.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from typing import Final

from arbiter.clock import Clock
from arbiter.hardware.found import Hardware
from arbiter.hardware.reading import EnergyCounter, Part, PowerReader
from arbiter.metering.counting import Cumulative
from arbiter.studies.check_cpu import neighbours
from arbiter.studies.checks import Check, judged, not_verified, off_pct

LONG_S: Final = 60.0
PERIOD_S: Final = 0.05
_TITLE: Final = "Real energy counters against another meter"
_LIMIT_PCT: Final = 5.0
_LATE_S: Final = 10.0
"""How much longer than it is asked for another meter may take."""

Watts = Callable[[], float | None]
Measure = Callable[[float], Awaitable[float | None]]
"""Joules over so many seconds from now on; None: it did not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """The counters of a device, which add up, and who measures it too."""

    name: str
    beside: str
    counters: tuple[EnergyCounter, ...]
    measure: Measure


async def counted(counters: Sequence[EnergyCounter], clock: Clock, seconds: float) -> float | None:
    """Joules by counters over so many seconds; None when one of them had a gap."""
    meters = [Cumulative(wraps_at=one.about.wraps_at) for one in counters]
    joules, began = 0.0, clock.monotonic()
    while True:
        at = clock.monotonic()
        for counter, meter in zip(counters, meters, strict=True):
            growth = meter.advance(counter.read(), at=at)
            if growth.microjoules is None and at > began:
                return None
            joules += (growth.microjoules or 0) / 1e6
        if at - began >= seconds:
            return joules
        await clock.sleep(PERIOD_S)


async def added_up(watts: Watts, clock: Clock, seconds: float) -> float | None:
    """Joules by power that is read again and again; None when it cannot be read."""
    joules, began = 0.0, clock.monotonic()
    before: tuple[float, float] | None = None
    while True:
        at, now = clock.monotonic(), watts()
        if now is None:
            return None
        if before is not None:
            joules += (before[1] + now) / 2 * (at - before[0])
        before = at, now
        if at - began >= seconds:
            return joules
        await clock.sleep(PERIOD_S)


async def by_perf(perf: str, seconds: float) -> float | None:
    """Joules of every processor package, as ``perf stat`` tells them; None when it may not."""
    process = await asyncio.create_subprocess_exec(
        perf, "stat", "-a", "-x,", "-e", "power/energy-pkg/", "sleep", str(seconds),
        stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(seconds + _LATE_S):
            _, said = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return None
    return perf_joules(said.decode("utf-8", "replace"))


def perf_joules(said: str) -> float | None:
    """The joules in what ``perf stat -x,`` prints.

    >>> perf_joules("1843.27,Joules,power/energy-pkg/,60001234567,100.00,,")
    1843.27
    >>> perf_joules("<not supported>,Joules,power/energy-pkg/,0,100.00,,") is None
    True
    """
    for line in said.splitlines():
        words = line.split(",")
        if len(words) > 2 and words[2].startswith("power/energy-pkg"):
            try:
                return float(words[0])
            except ValueError:
                return None
    return None


def pairs_of(hardware: Hardware, clock: Clock, *, perf: str | None) -> list[Pair]:
    """Every device that has a counter, and something else that measures it."""
    found = []
    packages = tuple(
        one
        for one in hardware.counters
        if one.about.source == "rapl" and one.about.part is Part.CPU
    )
    if packages and perf is not None:
        found.append(
            Pair(name="rapl", beside="perf", counters=packages, measure=partial(by_perf, perf))
        )
    for reader in hardware.accelerators.values():
        if isinstance(reader, PowerReader):
            for counter in reader.counters():
                watts = partial(reader.power_w, counter.about.device or "")
                if watts() is not None:
                    measure = partial(added_up, watts, clock)
                    name = counter.about.name
                    found.append(
                        Pair(name=name, beside="power", counters=(counter,), measure=measure)
                    )
    return found


async def check_v13(
    hardware: Hardware,
    clock: Clock,
    *,
    seconds: float = LONG_S,
    perf: str | None = shutil.which("perf"),
    load: Callable[[int], AbstractAsyncContextManager[None]] = neighbours,
) -> Check:
    """Each counter and the other meter over the same time; the worst of them is what is told.

    load: keeps so many hardware threads busy meanwhile.
    """
    pairs = pairs_of(hardware, clock, perf=perf)
    if not pairs:
        return not_verified("V13", _TITLE, limit_pct=_LIMIT_PCT, why=_unread(hardware))
    async with load(os.cpu_count() or 1):
        told = await asyncio.gather(*(_compared(pair, clock, seconds) for pair in pairs))
    known = [error for error, _ in told if error is not None]
    why = "; ".join(words for _, words in told)
    if not known:
        return not_verified("V13", _TITLE, limit_pct=_LIMIT_PCT, why=why)
    return judged("V13", _TITLE, error_pct=max(known), limit_pct=_LIMIT_PCT, why=why)


async def _compared(pair: Pair, clock: Clock, seconds: float) -> tuple[float | None, str]:
    seen, truth = await asyncio.gather(
        counted(pair.counters, clock, seconds), pair.measure(seconds)
    )
    if seen is None or not truth:
        silent = "its counter" if seen is None else pair.beside
        return None, f"{pair.name}: {silent} did not tell"
    return off_pct(seen, truth), f"{pair.name}: {seen:.1f} J, {pair.beside} {truth:.1f} J"


def _unread(hardware: Hardware) -> str:
    """Why nothing can be compared here."""
    if hardware.counters:
        names = ", ".join(one.about.name for one in hardware.counters)
        return f"nothing else here measures what {names} count: for RAPL install perf"
    readers = hardware.accelerators.values()
    reasons = [*hardware.missing.values(), *(reader.missing() or "" for reader in readers)]
    return "; ".join(filter(None, reasons)) or "no energy counter is here"
