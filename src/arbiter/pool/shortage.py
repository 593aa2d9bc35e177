"""What a load that ran out of memory teaches: the version needs more than there was.

How much more, it does not say. So this is a lower bound, and no measurement: a plan that knows it
makes more room the next time, or does not try where there is no more than there was. Another
program may have taken the memory in the middle of the load, so the bound is believed for a while
only, and for longer each time that it proves true. A load that ends well does away with it.

This module knows no clock: times are given to it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Final

from arbiter.cost import HOST, Level
from arbiter.engines.endings import memory_line
from arbiter.errors import NoRoom
from arbiter.pool.residency import Bytes

BELIEVED_S: Final = (600.0, 1_800.0, 3_600.0, 14_400.0, 86_400.0)
"""How long it is believed after so many such failures in a row."""

_DEVICE: Final = re.compile(r"cuda|hip|rocm|vulkan|metal|sycl|device", re.IGNORECASE)
"""Words of a line that speaks of an accelerator's memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortage:
    """What was not enough, and until when that is believed. times: failures in a row."""

    had: Bytes
    until: float
    times: int = 1


def lacking(words: str, had: Mapping[str, Level]) -> dict[str, int]:
    """What was not enough, of the memory that was lacking; empty: nobody can say which it was.

    words: the failure with the engine's last lines. had: every memory as the load began.

    >>> had = {"host": Level(total=9, available=8), "gpu": Level(total=5, available=4)}
    >>> lacking("ggml: cudaMalloc failed: out of memory", had)
    {'gpu': 4}
    >>> lacking("killed by SIGKILL", had)
    {'host': 8}
    """
    accelerators = [memory for memory in had if memory != HOST]
    if _DEVICE.search(memory_line(words)) is None or not accelerators:
        found = [HOST]
    else:
        found = accelerators if len(accelerators) == 1 else []
    return {memory: had[memory].available for memory in found if memory in had}


def shortage(before: Shortage | None, had: Bytes, now: float) -> Shortage | None:
    """What is known after one more load that ran out of memory. had: as `lacking` says.

    >>> once = shortage(None, {"host": 5}, 0.0)
    >>> again = shortage(once, {"host": 3}, 700.0)
    >>> again and (again.had, again.times, again.until)
    ({'host': 3}, 2, 2500.0)
    """
    if not had:
        return before
    times = 1 if before is None else before.times + 1
    known = {} if before is None or now >= before.until else before.had
    most = {memory: max(size, known.get(memory, 0)) for memory, size in had.items()}
    until = now + BELIEVED_S[min(times, len(BELIEVED_S)) - 1]
    return Shortage(had={**known, **most}, until=until, times=times)


def at_least(need: Bytes, found: Shortage | None, now: float) -> Bytes:
    """A need that is no smaller than what is known not to be enough.

    >>> at_least({"host": 4}, Shortage(had={"host": 5}, until=10.0), 9.0)
    {'host': 6}
    >>> at_least({"host": 4}, Shortage(had={"host": 5}, until=10.0), 10.0)
    {'host': 4}
    """
    if found is None or now >= found.until:
        return need
    more = {memory: max(size + 1, need.get(memory, 0)) for memory, size in found.had.items()}
    return {**need, **more}


def ran_out(memory: str, *, had: int, free: int, left_s: int) -> NoRoom:
    """What to say of a load that is not tried because there is no more memory than last time.

    left_s: seconds until it is tried with as little all the same.
    """
    return NoRoom(
        f"Its last load ran out of memory with {had / 1e6:.0f} MB of it free ({memory}), and now "
        f"there are {free / 1e6:.0f} MB.",
        hint="Let others go (arbiter models unload NAME), close programs, lower pool.context or "
        "pool.slots, or take a smaller quantization. It is tried with as little again in "
        f"{ceil(left_s / 60)} minutes.",
        retry_after_s=left_s,
    )
