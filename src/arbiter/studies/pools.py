"""Pools: versions and how often each is right at each task, as a table of rates gives them.

Nothing here knows how a pick is made.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from arbiter.errors import InvalidField
from arbiter.refs import TaskName
from arbiter.studies.sheet import lines_of


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
                param="version",
            )
        return self.versions.index(version)


def parse_pool(text: str, *, source: str) -> Pool:
    """A table ``task,n,<version>,<version>,...`` of success rates; n is a task's traffic.

    Raises `InvalidField` that names the source and the line.
    """
    head, lines = lines_of(text, source=source)
    if not is_pool(head) or len(head) < 4 or len(set(head)) != len(head) or "" in head:
        raise InvalidField(
            f"{source}, line 1, is not task,n,<version>,<version>,...",
            hint="Name two versions at least, each once.",
        )
    if not lines:
        raise InvalidField(f"{source} has no task.", hint="Give one line for each task.")
    tasks: list[TaskName] = []
    for line in lines:
        task = line.task(0)
        if task in tasks:
            raise InvalidField(f"{line.where}: {task} stands twice.")
        tasks.append(task)
    return Pool(
        tasks=tuple(tasks),
        shares=shares_of([line.count(1) for line in lines], source=source),
        versions=tuple(head[2:]),
        rates=tuple(tuple(line.rate(place) for place in range(2, len(head))) for line in lines),
    )


def is_pool(head: Sequence[str]) -> bool:
    """Whether a first line begins as that of a pool."""
    return list(head[:2]) == ["task", "n"]


def shares_of(counts: Sequence[float], *, source: str) -> tuple[float, ...]:
    """Each task's part of the traffic. Raises `InvalidField` when there is none."""
    whole = math.fsum(counts)
    if not 0.0 < whole < math.inf:
        raise InvalidField(f"{source}: no task has any traffic: every n is 0.")
    return tuple(count / whole for count in counts)
