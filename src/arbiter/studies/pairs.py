"""Pairs: a version, its successor, and those that stand beside them, with their success rates.

Pairs come from a file, or are made by rule from a table of rates. Nothing here knows how a pick is
made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from arbiter.errors import InvalidField
from arbiter.refs import TaskName
from arbiter.studies.pools import Pool, is_pool, parse_pool, shares_of
from arbiter.studies.sheet import Line, lines_of

COLUMNS = ("kind", "old", "new", "task", "n", "p_old", "p_new")

PLACE = 0
"""Where the old version stands in the pool before the swap, and the new one in that after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A swap: the pool before it and the pool after it differ in one version."""

    kind: str
    old: str
    new: str
    before: Pool
    after: Pool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """What a file or a rule says of a pair; counts: the traffic of each task."""

    kind: str
    old: str
    new: str
    counts: Mapping[TaskName, float]
    p_old: Mapping[TaskName, float]
    p_new: Mapping[TaskName, float]

    def among(self, others: Mapping[str, Mapping[TaskName, float]], *, source: str) -> Pair:
        """The pair beside these versions; those of its own names do not stand twice."""
        beside = {name: rates for name, rates in others.items() if name not in {self.old, self.new}}
        tasks = tuple(self.counts)
        shares = shares_of(list(self.counts.values()), source=source)
        # the successor is another version, even where it goes by the same name
        new = self.new if self.new != self.old else f"{self.new} (new)"
        before, after = (
            Pool(
                tasks=tasks,
                shares=shares,
                versions=(name, *beside),
                rates=tuple((own[task], *(r[task] for r in beside.values())) for task in tasks),
            )
            for name, own in ((self.old, self.p_old), (new, self.p_new))
        )
        return Pair(kind=self.kind, old=self.old, new=new, before=before, after=after)


def parse_pairs(
    text: str, *, source: str, others: Pool | None = None, old: Sequence[str] = ()
) -> tuple[Pair, ...]:
    """The pairs of a file ``kind,old,new,task,n,p_old,p_new``, or those made from a pool.

    others: who stands beside them; None: the old versions of the file's other pairs. old: of a
    pool, the versions to replace (see `made`). Raises `InvalidField` that names source and line.
    """
    head, lines = lines_of(text, source=source)
    if is_pool(head):
        if others is not None:
            raise InvalidField(f"{source} is a table, so the others are its own.", param="others")
        return made(parse_pool(text, source=source), old=old)
    if tuple(head) != COLUMNS:
        raise InvalidField(
            f"{source}, line 1, is not {','.join(COLUMNS)}.",
            hint="A table task,n,VERSION,VERSION,... is taken too: pairs are then made from it.",
        )
    if old:
        raise InvalidField(f"{source} names its old versions itself.", param="old")
    if not lines:
        raise InvalidField(f"{source} has no pair.", hint="Give one line a task and pair.")
    told = _told(lines, known=None if others is None else frozenset(others.tasks))
    pairs = []
    for one in told:
        beside = _beside(one, told) if others is None else _columns(others)
        pair = one.among(beside, source=source)
        if len(pair.before.versions) < 2:
            raise InvalidField(
                f"{source}: nothing stands beside {one.old} and {one.new}, so nothing is picked.",
                hint="Name a table of other versions with --others TABLE.csv.",
                param="others",
            )
        pairs.append(pair)
    return tuple(pairs)


def _told(lines: Sequence[Line], *, known: frozenset[TaskName] | None) -> list[_Told]:
    found: dict[tuple[str, str, str], _Told] = {}
    for line in lines:
        kind, old, new = line.values[:3]
        if not (kind and old and new):
            raise InvalidField(f"{line.where} lacks the kind, the old or the new version.")
        one = found.setdefault(
            (kind, old, new), _Told(kind=kind, old=old, new=new, counts={}, p_old={}, p_new={})
        )
        task, count, p_old, p_new = line.task(3), line.count(4), line.rate(5), line.rate(6)
        if task in one.counts:
            raise InvalidField(f"{line.where}: {task} stands twice in this pair.")
        if known is not None and task not in known:
            raise InvalidField(f"{line.where}: the table of the others has no task {task}.")
        found[kind, old, new] = _Told(
            kind=kind,
            old=old,
            new=new,
            counts={**one.counts, task: count},
            p_old={**one.p_old, task: p_old},
            p_new={**one.p_new, task: p_new},
        )
    return list(found.values())


def _beside(one: _Told, told: Sequence[_Told]) -> Mapping[str, Mapping[TaskName, float]]:
    """The old versions of other pairs, as far as their rates are known at all its tasks."""
    return {
        other.old: other.p_old for other in told if all(task in other.p_old for task in one.counts)
    }


def _columns(pool: Pool) -> Mapping[str, Mapping[TaskName, float]]:
    return {
        version: dict(zip(pool.tasks, (row[place] for row in pool.rates), strict=True))
        for place, version in enumerate(pool.versions)
    }


# -- pairs by rule

BETTER = 0.05
MIXED = 0.1
WORSE = 0.9
BROKEN = 0.3
HIDDEN = 0.03


def made(pool: Pool, *, old: Sequence[str] = ()) -> tuple[Pair, ...]:
    """One pair of each kind for each version to replace; none named: the best over all tasks.

    equal: the same rates. better: .05 more. mixed: .1 more and .1 less in turn. worse: .9 of it.
    broken-format: .3 of it at three tasks of four. hidden-loss: .03 more, but .3 of it at the
    one task where its lead over the others brings most.
    """
    pairs = []
    for name in old or (pool.versions[_best(pool)],):
        place = pool.place(name)
        rates = [row[place] for row in pool.rates]
        worst = _lead(pool, place)
        before = dict(zip(pool.tasks, rates, strict=True))
        for kind in KINDS:
            after = [
                _successor(kind, rate, place=k, is_worst=k == worst) for k, rate in enumerate(rates)
            ]
            told = _Told(
                kind=kind,
                old=name,
                new=f"{name}-{kind}",
                counts=dict(zip(pool.tasks, pool.shares, strict=True)),
                p_old=before,
                p_new=dict(zip(pool.tasks, after, strict=True)),
            )
            pairs.append(told.among(_columns(pool), source=name))
    return tuple(pairs)


KINDS = ("better", "equal", "mixed", "worse", "hidden-loss", "broken-format")


def _successor(kind: str, rate: float, *, place: int, is_worst: bool) -> float:
    match kind:
        case "better":
            found = rate + BETTER
        case "mixed":
            found = rate - MIXED if place % 2 else rate + MIXED
        case "worse":
            found = WORSE * rate
        case "hidden-loss":
            found = BROKEN * rate if is_worst else rate + HIDDEN
        case "broken-format":
            found = rate if place % 4 == 3 else BROKEN * rate
        case _:
            found = rate
    return min(1.0, max(0.0, found))


def _best(pool: Pool) -> int:
    """The version that is right most often over all tasks."""
    return max(
        range(len(pool.versions)),
        key=lambda place: sum(
            share * row[place] for share, row in zip(pool.shares, pool.rates, strict=True)
        ),
    )


def _lead(pool: Pool, place: int) -> int:
    """The task where a version's lead over the best of the others counts most."""

    def lead(task: int) -> float:
        row = pool.rates[task]
        return pool.shares[task] * (row[place] - max(p for k, p in enumerate(row) if k != place))

    return max(range(len(pool.tasks)), key=lead)
