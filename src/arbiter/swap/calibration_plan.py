"""Which graded case is worth running next: a pure plan with its reasons.

First every version gets its first samples at every task. More cases are then run only where they
can change a pick: between the version that leads at a task and whoever may yet be better. That
pair is chosen as LUCB does (Kalyanakrishnan et al., "PAC Subset Selection in Stochastic
Multi-armed Bandits", ICML 2012): the highest mean, and among the others the highest upper bound;
when their intervals no longer overlap, there is nothing left to learn at this task.

It knows no model, no clock and no memory: what cannot run now is left to whoever carries it out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from arbiter.refs import TaskName, VersionId

Z = 1.645
"""Half-width of the intervals in standard errors: 90 %, two-sided. A wider one would run every
case of every close pair, a narrower one would stop at the first lucky streak."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far a version has come at a task.

    cases: stored cases that may be run. done: how many of them were. graded, quality: scores from
    cases and from live requests, and their sum. is_choice: whether `auto` may pick it for this
    task at all. is_loaded: whether it can run a case at once.
    """

    version: VersionId
    task: TaskName
    cases: int
    done: int
    graded: float
    quality: float
    is_choice: bool = True
    is_loaded: bool = False

    @property
    def mean(self) -> float:
        """Mean score; 0.5 of nothing."""
        return self.quality / self.graded if self.graded else 0.5

    @property
    def interval(self) -> tuple[float, float]:
        """Bounds of the mean score."""
        return interval(self.graded, self.quality)


def interval(graded: float, quality: float) -> tuple[float, float]:
    """Wilson's score interval of a mean of scores in [0, 1]; everything when there is none.

    For a share p of n: ``(p + z²/2n ± z·sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n)`` (Wilson, 1927).
    Scores between 0 and 1 vary less than shares with their mean, so it holds for them too.

    >>> tuple(round(bound, 3) for bound in interval(10, 10.0))
    (0.787, 1.0)
    >>> interval(0, 0.0)
    (0.0, 1.0)
    """
    if graded <= 0:
        return 0.0, 1.0
    share = min(max(quality / graded, 0.0), 1.0)
    z2 = Z * Z / graded
    middle = share + z2 / 2
    spread = Z * math.sqrt(share * (1 - share) / graded + z2 / (4 * graded))
    return (
        max(0.0, (middle - spread) / (1 + z2)),
        min(1.0, (middle + spread) / (1 + z2)),
    )


class Stage(StrEnum):
    """Why cases are run, or not."""

    AGAIN = "again"
    """The version may have got worse: its cases are run once more."""
    FIRST = "first"
    """Its first samples at this task are not complete."""
    CLOSE = "close"
    """It leads, or may yet be better than the one that does."""
    CLEAR = "clear"
    """More cases would change no pick."""
    COMPLETE = "complete"
    """Every case that may be run was run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is planned for a version at a task. upto: run cases until so many are done."""

    standing: Standing
    stage: Stage
    upto: int
    why: str

    @property
    def left(self) -> int:
        """Cases that are planned and not done."""
        return max(0, self.upto - self.standing.done)


def plan(standings: Sequence[Standing], *, first: int) -> tuple[Wish, ...]:
    """One wish a standing; those with cases left come first, in the order to run them.

    first: the samples that every version gets at every task before any gets more. Among these one
    version comes after the other, the loaded ones before the others, so that models are not
    loaded in turns; after them, again the loaded ones first, the pairs that overlap most.
    """
    early = [s for s in standings if s.done < min(first, s.cases)]
    beginning = {(s.version, s.task) for s in early}
    order = {s.version: n for n, s in reversed(list(enumerate(standings)))}
    early.sort(key=lambda s: (not s.is_loaded, order[s.version]))
    wishes = [
        Wish(
            standing=s,
            stage=Stage.FIRST,
            upto=min(first, s.cases),
            why=f"its first {min(first, s.cases)} samples",
        )
        for s in early
    ]
    close, settled = _close([s for s in standings if (s.version, s.task) not in beginning])
    return (*wishes, *close, *settled)


def with_again(again: Sequence[Wish], planned: Sequence[Wish]) -> tuple[Wish, ...]:
    """What is run again comes first: people depend on these versions, and one may be broken."""
    places = {(wish.standing.version, wish.standing.task) for wish in again}
    others = [one for one in planned if (one.standing.version, one.standing.task) not in places]
    return (*again, *others)


def _close(standings: Sequence[Standing]) -> tuple[list[Wish], list[Wish]]:
    """Wishes where more cases may change a pick, the closest call first; and all the others."""
    close: list[tuple[tuple[bool, float, int], Wish]] = []
    others: list[Wish] = []
    by_task: dict[TaskName, list[Standing]] = {}
    for standing in standings:
        by_task.setdefault(standing.task, []).append(standing)
    for here in by_task.values():
        duel = _duel([s for s in here if s.is_choice])
        for standing in here:
            if standing.done >= standing.cases:
                others.append(_settled(standing, Stage.COMPLETE, "all its cases are run"))
            elif duel is None or standing not in duel:
                why = "another version leads clearly, or none is left to compare it with"
                if not standing.is_choice:
                    why = "auto does not pick it for this task"
                others.append(_settled(standing, Stage.CLEAR, why))
            else:
                rank = (not standing.is_loaded, -_overlap(*duel), standing.done)
                close.append((rank, _duellist(standing, duel)))
    close.sort(key=lambda pair: pair[0])
    return [wish for _, wish in close], others


def _settled(standing: Standing, stage: Stage, why: str) -> Wish:
    return Wish(standing=standing, stage=stage, upto=standing.done, why=why)


def _duellist(standing: Standing, duel: tuple[Standing, Standing]) -> Wish:
    leader, rival = duel
    return Wish(
        standing=standing,
        stage=Stage.CLOSE,
        upto=standing.cases,
        why=f"the best two are close: {leader.mean:.2f} of {leader.graded} "
        f"and {rival.mean:.2f} of {rival.graded}",
    )


def _duel(standings: Sequence[Standing]) -> tuple[Standing, Standing] | None:
    """Who leads at a task, and the rival who may yet be better; None when it is decided.

    A rival of whom nothing more can be learned, because neither it nor the leader has a case
    left, makes way for the next.
    """
    if len(standings) < 2:
        return None
    leader = max(standings, key=lambda s: (s.mean, s.graded, s.version))
    rivals = [
        s
        for s in standings
        if s is not leader
        and _overlap(leader, s) > 0
        and (s.done < s.cases or leader.done < leader.cases)
    ]
    if not rivals:
        return None
    return leader, max(rivals, key=lambda s: (s.interval[1], s.version))


def _overlap(leader: Standing, rival: Standing) -> float:
    """How far the rival's upper bound is above the leader's lower one."""
    return rival.interval[1] - leader.interval[0]
