"""The speed of every version at every task: quantiles, in memory, rebuilt from the latest rows.

A cell holds sketches of what was timed, in which an old answer counts half after `HALF_LIFE` newer
ones. So a version that becomes slower is noticed, and a start need not read more than the latest
`LATEST` answers of a cell: older ones together would weigh less than a sixteenth.

A sketch takes 1 kB for times that differ by a factor of 50, and 4 kB at most; a cell has up to four
of them. Of more than `MOST_CELLS` cells the one that was timed longest ago is given up: that many
with ten answers each take 20 MB.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from arbiter.inference import Timings, Usage
from arbiter.knowledge.speed import (
    NEVER_TIMED,
    SLOW_SHARE,
    Measured,
    Speed,
    Spread,
    Timing,
    expected,
    timing,
)
from arbiter.refs import GENERAL, TaskName, VersionId
from arbiter.stats.quantiles import Sketch
from arbiter.storage.database import Row

HALF_LIFE = 50.0
"""Answers of a cell after which an old one counts half."""

LATEST = 200
"""Answers of a cell that are read at a start, and the most that are told to be behind a figure."""

READ_AT_MOST = 50_000
"""Answers that are looked at in a start, the latest of all: two seconds at most, however many
there are."""

MOST_CELLS = 10_000
LEAST_PROMPTS = 10
"""Prompts after which it is taken to be known how many characters make a token."""

_GROWTH = 1.25
"""An expectation is worked out anew when this many times as many answers were timed."""

_LEVEL = 0.9
_UNTIMED = Timing()

OFTEN = 100
"""Answers of a cell after which a figure may be a few of them behind."""

BEHIND = 4
"""So many: then they weigh less than a twentieth of what is counted, and each costs a reading."""


@dataclass(slots=True)
class _Cell:
    """Sketches, each made when there is something to count."""

    latency: Sketch | None = None
    first: Sketch | None = None
    writing: Sketch | None = None
    reading: Sketch | None = None

    def add(self, one: Timing) -> None:
        if one.latency_ms is not None:
            self.latency = _counted(self.latency, one.latency_ms)
        if one.first_ms is not None:
            self.first = _counted(self.first, one.first_ms)
        if one.tokens_per_s is not None:
            self.writing = _counted(self.writing, one.tokens_per_s)
        if one.prompt_tokens_per_s is not None:
            self.reading = _counted(self.reading, one.prompt_tokens_per_s)

    def merge(self, other: _Cell) -> None:
        self.latency = _merged(self.latency, other.latency)
        self.first = _merged(self.first, other.first)
        self.writing = _merged(self.writing, other.writing)
        self.reading = _merged(self.reading, other.reading)

    def measured(self) -> Measured:
        return Measured(
            latency_ms=_spread(self.latency, 0.9),
            first_ms=_spread(self.first, 0.9),
            tokens_per_s=_spread(self.writing, 0.1),
            prompt_tokens_per_s=_spread(self.reading, 0.1),
        )


@dataclass(slots=True)
class _Known:
    """A version: all its tasks together, in the order in which they were timed."""

    all: _Cell = field(default_factory=_Cell)
    chars: Sketch | None = None
    tasks: dict[TaskName, _Cell] = field(default_factory=dict)
    count: int = 0


class Speeds:
    """What was timed. One writer: whoever records outcomes."""

    def __init__(self, *, share: float = SLOW_SHARE) -> None:
        """share: how many of the answers are to keep to a limit on latency."""
        self.share = share
        self._versions: dict[VersionId, _Known] = {}
        self._order: dict[tuple[VersionId, TaskName], None] = {}
        self._speeds: dict[tuple[VersionId, TaskName], Speed] = {}
        self._expected: dict[tuple[VersionId, TaskName], tuple[float, Speed]] = {}

    def add(self, version: VersionId, task: TaskName, one: Timing) -> None:
        """Count what an answer told."""
        if one == _UNTIMED:
            return
        whole = self._versions.get(version)
        if whole is None:
            whole = self._versions[version] = _Known()
        cell = whole.tasks.get(task)
        if cell is None:
            cell = whole.tasks[task] = _Cell()
        cell.add(one)
        whole.all.add(one)
        if one.chars_per_token is not None:
            whole.chars = _counted(whole.chars, one.chars_per_token)
        whole.count += 1
        key = (version, task)
        self._order.pop(key, None)
        self._order[key] = None
        if _is_due(cell):
            self._speeds.pop(key, None)
        if _is_due(whole.all):
            self._speeds.pop((version, GENERAL), None)
        self._expected.pop(key, None)
        if whole.chars is not None and whole.chars.count == LEAST_PROMPTS:
            for other in whole.tasks:
                self._speeds.pop((version, other), None)
        if len(self._order) > MOST_CELLS:
            self._give_up(next(iter(self._order)))

    def take(self, rows: Iterable[Row]) -> None:
        """Count what the queries ``latest_timed`` and ``latest_timed_cases`` found."""
        for row in rows:
            version, task, *told = row
            self.add(VersionId(str(version)), TaskName(str(task)), _timing(told))

    def get(self, version: VersionId, task: TaskName) -> Speed:
        """How long a version takes at a task; at `general`, at all its tasks together.

        The same value until something changed. Where nothing was timed it tells what is expected.
        """
        known = self._speeds.get((version, task))
        if known is not None:
            return known
        whole = self._versions.get(version)
        if whole is None:
            return NEVER_TIMED
        cell = whole.all if task == GENERAL else whole.tasks.get(task)
        if cell is None or cell.latency is None:
            return self._guessed(version, task, whole)
        found = self._speeds[version, task] = self._speed(cell.latency, whole)
        return found

    def measured(self, version: VersionId, task: TaskName) -> Measured:
        """All that was timed at a task, for people."""
        whole = self._versions.get(version)
        cell = None if whole is None else whole.tasks.get(task)
        return Measured() if cell is None else cell.measured()

    def overall(self, version: VersionId) -> Measured:
        """All that was timed at all the version's tasks together."""
        whole = self._versions.get(version)
        return Measured() if whole is None else whole.all.measured()

    def forget(self, *, task: str = "", version: str = "") -> None:
        """Count no more what was timed, of a task and a version if they are named.

        What is left of a version is put together from its other tasks, side by side.
        """
        lost = [k for k in self._order if version in ("", k[0]) and task in ("", k[1])]
        for key in lost:
            self._give_up(key)
        for name in {key[0] for key in lost}:
            whole = self._versions[name]
            if not whole.tasks:
                del self._versions[name]
                continue
            whole.all = _Cell()
            for cell in whole.tasks.values():
                whole.all.merge(cell)
        self._speeds.clear()
        self._expected.clear()

    def _give_up(self, key: tuple[VersionId, TaskName]) -> None:
        version, task = key
        del self._order[key]
        del self._versions[version].tasks[task]
        self._speeds.pop(key, None)

    def _speed(self, latency: Sketch, whole: _Known) -> Speed:
        return Speed(
            timed=min(LATEST, latency.count),
            median_ms=latency.quantile(0.5),
            slow_ms=latency.quantile(self.share),
            slow_least_ms=latency.interval(self.share, _LEVEL)[0],
            share=self.share,
            chars_per_token=_chars_per_token(whole),
        )

    def _guessed(self, version: VersionId, task: TaskName, whole: _Known) -> Speed:
        known = self._expected.get((version, task))
        if known is not None and whole.count < known[0]:
            return known[1]
        medians = [
            median
            for median in (
                self.get(version, other).median_ms
                for other, cell in whole.tasks.items()
                if cell.latency is not None and other != GENERAL
            )
            if median is not None
        ]
        if not medians:
            overall = None if whole.all.latency is None else whole.all.latency.quantile(0.5)
            medians = [] if overall is None else [overall]
        found = Speed(
            share=self.share, expected=expected(medians), chars_per_token=_chars_per_token(whole)
        )
        if len(self._expected) >= MOST_CELLS:
            self._expected.clear()
        self._expected[version, task] = (whole.count * _GROWTH, found)
        return found


