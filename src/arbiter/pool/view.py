"""An instance as it is now, for people and programs that look."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

from arbiter.pool.life import State
from arbiter.refs import VersionId


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceView:
    """An instance as it is now. None: nobody knows.

    number: which of its version's instances it is, of so many at most. place: the server that it is
    at, None on this machine. weight: its share beside the others; ramp: how much of that it has.
    chosen: why the version's latest request went to it; None: it went to another, or there is none.
    state_s: seconds since it came to be so. waits_for: why a load has no memory yet.
    predicted_bytes: the guess from its file; measured_bytes: what it was measured to hold of this
    machine's memory, accelerator_bytes of its accelerators. too_little_bytes: of each memory, what
    was not enough for it of late. expected_load_s: how long a load should
    take, from the last one or its size. chance: of being asked for in the next ten minutes; worth:
    that times the seconds of a load. waiting_by: who waits, by key. reloads_avoided: requests whose
    options another server would have loaded it again for. is_pinned: it never leaves memory for
    another; of several instances that is one.
    """

    version: VersionId
    number: int
    most: int
    place: str | None
    weight: float
    ramp: float
    chosen: str | None
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
    too_little_bytes: Mapping[str, int]
    chance: float
    worth: float
    is_pinned: bool
    pinned_until: str | None
    reloads_avoided: int
    last_error: str | None
    ailing: str | None
    """Why `auto` asks others for now."""
    resting: str | None
    """Why another instance of its version is asked for now, though nothing is wrong with it."""
    slow: str | None
    """How it is far slower than it was; None: it is not, as far as is known."""
    probed_s: float | None
    """Seconds since the latest probe; None: it was never probed."""
    probe: str | None
    """What was wrong with that; None: nothing."""
    probes: Mapping[str, int]
    """How many probes it passed (``well``), failed (``ill``, ``lost``) or said nothing."""

    @property
    def is_ready(self) -> bool:
        """Whether it is loaded."""
        return self.state is State.READY

    @property
    def key(self) -> str:
        """Sorts the instances of a version in their order; no other one has it."""
        return f"{self.version}/{self.number:02d}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What somebody waits for. expected_load_s: how long the last load took; None: never loaded.

    number: which of the version's instances it is.
    """

    number: int = 1
    state: State
    state_s: float
    expected_load_s: float | None
    waits_for: str | None
    waiting: int

    @property
    def sentence(self) -> str:
        """In words.

        >>> Progress(state=State.LOADING, state_s=12.4, expected_load_s=20.0, waits_for=None,
        ...          waiting=3).sentence
        'loading for 12 s, the last load took 20 s'
        """
        match self.state:
            case State.LOADING if self.waits_for is not None:
                return f"waiting for memory for {self.state_s:.0f} s: {self.waits_for}"
            case State.LOADING:
                took = self.expected_load_s
                known = "" if took is None else f", the last load took {took:.0f} s"
                return f"loading for {self.state_s:.0f} s{known}"
            case State.DRAINING:
                return f"unloading for {self.state_s:.0f} s, then it is loaded again"
            case State.READY if self.waiting:
                return f"waiting for a slot, as {self.waiting} do"
            case State.READY:
                return "loaded; the prompt is being read"
            case State.COLD | State.FAILED:
                return "about to be loaded"
            case _:
                assert_never(self.state)
