"""When to run a version's graded cases again, and what they then say.

The change tests (`arbiter.selection.falls`) need many scores, and a rare task has few. Cases can be
had whenever nobody waits. So a suspicion far below an alarm has them run again, and the same case
before and after is a pair: evidence that is independent of the suspicion. A false suspicion costs
idle time and nothing else: a model that has not changed answers its cases as it did.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import exp, log

from arbiter.knowledge.scores import Again, Doubt, Fall
from arbiter.refs import TaskName
from arbiter.selection.cells import Column
from arbiter.stats.bets import Side
from arbiter.stats.case_pairs import log_e_of_pairs
from arbiter.stats.change import ALARM

SUSPICION = log(5.0)
"""The e-value of a change test from which on a version's cases are worth running again. Its alarm
is 500."""

SPAN = 100.0
"""Scores of a version between the beginnings of two such runs."""

SHOWN = log(5.0)
"""The e-value of all pairs of a version from which on it fell.

It is wrong in one of five runs at most that a false suspicion brings about, where cases are drawn
anew each time, and never where a model that has not changed gives the answers that it gave."""


def doubt(column: Column, cleared: str) -> Doubt | None:
    """The strongest suspicion of a version that began after a moment.

    A fall that was noticed is one too: a loss seldom comes alone.
    """
    found = [
        Doubt(version=column.version, task=task, odds=exp(odds), since=since, scores=column.count)
        for task, odds, since in _suspicions(column)
        if since > cleared
    ]
    return max(found, key=lambda one: (one.odds, one.task or ""), default=None)


def is_suspicious(column: Column) -> bool:
    """Whether any change test of a version suspects a loss, or has lately noticed one."""
    return any(True for _ in _suspicions(column))


def _suspicions(column: Column) -> Iterator[tuple[TaskName | None, float, str]]:
    """Where, with what e-value, and since when."""
    if column.wary > 0.0 and column.fell is not None:
        yield column.fell.task, ALARM, column.fell.since
    if column.alarm > SUSPICION:
        yield None, column.alarm, column.since
    for task, cell in column.cells.items():
        if cell.alarm > SUSPICION:
            yield task, cell.alarm, cell.since


def is_due(doubt: Doubt, last: float | None) -> bool:
    """Whether to run the version's cases again. last: how many scores it had when they last were.

    >>> from arbiter.refs import VersionId
    >>> one = Doubt(version=VersionId("v"), task=None, odds=7.0, since="1", scores=250.0)
    >>> [is_due(one, last) for last in (None, 200.0, 150.0)]
    [True, False, True]
    """
    # fewer than then: its evidence was reset, and the count with it
    return last is None or doubt.scores < last or doubt.scores - last >= SPAN


def shown(
    column: Column, results: Mapping[TaskName, Sequence[Again]], *, began: str
) -> Fall | None:
    """The fall that a version's cases show, all tasks together.

    began: when they were begun to be run again. The loss is as old as the suspicion of the whole
    version, if there is one. A result from before an earlier fall is nothing to fall from.
    """
    pairs = [(one.before, one.now) for again in results.values() for one in again if one.is_counted]
    if log_e_of_pairs(pairs, side=Side.WORSE, margin=0.0) <= SHOWN:
        return None
    since = column.since if column.alarm > 0.0 else began
    return Fall(version=column.version, task=None, since=since)