def _is_due(cell: _Cell) -> bool:
    """Whether what is told of a cell is to be read anew."""
    count = 0 if cell.latency is None else cell.latency.count
    return count < OFTEN or count % BEHIND == 0


def _chars_per_token(whole: _Known) -> tuple[float, float] | None:
    chars = whole.chars
    if chars is None or chars.count < LEAST_PROMPTS:
        return None
    return chars.quantile(0.5) or 0.0, chars.quantile(0.9) or 0.0


def _counted(sketch: Sketch | None, value: float) -> Sketch:
    if sketch is None:
        sketch = Sketch(half_life=HALF_LIFE)
    sketch.add(value)
    return sketch


def _merged(sketch: Sketch | None, other: Sketch | None) -> Sketch | None:
    if other is not None:
        sketch = sketch or Sketch(half_life=HALF_LIFE)
        sketch.merge(other)
    return sketch


def _spread(sketch: Sketch | None, slow: float) -> Spread | None:
    median = None if sketch is None else sketch.quantile(0.5)
    end = None if sketch is None else sketch.quantile(slow)
    if sketch is None or median is None or end is None:
        return None
    return Spread(samples=min(LATEST, sketch.count), median=median, slow=end)


def _timing(told: Sequence[object]) -> Timing:
    latency, wait, ttft, prompt, completion, cached, prefill, decode, chars = told
    return timing(
        latency_ms=_real(latency),
        wait_ms=_real(wait),
        ttft_ms=_real(ttft),
        usage=Usage(
            prompt_tokens=_whole(prompt),
            completion_tokens=_whole(completion),
            cached_tokens=_whole(cached),
        ),
        timings=Timings(prefill_ms=_real(prefill), decode_ms=_real(decode)),
        prompt_chars=_whole(chars),
    )


def _real(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _whole(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) else None
