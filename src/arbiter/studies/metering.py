"""Every check of the meter, on this machine: `arbiter bench metering`."""

from __future__ import annotations

from collections.abc import AsyncIterator

from arbiter.clock import Clock
from arbiter.hardware.found import find_hardware
from arbiter.studies.check_counters import check_v13
from arbiter.studies.check_cpu import check_v1, check_v2, check_v3
from arbiter.studies.check_energy import check_v6, check_v7, check_v8
from arbiter.studies.check_house import check_real, check_v11
from arbiter.studies.check_latency import check_v15
from arbiter.studies.check_memory import check_v4, check_v5
from arbiter.studies.check_sharing import check_v9, check_v12
from arbiter.studies.check_tokens import check_v10
from arbiter.studies.checks import Check


async def checks(clock: Clock) -> AsyncIterator[Check]:
    """One after the other, each as soon as it is done; three minutes, one more with counters."""
    yield await check_v1(clock)
    yield await check_v2()
    yield await check_v3(clock)
    yield await check_v4(clock)
    yield await check_v5()
    yield await check_v6()
    yield check_v7()
    yield await check_v8()
    yield await check_v9()
    yield await check_v10(clock)
    yield await check_v11(clock)
    yield check_v12()
    yield await check_v13(find_hardware(), clock)
    yield await check_real(clock)
    yield await check_v15(clock)
