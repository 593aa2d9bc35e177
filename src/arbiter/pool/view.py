"""An instance as it is now, for people and programs that look."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from arbiter.pool.life import State
from arbiter.refs import VersionId


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceView:
    """An instance as it is now. None: nobody knows.

    state_s: seconds since it came to be so. waits_for: why a load has no memory yet.
    predicted_bytes: the guess from its file; measured_bytes: what it was measured to hold of this
    machine's memory, accelerator_bytes of its accelerators. expected_load_s: how long a load should
    take, from the last one or its size. chance: of being asked for in the next ten minutes; worth:
    that times the seconds of a load. waiting_by: who waits, by key. reloads_avoided: requests whose
    options another server would have loaded it again for.
    """

    version: VersionId
    engine: str
    state: State
    state_s: float
    waits_for: str | None
    leases: int
    waiting: int
    waiting_by: Mapping[str, int]
    loads: int
    load_s: float | None
    expected_load_s: float
    pid: int | None
    predicted_bytes: int | None
    measured_bytes: int | None
    accelerator_bytes: Mapping[str, int]
    chance: float
    worth: float
    is_pinned: bool
    pinned_until: str | None
    reloads_avoided: int
    last_error: str | None
