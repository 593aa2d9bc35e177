"""Tables of success rates, as files give them: pools of versions.

Nothing here knows how a pick is made.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import StringIO

from arbiter.errors import InvalidField
from arbiter.refs import TaskName, parse_task

MOST_CELLS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """How often each version is right at each task. shares: of the traffic, summing to 1."""

    tasks: tuple[TaskName, ...]
    shares: tuple[float, ...]
    versions: tuple[str, ...]
    rates: tuple[tuple[float, ...], ...]

    @property
    def best(self) -> tuple[float, ...]:
        """The best rate at each task."""
        return tuple(max(row) for row in self.rates)

    @property
    def random_regret(self) -> float:
        """What a request loses on average when each version is picked alike."""
        return math.fsum(
            share * (max(row) - math.fsum(row) / len(row))
            for share, row in zip(self.shares, self.rates, strict=True)
        )

    @property
    def single_regret(self) -> float:
        """What it loses with the one version that is best over all tasks, known beforehand."""
        return min(
            math.fsum(
                share * (max(row) - row[place])
                for share, row in zip(self.shares, self.rates, strict=True)
            )
            for place in range(len(self.versions))
        )

    def capped(self, version: str, most: float) -> Pool:
        """The pool after a version broke: its rate is ``most`` or what it was, if that is less."""
        place = self.place(version)
        rates = tuple(
            tuple(min(rate, most) if at == place else rate for at, rate in enumerate(row))
            for row in self.rates
        )
        return replace(self, rates=rates)

    def place(self, version: str) -> int:
        """Where a version stands. Raises `InvalidField` when it is not in the pool."""
        if version not in self.versions:
            raise InvalidField(
                f"There is no version {version} in the table.",
                hint=f"It has {', '.join(self.versions)}.",
                param="break",
            )
        return self.versions.index(version)


def parse_pool(text: str, *, source: str) -> Pool:
    """A table ``task,n,<version>,<version>,...`` of success rates; n is a task's traffic.

    Raises `InvalidField` that names the source and the line.
    """
    lines = _lines(text, source)
    head, rows = lines[0][1], lines[1:]
    if head[:2] != ["task", "n"] or len(head) < 4 or len(set(head)) != len(head) or "" in head:
        raise InvalidField(
            f"{source}: the first line is not task,n,<version>,<version>,...",
            hint="Name two versions at least, each once.",
        )
    if not rows:
        raise InvalidField(f"{source} has no task.", hint="Give one line for each task.")
    tasks: list[TaskName] = []
    counts: list[float] = []
    rates: list[tuple[float, ...]] = []
    for number, row in rows:
        where = f"{source}, line {number}"
        if len(row) != len(head):
            raise InvalidField(f"{where} has {len(row)} values, not {len(head)}.")
        task = parse_task(row[0])
        if task in tasks:
            raise InvalidField(f"{where}: {task} stands twice.")
        tasks.append(task)
        counts.append(_count(row[1], where))
        rates.append(tuple(_rate(one, where) for one in row[2:]))
    if math.fsum(counts) <= 0.0:
        raise InvalidField(f"{source}: no task has any traffic: every n is 0.")
    return Pool(
        tasks=tuple(tasks),
        shares=tuple(count / math.fsum(counts) for count in counts),
        versions=tuple(head[2:]),
        rates=tuple(rates),
    )


_PAIR = ["kind", "old", "new", "task", "n", "p_old", "p_new"]


def _lines(text: str, source: str) -> Sequence[tuple[int, list[str]]]:
    try:
        rows = [
            (number, [value.strip() for value in row])
            for number, row in enumerate(csv.reader(StringIO(text.lstrip("\ufeff"))), start=1)
            if any(value.strip() for value in row)
        ]
    except csv.Error as error:
        raise InvalidField(f"{source} is no table of comma-separated values: {error}.") from error
    if not rows:
        raise InvalidField(f"{source} is empty.", hint="Give a table of comma-separated values.")
    if sum(len(row) for _, row in rows) > MOST_CELLS:
        raise InvalidField(f"{source} has more than {MOST_CELLS} values.")
    return rows


def _rate(text: str, where: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not 0.0 <= rate <= 1.0:
        raise InvalidField(
            f"{where}: {text!r:.40} is no success rate.", hint="Rates are numbers from 0 to 1."
        )
    return rate


def _count(text: str, where: str) -> float:
    try:
        count = float(text)
    except ValueError:
        count = math.nan
    if not (math.isfinite(count) and count >= 0.0):
        raise InvalidField(f"{where}: {text!r:.40} is no number of requests.")
    return count
