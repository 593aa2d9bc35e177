"""What requests add up to since the house was opened, for whoever watches it.

Counts and histograms in memory, and nothing else: what a house has learned is kept elsewhere, and
outlives it. Adding a request is a few additions, because every request comes here.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from arbiter.refs import ModelName, TaskName, VersionId

BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
"""Upper ends of the buckets of a time, in seconds: from a cached word to a long answer."""

MOST_SERIES = 2_000
"""Combinations of alias, version and task that are told apart; all others are one."""

Key = tuple[ModelName, VersionId, TaskName]
OTHERS: Key = (ModelName("others"), VersionId("others"), TaskName("others"))
"""Where what is one too many is added up."""


class Histogram:
    """How often a time fell into each bucket, and their sum in seconds.

    >>> times = Histogram()
    >>> times.add(0.007)
    >>> times.counts[:3], times.sum_s
    ([0, 1, 0], 0.007)
    """

    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        """By bucket; the last one is everything longer."""
        self.sum_s = 0.0

    def add(self, seconds: float) -> None:
        """Count a time."""
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.sum_s += seconds


@dataclass(slots=True)
class Series:
    """One alias, version and task. Unknown times and tokens are not counted as 0: they are left."""

    statuses: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    """By the error's code."""
    wait: Histogram = field(default_factory=Histogram)
    """For a slot or a load."""
    first_token: Histogram = field(default_factory=Histogram)
    whole: Histogram = field(default_factory=Histogram)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    cpu_ms: float = 0.0
    gpu_ms: float = 0.0
    joules: dict[str, float] = field(default_factory=dict)
    """Energy, by how it was come by; added when a request's cost is known."""


class Tally:
    """Everything that has ended."""

    def __init__(self) -> None:
        self._series: dict[Key, Series] = {}

    def of(self, key: Key) -> Series:
        """What to add a request to."""
        found = self._series.get(key)
        if found is None:
            if len(self._series) >= MOST_SERIES:
                key = OTHERS
            found = self._series.setdefault(key, Series())
        return found

    def __iter__(self) -> Iterator[tuple[Key, Series]]:
        return iter(self._series.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """An instance as it is now. Memory in bytes; None is unknown.

    number: which of its version's instances it is. reloads_avoided: requests whose options another
    server would have loaded it again for. probes: how many there were, by what they said. is_slow:
    it is known to be far slower than it was.
    """

    version: VersionId
    number: int = 1
    engine: str
    state: str
    in_flight: int
    waiting: int
    loads: int
    predicted_bytes: int | None
    measured_bytes: int | None
    reloads_avoided: int = 0
    probes: Mapping[str, int] = field(default_factory=dict)
    is_slow: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Going:
    """A rollout that goes on. The evidence is e-values, to be compared with what is needed."""

    alias: ModelName
    rollout: str
    phase: str
    weight: float
    e_worse: float
    e_not_worse: float
    needed_worse: float
    needed_not_worse: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """All that can be seen of a house at one moment."""

    requests: Tally
    events: Mapping[str, int]
    """How often each kind of event was announced."""
    instances: tuple[Loaded, ...]
    rollouts: tuple[Going, ...]
    swaps: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """How often each kind of event of a rollout was, by alias and kind."""
    retried: int = 0
    """Requests that failed before their first byte and were tried again."""
    retries_refused: int = 0
    """Those that were not, because too many were."""
